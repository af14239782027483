"""What the user says about outputs, checked: their kinds, their classes, and the width of the one-hot code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast, get_args

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import ClassValue
from modelhopper_contract.nearest import did_you_mean, one_of
from modelhopper_trainer.packing.columns import Source, listed
from modelhopper_trainer.packing.fields import Kind, kind_of
from modelhopper_trainer.packing.labels import Classes, Tally, find_classes, match_classes
from modelhopper_trainer.packing.selection import Selection
from modelhopper_trainer.packing.training import Training, class_name

Kinds = Mapping[str, Kind]
Widths = Mapping[str, int]

_T = TypeVar("_T", str, int)


def kinds_of(
    source: Source, outputs: Sequence[Selection], given: str | Mapping[str, str] | None, training: Training | None
) -> Kinds:
    """Return the kind of each output: as said, else the training set's, else by its form."""
    names = [output.name for output in outputs]
    said = {name: _kind(kind) for name, kind in _by_output("kind", given, names).items()}
    kinds = {}
    for output in outputs:
        inherited = training.output(output.name).kind if training else None
        kinds[output.name] = kind_of(source, output, said.get(output.name, inherited))
        if training is not None and kinds[output.name] != inherited:
            raise DataError(
                f"{source.name}: kind of `{output.name}` is {kinds[output.name]}, but {inherited} in {training.name}. "
                "Leave it out: it is taken from there."
            )
    return kinds


def widths_of(kinds: Kinds, given: int | Mapping[str, int] | None, training: Training | None) -> Widths:
    """Return the widths of one-hot codes that the user asked for, by output."""
    names = [name for name, kind in kinds.items() if kind == "classes"]
    if given is not None and not names:
        raise DataError("num_classes is for labels that are classes, and there are none.")
    widths = _by_output("num_classes", given, names)
    for name, width in widths.items():
        if width < 1:
            raise DataError(f"num_classes is {width}; allowed are whole numbers from 1 on.")
        if training is not None:
            training.refuse_other_width(name, width)
    return widths


def classes_of(
    source: Source, selection: Selection, tallies: Mapping[str, Tally], widths: Widths, training: Training | None
) -> Classes | None:
    """Return the classes of an output, or None when it has none."""
    tally = tallies.get(selection.name)
    if tally is None:
        return None
    if training is not None:
        return _training_classes(source, selection.name, tally, training)
    values, codes = find_classes(tally, untyped=source.untyped)
    width = widths.get(selection.name, len(values))
    if width < len(values):
        names = listed([class_name(value) for value in values])
        raise DataError(
            f"num_classes is {width}, but {tally.what} has {len(values)} classes: {names}. "
            "It may add classes, and never takes one away."
        )
    return Classes(values, width, codes)


def class_rows(classes: Classes, tally: Tally) -> tuple[int, ...]:
    """Return how many rows each class has, in the order of class indices; padding classes have none."""
    rows = [0] * classes.width
    for place, count in tally.counts.items():
        rows[classes.codes[place]] += count
    return tuple(rows)


def _training_classes(source: Source, name: str, tally: Tally, training: Training) -> Classes:
    output = training.output(name)
    codes, lacking = match_classes(tally, output.classes, untyped=source.untyped)
    if lacking:
        counts: list[tuple[ClassValue, int]] = [(value, tally.counts[place]) for place, value in lacking.items()]
        raise training.lacking(source.name, name, counts)
    return Classes(output.classes, output.num_classes or len(output.classes), codes)


def _kind(given: str) -> Kind:
    kinds = get_args(Kind)
    if given not in kinds:
        raise DataError(f"kind is {given!r}; allowed are {one_of(kinds)}.{did_you_mean(given, kinds)}")
    return cast("Kind", given)


def _by_output(what: str, given: _T | Mapping[str, _T] | None, names: Sequence[str]) -> dict[str, _T]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    for name in given:
        if name not in names:
            raise DataError(
                f"{what} names `{name}`, which is no such output.{did_you_mean(name, names)} Outputs: {listed(names)}."
            )
    return dict(given)
