"""Packing a data set: from a source to a folder of shards with a manifest."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import Manifest
from modelhopper_trainer.packing.dealing import Wish
from modelhopper_trainer.packing.outputs import kinds_of, widths_of
from modelhopper_trainer.packing.oversampling import oversampling
from modelhopper_trainer.packing.place import building, refuse_existing
from modelhopper_trainer.packing.plan import Request, plan
from modelhopper_trainer.packing.selection import Names, select
from modelhopper_trainer.packing.sources import open_source
from modelhopper_trainer.packing.training import Training
from modelhopper_trainer.shards import open_data


def pack(  # noqa: PLR0913
    source: object,
    out: Path | str,
    *,
    shards: int | None = None,
    features: Names | None = None,
    labels: Names | None = None,
    kind: str | Mapping[str, str] | None = None,
    normalize: float | None = None,
    num_classes: int | Mapping[str, int] | None = None,
    seed: int = 0,
    id: str | None = None,  # noqa: A002 -- as the option is called
    stratify: str | None = None,
    group_by: str | None = None,
    shard_by: str | None = None,
    oversample: str | None = None,
    neighbors: int | None = None,
    against: Path | str | None = None,
    overwrite: bool = False,
    batch_rows: int = 65536,
) -> Manifest:
    """Cut a data set into shards at random, and return the manifest of what is in the folder `out`.

    `source` is a path (`.npz`, CSV, Parquet, a folder or pattern of these), a pair of `.npy` files, arrays by name, a
    pair (inputs, outputs) of arrays or of arrays by name, a pyarrow or pandas table, or a database's table, as
    postgresql://user@host/database?table=name. It is read twice, in pieces, and may be larger than memory.

    `features` and `labels` name columns or arrays, by patterns such as `pixel_*` too, or by a mapping to inputs and
    outputs, as {"image": "pixels"}; a table's features become one input `x`. `kind`, for all outputs or by output:
    `classes` (a value per row, one-hot encoded over the values in ascending order, null first), `encoded` (an array
    taken as it is, the default for arrays) or `number`. `num_classes` widens the one-hot code. `normalize` divides the
    inputs, in the model's step and not on disk. Validation data takes all this from its training set, `against`.

    `id` is a column of whole numbers or text that is kept beside the rows. `stratify` is an output whose classes are
    dealt evenly. Each value of the column `group_by` gets `shards` shards of its own; each of `shard_by` is a shard.
    None of these columns is a feature unless it is named as one. `oversample` makes up rows of rare classes, which are
    only trained on: "duplicate" copies, "smote" puts them between a row and one of its 5 nearest `neighbors` in the
    same shard, until there are as many as of the shard's largest class, or with "smote:0.5" half as many.

    Raises DataError for a source that cannot be packed, ConflictError when `out` exists and may not be replaced,
    StoreUnavailable when the disk is full. After an error nothing is left at `out`.
    """
    out = Path(out).expanduser()
    wish = Wish(shards, stratify, group_by, shard_by)
    _refuse_bad_options(wish, normalize, seed, batch_rows)
    more = oversampling(oversample, neighbors, against)
    refuse_existing(out, overwrite=overwrite)
    training = None if against is None else Training(str(against), open_data(against).manifest)
    scale = _normalize(normalize, training)
    with contextlib.closing(open_source(source, str(out))) as data:
        chosen = select(data, features, labels, training, [name for name in (id, wish.column) if name is not None])
        kinds = kinds_of(data, chosen.outputs, kind, training)
        widths = widths_of(kinds, num_classes, training)
        decided = plan(Request(data, chosen, kinds, widths, id, wish, more, scale, seed, training), batch_rows)
        with building(out, overwrite=overwrite) as folder:
            return decided.write(folder, batch_rows)


def _refuse_bad_options(wish: Wish, normalize: float | None, seed: int, batch_rows: int) -> None:
    wish.refuse_contradictions()
    options: list[tuple[str, object, int]] = [("seed", seed, 0), ("batch_rows", batch_rows, 1)]
    options += [] if wish.shards is None else [("shards", wish.shards, 1)]
    for name, value, least in options:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise DataError(f"{name} is {value!r}; allowed are whole numbers from {least} on.")
    if normalize is not None and not (math.isfinite(normalize) and normalize > 0):
        raise DataError(f"normalize is {normalize!r}; inputs are divided by it, so it must be a number above 0.")


def _normalize(given: float | None, training: Training | None) -> float:
    if training is None:
        return float(given or 1)
    training.refuse_other_normalize(given)
    return training.manifest.normalize
