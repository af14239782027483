"""Which columns make which input and output."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import ROW_ID
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.packing.columns import Source, listed
from modelhopper_trainer.packing.training import Training

Names = str | Sequence[str] | Mapping[str, str | Sequence[str]]

_FIELD_NAME = re.compile(r"\w[\w .+-]{0,99}")
_PAIRS = (("features", "labels"), ("images", "labels"), ("data", "target"))


@dataclass(frozen=True)
class Selection:
    """One input or output, and the columns that make it."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Fields:
    """What is packed."""

    inputs: tuple[Selection, ...]
    outputs: tuple[Selection, ...]


def select(
    source: Source,
    features: Names | None,
    labels: Names | None,
    training: Training | None,
    aside: Collection[str] = (),
) -> Fields:
    """Return the inputs and outputs that the user named, or those of the training set, or those that are plain to see.

    Columns `aside` have a use of their own, and are features and labels only where they are named. Raises DataError
    for a name that the source lacks, and where labels can only be guessed.
    """
    for column in aside:
        if column not in source.columns:
            _refuse_unknown(source, column)
    guess = _guess(source, aside)
    if features is None and labels is None and source.pair is None and guess is not None:
        fields = Fields(*[(selection,) for selection in guess])
    else:
        outputs = _outputs(source, labels, training, aside)
        used = {column for output in outputs for column in output.columns}
        fields = Fields(_inputs(source, features, training, used, aside), outputs)
    _refuse_bad_names(source, fields)
    return fields if training is None else _in_order(source, fields, training)


def _in_order(source: Source, fields: Fields, training: Training) -> Fields:
    """Return the fields in the order of the training set; raise DataError when they are others."""
    training.refuse_other_names(source.name, "inputs", [field.name for field in fields.inputs])
    training.refuse_other_names(source.name, "outputs", [field.name for field in fields.outputs])
    inputs = [field.name for field in training.manifest.inputs]
    outputs = [field.name for field in training.manifest.outputs]
    return Fields(
        tuple(sorted(fields.inputs, key=lambda field: inputs.index(field.name))),
        tuple(sorted(fields.outputs, key=lambda field: outputs.index(field.name))),
    )


def _outputs(
    source: Source, labels: Names | None, training: Training | None, aside: Collection[str]
) -> tuple[Selection, ...]:
    if isinstance(labels, Mapping):
        return tuple(Selection(name, _expand(source, columns, aside)) for name, columns in labels.items())
    if labels is not None:
        return _each(_expand(source, labels, aside))
    if source.pair is not None:
        return _each(name for name in source.pair[1] if name not in aside)
    if training is not None and all(output.name in source.columns for output in training.manifest.outputs):
        return _each(output.name for output in training.manifest.outputs)
    raise DataError(
        f"{source.name}: say which {_kind(source)} are labels (`labels`; an empty list for none). "
        f"It has: {listed(source.columns)}."
    )


def _inputs(
    source: Source,
    features: Names | None,
    training: Training | None,
    used: Collection[str],
    aside: Collection[str],
) -> tuple[Selection, ...]:
    others = {*used, *aside}
    if isinstance(features, Mapping):
        return tuple(Selection(name, _expand(source, columns, others)) for name, columns in features.items())
    if features is not None:
        columns = _expand(source, features, others)
        return (Selection("x", columns),) if source.tabular else _each(columns)
    if source.pair is not None:
        return _each(name for name in source.pair[0] if name not in aside)
    if training is not None:
        inherited = {field.name: field.columns or (field.name,) for field in training.manifest.inputs}
        if all(column in source.columns for columns in inherited.values() for column in columns):
            return tuple(Selection(name, columns) for name, columns in inherited.items())
    rest = tuple(column for column in source.columns if column not in others)
    return (Selection("x", rest),) if source.tabular else _each(rest)


def _guess(source: Source, aside: Collection[str]) -> tuple[Selection, Selection] | None:
    """Return input and output of a source that has exactly two arrays with telling names, such as x_train, y_train."""
    columns = [column for column in source.columns if column not in aside]
    if source.tabular or len(columns) != 2:
        return None
    for first, second in (columns, columns[::-1]):
        if (first, second) in _PAIRS or (first[:1] in {"x", "X"} and second in {f"y{first[1:]}", f"Y{first[1:]}"}):
            return Selection("x", (first,)), Selection("y", (second,))
    return None


def _each(names: Iterable[str]) -> tuple[Selection, ...]:
    return tuple(Selection(name, (name,)) for name in names)


def _expand(source: Source, names: str | Sequence[str], excluded: Collection[str]) -> tuple[str, ...]:
    """Return the columns of names and patterns, in the order given, each once; patterns leave `excluded` out."""
    found: dict[str, None] = {}
    for name in [names] if isinstance(names, str) else names:
        if name in source.columns:
            matches = [name]
        else:
            matches = [column for column in source.columns if fnmatch.fnmatchcase(column, name)]
            matches = [column for column in matches if column not in excluded]
        if not matches:
            _refuse_unknown(source, name)
        found.update(dict.fromkeys(matches))
    return tuple(found)


def _refuse_unknown(source: Source, name: str) -> None:
    hint = did_you_mean(name, source.columns)
    if source.untyped and all(re.fullmatch(r"[-+.\deE]+", column) for column in source.columns):
        hint = " Its first line looks like data; a CSV file begins with a line of column names."
    raise DataError(f"{source.name} has no {_kind(source)[:-1]} `{name}`.{hint} It has: {listed(source.columns)}.")


def _kind(source: Source) -> str:
    return "columns" if source.tabular else "arrays"


def _refuse_bad_names(source: Source, fields: Fields) -> None:
    if not fields.inputs or not all(selection.columns for selection in (*fields.inputs, *fields.outputs)):
        raise DataError(f"{source.name}: no {_kind(source)} are left as features. It has: {listed(source.columns)}.")
    seen: set[str] = set()
    for selection in (*fields.inputs, *fields.outputs):
        if not _FIELD_NAME.fullmatch(selection.name):
            raise DataError(
                f"{source.name}: `{selection.name}` cannot name an input or output, since it also names a file. "
                f'Give it another name, as in {{"label": "{selection.columns[0]}"}}.'
            )
        if selection.name.lower() == ROW_ID:
            raise DataError(
                f"{source.name}: `{selection.name}` names the file of ids, so no input or output. Give it another "
                f'name, as in {{"number": "{selection.columns[0]}"}}.'
            )
        # Two names that differ only in case are one file on some machines.
        if selection.name.lower() in seen:
            raise DataError(f"{source.name}: several inputs or outputs are named `{selection.name}`. Rename one.")
        seen.add(selection.name.lower())
