"""Oversampling: rows of rare classes are made up, shard by shard, until there are enough of them.

A shard's rows are made of its own real rows only. So a configuration that does not train on a shard has seen nothing of
it, neither the rows nor what was made of them, and what it is evaluated on is clean. Made-up rows are the last of their
shard, where evaluation and prediction leave them out.

`duplicate` copies rows of the class, each as often as the others, give or take one. `smote` puts rows on the lines
between rows of the class and their nearest neighbours (Chawla et al. 2002, by imbalanced-learn).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from modelhopper_contract.digest import digest_file
from modelhopper_contract.errors import DataError, UserError
from modelhopper_contract.manifest import File, Shard, file_name
from modelhopper_contract.nearest import did_you_mean, one_of
from modelhopper_trainer.packing.buckets import Layout, header
from modelhopper_trainer.packing.columns import Array, listed
from modelhopper_trainer.packing.fields import Field
from modelhopper_trainer.packing.numbers import UINT8
from modelhopper_trainer.packing.outputs import Kinds
from modelhopper_trainer.packing.training import class_name

Method = Literal["duplicate", "smote"]
NEIGHBORS = 5
COPIED_BYTES = 8 << 20  # at a time

_FLOAT = np.dtype(np.float32)


@dataclass(frozen=True)
class Oversampling:
    """What the user says about it."""

    method: Method
    ratio: float  # how many rows a class shall have, in each shard, as a part of those of the shard's largest class
    neighbors: int  # among which SMOTE chooses

    def __str__(self) -> str:
        return f"{self.method} to {self.ratio:g}" + (f", {self.neighbors} neighbours" if self.method == "smote" else "")

    @property
    def least(self) -> int:
        """How many rows of a class a shard must have, so that more can be made of them."""
        return self.neighbors + 1 if self.method == "smote" else 1

    def refuse_misfit(self, inputs: Sequence[Field], kinds: Kinds) -> None:
        """Raise DataError for data that this cannot make rows of."""
        if list(kinds.values()) != ["classes"]:
            raise DataError("oversample is for data with one output, of kind `classes`: this data has another form.")
        codes = [field.name for field in inputs if field.layout.dtype not in (UINT8, _FLOAT)]
        if self.method == "smote" and codes:
            raise DataError(
                f"oversample is smote, but input `{codes[0]}` holds whole numbers, which may be codes, and SMOTE would "
                "make numbers between them. Convert them to float before packing, or say oversample=duplicate."
            )


@dataclass(frozen=True)
class Shards:
    """Shards that were written, of which each has the real rows only."""

    folder: Path
    written: Sequence[Shard]
    inputs: Sequence[Field]
    label: Field
    groups: int  # of neighbouring shards, in which a class may be missing altogether


def oversampling(given: str | None, neighbors: int | None, against: object) -> Oversampling | None:
    """Return what the user asked for, as smote, duplicate or smote:0.5; raise DataError for what is none of it.

    Raises UserError where imbalanced-learn is needed and missing.
    """
    method, _, ratio = (given or "").partition(":")
    if neighbors is not None and method != "smote":
        raise DataError("neighbors are SMOTE's: give them with oversample=smote, or leave them out.")
    if given is None:
        return None
    if against is not None:
        raise DataError(
            "oversample is for training data: made-up rows are never evaluated on, so validation data (against) needs "
            "none. Leave one of the two out."
        )
    if method not in get_args(Method):
        names = get_args(Method)
        raise DataError(
            f"oversample is {given!r}; allowed are {one_of(names)}, with a ratio as in smote:0.5."
            f"{did_you_mean(method, names)}"
        )
    if isinstance(neighbors, bool) or not isinstance(neighbors, int | None) or (neighbors or 1) < 1 or neighbors == 0:
        raise DataError(f"neighbors is {neighbors!r}; allowed are whole numbers from 1 on.")
    if method == "smote":
        _smote_class()
    return Oversampling(cast("Method", method), _ratio(given, ratio), neighbors or NEIGHBORS)


def make_up(how: Oversampling, shards: Shards, seed: int) -> tuple[tuple[Shard, ...], Array]:
    """Add made-up rows to shards; return the shards, and the rows that were made of each class.

    SMOTE holds a class's rows of one shard in memory, with what is made of them. Raises DataError when a shard has too
    few rows of a class, and OSError.
    """
    label, classes = shards.label, shards.label.classes
    width = 0 if classes is None else classes.width
    counts = np.stack(
        [
            np.bincount(_mapped(shards.folder, number, label.layout), minlength=width)
            for number in range(len(shards.written))
        ]
    )
    wanted = np.maximum(np.rint(how.ratio * counts.max(axis=1, keepdims=True)).astype(np.int64) - counts, 0)
    wanted[_nowhere(counts, shards.groups)] = 0
    _refuse_few_rows(how, counts, wanted, shards)
    found = tuple(
        _grown(shards, number, how, wanted[number], seed) if wanted[number].any() else shard
        for number, shard in enumerate(shards.written)
    )
    return found, wanted.sum(axis=0)


def _ratio(given: str, text: str) -> float:
    try:
        ratio = float(text) if ":" in given else 1.0
    except ValueError:
        ratio = 0.0
    if not 0 < ratio <= 1:
        raise DataError(
            f"oversample is {given!r}; its ratio is to the rows of the largest class, a number above 0 and at most 1."
        )
    return ratio


def _nowhere(counts: Array, groups: int) -> Array:
    """Return where a class has no rows in the whole group, or no rows at all."""
    by_group = counts.reshape(groups, -1, counts.shape[1]).sum(axis=1)
    return np.repeat(by_group == 0, len(counts) // groups, axis=0)


def _refuse_few_rows(how: Oversampling, counts: Array, wanted: Array, shards: Shards) -> None:
    classes = shards.label.classes
    few = [
        f"class {class_name(classes.values[place])} has {counts[shard, place]} rows in shard {shard}"
        for shard, place in np.argwhere((wanted > 0) & (counts < how.least)).tolist()
        if classes is not None
    ]
    if few:
        fewer = "fewer shards or neighbors, or say oversample=duplicate" if how.method == "smote" else "fewer shards"
        needs = "a row" if how.least == 1 else f"{how.least} rows"
        raise DataError(
            f"oversample makes rows of a class of its rows in the same shard, and needs {needs} there: "
            f"{listed(few, 3)}. Ask for {fewer}; stratify deals each class evenly."
        )


def _grown(shards: Shards, number: int, how: Oversampling, wanted: Array, seed: int) -> Shard:
    """Append a shard's made-up rows to its files."""
    before = shards.written[number]
    inputs = {field.name: _mapped(shards.folder, number, field.layout) for field in shards.inputs}
    label, rows = _mapped(shards.folder, number, shards.label.layout), before.rows + int(wanted.sum())
    for place in np.flatnonzero(wanted).tolist():
        draws = np.random.SeedSequence(seed, spawn_key=(3, number, place))
        of_class, count = np.flatnonzero(label == place), int(wanted[place])
        made = _smote(inputs, of_class, count, how.neighbors, draws) if how.method == "smote" else None
        for piece in made or _copies(inputs, of_class, count, draws):
            for name, values in piece.items():
                _append(shards.folder / file_name(number, name), values)
        _append(shards.folder / file_name(number, shards.label.name), np.full(count, place, label.dtype))
    files = {
        field.name: _finished(shards.folder / file_name(number, field.name), field.layout, rows)
        for field in (*shards.inputs, shards.label)
    }
    return Shard(rows=rows, files={**before.files, **files}, made_up=rows - before.rows)


