"""Where a data set is, as a user writes it: a folder, or an address such as s3://bucket/prefix."""

from __future__ import annotations

import re
from pathlib import Path

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


STORE_VARIABLE = "MODELHOPPER_STORE"  # of the environment: the store of a pod, and the default of `--store`


def is_url(written: str) -> bool:
    """Say whether what a user wrote is an address on a server, and not a path."""
    return _SCHEME.match(written) is not None


def absolute(written: str, folder: Path) -> str:
    """Return an address as it is, and a path that begins at `folder` as one that means the same from anywhere."""
    return written if is_url(written) else str(Path(folder, Path(written).expanduser()))
