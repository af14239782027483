"""What of the data is what of the model: columns by name, packed inputs and labels as they were packed."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import Input, Manifest, Output
from modelhopper_contract.model_card import ModelCard
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.scoring import Action
from modelhopper_trainer.packing.columns import listed

Names = Sequence[str] | Mapping[str, Sequence[str]]

_AGAINST = "Pack it against the training data, with `modelhopper pack ... --against`."


@dataclass(frozen=True)
class Columns:
    """What the user said about columns; nothing where the model's card says it."""

    id: str | None = None
    features: Names | None = None
    labels: Names | None = None


def choose(
    names: Sequence[str], source: str, card: ModelCard, action: Action, said: Columns
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]], str | None]:
    """Return the columns of each input, of each label where models are evaluated, and the column of ids."""
    inputs = {
        one.name: _input_columns(names, source, one, _said_of(said.features, one.name, card.inputs, "--features"))
        for one in card.inputs
    }
    labels = {}
    if action == "evaluate":
        for output in card.outputs:
            own = _said_of(said.labels, output.name, card.outputs, "--labels") or (output.name,)
            labels[output.name] = tuple(_known(names, source, one, f"the label of `{output.name}`") for one in own)
    if said.id is not None:
        _known(names, source, said.id, "the column of ids")
    return inputs, labels, said.id


def check_fit(manifest: Manifest, place: str, card: ModelCard, action: Action) -> None:
    """Raise DataError when packed data is not what the models take, or, to evaluate them, not labelled as they are."""
    if manifest.normalize != card.normalize:
        raise DataError(
            f"{place} does not fit the model: its inputs are divided by {manifest.normalize:g}, and the model's by "
            f"{card.normalize:g}. {_AGAINST}"
        )
    given, wanted = [_form(one) for one in manifest.inputs], [_form(one) for one in card.inputs]
    if given != wanted:
        raise DataError(
            f"{place} does not fit the model: its inputs are {listed(given)}, and the model takes {listed(wanted)}. "
            f"{_AGAINST}"
        )
    for mine, theirs in zip(manifest.inputs, card.inputs, strict=True):
        if mine.columns and theirs.columns and mine.columns != theirs.columns:
            raise DataError(
                f"{place} does not fit the model: `{mine.name}` is made of {listed(mine.columns)}, and the model was "
                f"trained on {listed(theirs.columns)}. {_AGAINST}"
            )
    if action == "evaluate":
        _check_labels(manifest, place, card)


def _check_labels(manifest: Manifest, place: str, card: ModelCard) -> None:
    mine = {one.name: one for one in manifest.outputs}
    for output in card.outputs:
        found = mine.get(output.name)
        if found is None:
            raise DataError(
                f"{place} has no label `{output.name}`: it has {listed(mine) or 'none'}."
                f"{did_you_mean(output.name, mine)} {_AGAINST}"
            )
        if (found.kind, found.classes, found.num_classes, found.shape) != (
            output.kind,
            output.classes,
            output.num_classes,
            output.shape,
        ):
            raise DataError(
                f"{place} does not fit the model: its label `{output.name}` is {_label(found)}, and the model was "
                f"trained on {_label(output)}. {_AGAINST}"
            )


def _said_of(said: Names | None, name: str, fields: Sequence[Input | Output], option: str) -> tuple[str, ...]:
    """Return what the user said of one field: by its name, or of the only one."""
    if said is None:
        return ()
    if isinstance(said, Mapping):
        names = [one.name for one in fields]
        unknown = [one for one in said if one not in names]
        if unknown:
            raise DataError(
                f"{option} names `{unknown[0]}`: the model has {listed(names)}.{did_you_mean(unknown[0], names)}"
            )
        return tuple(said.get(name, ()))
    if len(fields) > 1:
        names = [one.name for one in fields]
        raise DataError(f"the model has {listed(names)}: say whose columns they are, as in {option} {names[0]}=...")
    return tuple(said)


def _input_columns(names: Sequence[str], source: str, one: Input, said: tuple[str, ...]) -> tuple[str, ...]:
    if said:
        found = tuple(dict.fromkeys(column for pattern in said for column in _matches(names, source, pattern)))
    elif one.columns:
        found = tuple(_known(names, source, column, f"what `{one.name}` is made of") for column in one.columns)
    elif one.name in names:
        found = (one.name,)
    else:
        raise DataError(
            f"{source}: say which columns make the model's input `{one.name}`, --features a,b,c. It has "
            f"{listed(names)}."
        )
    width = math.prod(one.shape)
    if len(found) not in (1, width):
        raise DataError(f"{source}: the model's input `{one.name}` takes {width} columns, and {len(found)} were given.")
    return found


def _matches(names: Sequence[str], source: str, pattern: str) -> list[str]:
    if pattern in names:
        return [pattern]
    return fnmatch.filter(names, pattern) or [_known(names, source, pattern, "a feature")]


def _known(names: Sequence[str], source: str, column: str, what: str) -> str:
    if column not in names:
        raise DataError(
            f"{source} has no column `{column}`, {what}.{did_you_mean(column, names)} It has {listed(names)}."
        )
    return column


def _form(one: Input) -> str:
    return f"{one.name} ({' x '.join(map(str, one.shape)) or 'a number'}, {one.dtype})"


def _label(one: Output) -> str:
    if one.kind != "classes":
        return f"{one.kind} of shape {one.shape}"
    return f"classes {listed([str(value) for value in one.classes], 8)}"