def _copies(
    inputs: Mapping[str, Array], rows: Array, count: int, draws: np.random.SeedSequence
) -> Iterator[dict[str, Array]]:
    """Give copies of rows, each as often as the others, give or take one, and in their order."""
    # Raw bits and a stable sort: both are the same in every release of numpy and on every machine.
    shuffled = rows[np.argsort(np.random.Philox(draws).random_raw(len(rows)), kind="stable")]
    chosen = np.sort(np.resize(shuffled, count))
    at_once = max(1, COPIED_BYTES // sum(max(1, array[:1].nbytes) for array in inputs.values()))
    for start in range(0, count, at_once):
        piece = chosen[start : start + at_once]
        yield {name: array[piece] for name, array in inputs.items()}


def _smote(
    inputs: Mapping[str, Array], rows: Array, count: int, neighbors: int, draws: np.random.SeedSequence
) -> list[dict[str, Array]]:
    """Return rows between rows of one class, all inputs side by side as one."""
    real = np.concatenate([array[rows].reshape(len(rows), -1).astype(_FLOAT) for array in inputs.values()], axis=1)
    sampler = _smote_class()(
        sampling_strategy={1: len(real) + count}, k_neighbors=neighbors, random_state=int(draws.generate_state(1)[0])
    )
    # It wants a second class, and looks at the first one's rows only.
    resampled, _ = sampler.fit_resample(np.concatenate([real, real[:1]]), np.r_[np.ones(len(real), int), 0])
    made, found, start = resampled[len(real) + 1 :], {}, 0
    for name, array in inputs.items():
        width = array[0].size
        values = made[:, start : start + width].reshape(count, *array.shape[1:])
        found[name] = np.rint(values).astype(array.dtype) if array.dtype == UINT8 else values.astype(array.dtype)
        start += width
    return [found]


def _smote_class() -> Any:
    try:
        from imblearn.over_sampling import SMOTE  # noqa: PLC0415 -- an extra, and a second to import
    except ModuleNotFoundError as error:
        raise UserError(
            f"oversample=smote needs {error.name}, which is not installed: pip install 'modelhopper[imbalance]', "
            "or say oversample=duplicate."
        ) from error
    return SMOTE


def _mapped(folder: Path, shard: int, layout: Layout) -> Array:
    return np.asarray(np.load(folder / file_name(shard, layout.name), mmap_mode="r", allow_pickle=False))


def _append(path: Path, values: Array) -> None:
    with path.open("ab") as file:
        file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def _finished(path: Path, layout: Layout, rows: int) -> File:
    """Say in a file's header how many rows it has now, and return what the manifest says of it."""
    with path.open("r+b") as file:
        file.write(header(layout, rows))  # as long as before: numpy leaves room for a larger number of rows
    return File(size_bytes=path.stat().st_size, sha256=digest_file(path))
