"""What a user asks to be told of each row, checked against what the models give."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import Output
from modelhopper_contract.model_card import ModelCard
from modelhopper_contract.nearest import did_you_mean, one_of
from modelhopper_contract.scoring import Answer

if TYPE_CHECKING:
    from modelhopper.scoring_results import Evaluation

# A number; one for each output; or the file, or the result, of an evaluation that chose one.
Threshold: TypeAlias = "float | str | Path | Mapping[str, float] | Evaluation | None"

_TYPES = ("response", "prob")
_TWO = 2  # classes between which a threshold decides


def answer_of(type: str | None, top: int | None, threshold: Any, card: ModelCard) -> Answer:  # noqa: A002
    """Return what is told of each row; raise UserError where the options contradict each other, or the models."""
    if type is not None and type not in _TYPES:
        raise UserError(f"type is `{type}`: use {one_of(_TYPES)}.{did_you_mean(type, _TYPES)}")
    if top is not None:
        if type == "response":
            raise UserError("`response` is the best class alone: say --type prob with --top, or leave --type out.")
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise UserError(f"top is {top}: give a whole number from 1 on.")
    chosen = cast("Literal['response', 'prob']", type or ("response" if top is None else "prob"))
    classed = [output for output in card.outputs if card.gives[output.name] != "numbers"]
    if not classed and (chosen == "prob" or threshold is not None):
        given = "a threshold" if threshold is not None else "--type prob"
        raise UserError(f"{given} is for classes, and the model gives numbers.")
    values = thresholds_of(threshold, card)
    if chosen == "response" and values:
        _refuse_many_classes([output for output in classed if output.name in values or "" in values])
    return Answer(type=chosen, top=top, threshold=values.pop("", None), thresholds=values)


def thresholds_of(given: Any, card: ModelCard) -> dict[str, float]:
    """Return thresholds by output; by "" the one that is for all."""
    if given is None:
        return {}
    found = _read(given)
    names = [output.name for output in card.outputs]
    for name, value in found.items():
        if name and name not in names:
            raise UserError(
                f"the threshold is for `{name}`: the model gives {', '.join(names)}.{did_you_mean(name, names)}"
            )
        if isinstance(value, bool) or not math.isfinite(value) or not 0 <= value < 1:
            raise UserError(f"the threshold is {value}: give a number from 0 to below 1.")
    return found


def positives_of(given: Any, threshold: Any, card: ModelCard) -> dict[str, int]:
    """Return the index of the class that a threshold decides on, by output; nothing where it is the second of two."""
    if given is None:
        return _chosen_positives(threshold, card)
    pairs = _pairs(card)
    if not pairs:
        raise UserError("a positive class is for two classes, and the model has no output of two.")
    if not isinstance(given, Mapping) and len(pairs) > 1:
        raise UserError(f"say whose class is positive: {', '.join(output.name for output in pairs)}.")
    by_output = given if isinstance(given, Mapping) else {pairs[0].name: given}
    known = {output.name: output for output in pairs}
    for name in by_output:
        if name not in known:
            raise UserError(f"`{name}` is no output of two classes.{did_you_mean(name, known)}")
    return {name: _index(known[name], value) for name, value in by_output.items()}


def chosen_thresholds(given: Any) -> dict[str, Any]:
    """Return what an evaluation, or the file of one, has chosen, by output; raise UserError where it has not."""
    return _chosen(given.records() if hasattr(given, "records") else _loaded(Path(given)))


def check_choosable(card: ModelCard) -> None:
    """Raise UserError where there is nothing that a threshold could be chosen for."""
    if not _pairs(card):
        raise UserError("a threshold is chosen between two classes, and the model has no output of two.")


def _pairs(card: ModelCard) -> list[Output]:
    return [output for output in card.outputs if card.gives[output.name] != "numbers" and _width(output) == _TWO]


def _index(output: Output, value: Any) -> int:
    names = [_named(one) for one in output.classes or range(_TWO)]
    if _named(value) not in names:
        raise UserError(
            f"`{value}` is not a class of `{output.name}`: its classes are {', '.join(names)}."
            f"{did_you_mean(_named(value), names)}"
        )
    return names.index(_named(value))


def _named(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _width(output: Output) -> int:
    return len(output.classes) if output.kind == "classes" else math.prod(output.shape)


def _refuse_many_classes(outputs: list[Output]) -> None:
    for output in outputs:
        if _width(output) != _TWO:
            raise UserError(
                f"`response` with a threshold decides between two classes, and `{output.name}` has {_width(output)}: "
                "--type prob lists all classes above the threshold."
            )


def _read(given: Any) -> dict[str, float]:
    if isinstance(given, int | float):
        return {"": float(given)}
    if isinstance(given, Mapping):
        return {str(name): float(value) for name, value in given.items()}
    if hasattr(given, "thresholds"):
        return {name: one["threshold"] for name, one in _chosen(given.records()).items()}
    try:
        return {"": float(given)}
    except ValueError:
        return {name: one["threshold"] for name, one in _chosen(_loaded(Path(given))).items()}


def _chosen_positives(threshold: Any, card: ModelCard) -> dict[str, int]:
    if threshold is None or isinstance(threshold, int | float | Mapping):
        return {}
    try:
        float(threshold)
    except ValueError:
        found = _chosen(_loaded(Path(threshold)))
    except TypeError:
        found = _chosen(threshold.records())
    else:
        return {}
    known = {output.name: output for output in card.outputs}
    return {name: _index(known[name], one["positive"]) for name, one in found.items() if name in known}


def _loaded(path: Path) -> Any:
    try:
        return json.loads(path.expanduser().read_text())
    except OSError as error:
        raise UserError(
            f"the threshold `{path}` is neither a number nor a file that can be read: {error.strerror}."
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not what `modelhopper evaluate --out` writes: it is not JSON.") from error


def _chosen(evaluation: Any) -> dict[str, Any]:
    """Return the thresholds that an evaluation chose, by output."""
    models = evaluation.get("models", []) if isinstance(evaluation, dict) else []
    outputs = {
        name: one["threshold"]
        for model in models[:1]
        for name, one in model.get("outputs", {}).items()
        if isinstance(one.get("threshold"), dict)
    }
    if not outputs:
        raise UserError("the evaluation has chosen no threshold: run it with --choose-threshold.")
    if len(models) > 1:
        raise UserError("the evaluation is of several models, and each has its own threshold: evaluate one.")
    return outputs
