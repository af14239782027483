"""Packing a data set: from a source to a folder of shards with a manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import MANIFEST_NAME, Manifest, Shard
from modelhopper_trainer.packing.columns import Source, listed
from modelhopper_trainer.packing.fields import (
    Field,
    changed,
    columns_of,
    input_field,
    manifest_input,
    manifest_output,
    output_field,
    read_fields,
)
from modelhopper_trainer.packing.labels import Tally
from modelhopper_trainer.packing.outputs import Kinds, class_rows, classes_of, kinds_of, widths_of
from modelhopper_trainer.packing.place import building, refuse_existing
from modelhopper_trainer.packing.scatter import scatter
from modelhopper_trainer.packing.selection import Fields, Names, select
from modelhopper_trainer.packing.sources import open_source
from modelhopper_trainer.packing.training import Training
from modelhopper_trainer.shards import open_data


def pack(  # noqa: PLR0913
    source: object,
    out: Path | str,
    *,
    shards: int,
    features: Names | None = None,
    labels: Names | None = None,
    kind: str | Mapping[str, str] | None = None,
    normalize: float | None = None,
    num_classes: int | Mapping[str, int] | None = None,
    seed: int = 0,
    against: Path | str | None = None,
    overwrite: bool = False,
    batch_rows: int = 65536,
) -> Manifest:
    """Cut a data set into shards at random, and return the manifest of what is in the folder `out`.

    `source` is a path (`.npz`, CSV, Parquet, a folder or pattern of CSV or Parquet files), a pair of `.npy` files,
    arrays by name, a pair (inputs, outputs) of arrays or of arrays by name, or a pyarrow or pandas table. It is read
    twice, in pieces, and may be larger than memory. Equal rows in the same order give the same bytes from each source.

    `features` and `labels` name columns or arrays, by patterns such as `pixel_*` too. A table's features become one
    input `x` of shape (columns,); a mapping, as {"image": "pixels", "age": ["age"]}, makes several inputs. A label is
    named after its column, or by a mapping.

    `kind`, for all outputs or by output: `classes` for a value per row, which the model sees one-hot encoded over the
    values in ascending order, null first; `encoded` for an array taken as it is, the default for arrays, a column of
    shape (rows, 1) included; `number` for regression. `num_classes` widens the one-hot code, and never cuts it.

    `normalize` divides the inputs by a constant, in the model's step and not on disk. `against` is the training set of
    validation data: classes, width, kinds, columns and normalisation are taken from it, and must fit.

    Raises DataError for a source that cannot be packed, ConflictError when `out` exists and may not be replaced,
    StoreUnavailable when the disk is full. After an error nothing is left at `out`.
    """
    out = Path(out).expanduser()
    _refuse_bad_options(shards, normalize, seed, batch_rows)
    refuse_existing(out, overwrite=overwrite)
    training = None if against is None else Training(str(against), open_data(against).manifest)
    scale = _normalize(normalize, training)
    data = open_source(source, str(out))
    chosen = select(data, features, labels, training)
    kinds = kinds_of(data, chosen.outputs, kind, training)
    widths = widths_of(kinds, num_classes, training)
    rows, tallies = _survey(data, chosen, kinds, batch_rows)
    _refuse_few_rows(data, rows, shards)
    classes = {output.name: classes_of(data, output, tallies, widths, training) for output in chosen.outputs}
    inputs = [input_field(data, selection) for selection in chosen.inputs]
    outputs = [output_field(data, each, kinds[each.name], classes[each.name]) for each in chosen.outputs]
    forms = [manifest_input(field, data) for field in inputs], [manifest_output(field, kinds) for field in outputs]
    if training is not None:
        training.refuse_other_form(data.name, *forms)
    counts = {name: class_rows(found, tallies[name]) for name, found in classes.items() if found}
    head = {"inputs": forms[0], "outputs": forms[1], "normalize": scale, "seed": seed, "class_rows": counts}
    with building(out, overwrite=overwrite) as folder:
        written = _scattered(data, [*inputs, *outputs], folder, (rows, shards, seed), batch_rows)
        manifest = Manifest.model_validate({**head, "rows": rows, "shards": written})
        (folder / MANIFEST_NAME).write_bytes(manifest.to_json())
    return manifest


def _refuse_bad_options(shards: int, normalize: float | None, seed: int, batch_rows: int) -> None:
    options: list[tuple[str, object, int]] = [("shards", shards, 1), ("seed", seed, 0), ("batch_rows", batch_rows, 1)]
    for name, value, least in options:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise DataError(f"{name} is {value!r}; allowed are whole numbers from {least} on.")
    if normalize is not None and not (math.isfinite(normalize) and normalize > 0):
        raise DataError(f"normalize is {normalize!r}; inputs are divided by it, so it must be a number above 0.")


def _survey(source: Source, chosen: Fields, kinds: Kinds, batch_rows: int) -> tuple[int, dict[str, Tally]]:
    """Return the number of rows, and the values of each label that has classes. Reads only those labels."""
    rows = _known_rows(source, columns_of([*chosen.inputs, *chosen.outputs]))
    columns = {output.name: output.columns[0] for output in chosen.outputs if kinds[output.name] == "classes"}
    tallies = {name: Tally(f"{source.name}: `{column}`") for name, column in columns.items()}
    names = list(dict.fromkeys(columns.values()))
    if rows is None and not names:
        names = [chosen.inputs[0].columns[0]]
    if names:
        rows = 0
        for batch in source.read(names, batch_rows):
            rows += len(batch[names[0]])
            for name, tally in tallies.items():
                tally.add(batch[columns[name]])
    return rows or 0, tallies


def _known_rows(source: Source, names: Sequence[str]) -> int | None:
    rows = {name: source.columns[name].rows for name in names}
    if len(set(rows.values())) > 1:
        counts = listed([f"`{name}` has {count}" for name, count in rows.items()])
        raise DataError(f"{source.name}: all arrays must have the same number of rows, but {counts}.")
    return rows[names[0]]


def _refuse_few_rows(source: Source, rows: int, shards: int) -> None:
    if rows == 0:
        raise DataError(f"{source.name} has no rows.")
    if rows < shards:
        raise DataError(f"{source.name} has {rows} rows, too few for {shards} shards. Ask for at most {rows} shards.")


def _normalize(given: float | None, training: Training | None) -> float:
    if training is None:
        return float(given or 1)
    training.refuse_other_normalize(given)
    return training.manifest.normalize


def _scattered(
    source: Source, fields: Sequence[Field], folder: Path, plan: tuple[int, int, int], batch_rows: int
) -> tuple[Shard, ...]:
    rows, shards, seed = plan
    batches = read_fields(source, fields, batch_rows)
    written = scatter(batches, [field.layout for field in fields], folder, rows=rows, shards=shards, seed=seed)
    if sum(shard.rows for shard in written) != rows:
        raise changed(source)
    return written
