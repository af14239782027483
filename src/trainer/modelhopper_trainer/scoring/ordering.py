"""The order of ids: numbers by value, text by its bytes, equal ones as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def stable_order(ids: Any) -> Any:
    """Return the order that sorts ids ascending, equal ones as they are."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if pa.types.is_integer(array.type):
        return pa.array(np.argsort(array.to_numpy(zero_copy_only=False), kind="stable"))
    # Text by its bytes, which for UTF-8 is the order of code points; Arrow's own sort keeps equal ones, too.
    ranks = pc.rank(array, sort_keys="ascending", tiebreaker="first")
    return pa.array(np.argsort(np.asarray(ranks), kind="stable"))
