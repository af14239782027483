"""How an ensemble's members become one: what may be asked for, and the weights that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from modelhopper.members import Choice
from modelhopper_contract.errors import UserError
from modelhopper_contract.metrics import Metric
from modelhopper_contract.nearest import did_you_mean

Combine = Literal["average", "logits", "vote", "stack"]
Weights = Sequence[float] | Literal["metric"] | None


@dataclass(frozen=True)
class Combination:
    """What was asked for, checked."""

    combine: Combine
    weights: tuple[float, ...] | None  # one for each seat; None: all count the same
    data: str | None  # what stacking learns from; None: the run's validation data, or what folds held out
    holdout: float | None  # the share of these rows that it does not learn from, and is evaluated on


def combination(
    choice: Choice, combine: Combine, weights: Weights, data: str | Path | None, holdout: float | None
) -> Combination:
    """Check what was asked for; raise UserError for what does not go together."""
    if combine not in get_args(Combine):
        allowed = ", ".join(get_args(Combine))
        raise UserError(f"`{combine}` is no way to combine: use {allowed}.{did_you_mean(combine, get_args(Combine))}")
    if combine == "stack":
        _check_stack(choice, weights, data, holdout)
    else:
        _refuse_lessons(combine, data=data, holdout=holdout)
    return Combination(combine, _numbers(choice, weights), None if data is None else str(data), holdout)


def _refuse_lessons(combine: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise UserError(f"`{name}` says what stacking learns from, and `{combine}` learns nothing: leave it out.")


def _check_stack(choice: Choice, weights: Weights, data: str | Path | None, holdout: float | None) -> None:
    if weights is not None:
        raise UserError("stacking finds the weights itself: leave `weights` out, or take another way to combine.")
    if holdout is not None and not 0 < holdout < 1:
        raise UserError(f"holdout is {holdout:g}: give a share of the rows between 0 and 1, such as 0.3.")
    if data is not None:
        return
    if choice.folds is not None:
        if holdout is not None:
            raise UserError(
                "with folds, stacking learns from rows that no model saw: leave `holdout` out, or give `data`."
            )
        return
    first = choice.seats[0].first
    if first.specification.experiment.data.validation is None:
        raise UserError(
            f"stacking learns from rows that no member was trained on, and {first.run_name} has no validation data: "
            "give a packed data set (data='data/iris-stack', --data data/iris-stack)."
        )


def _numbers(choice: Choice, given: Weights) -> tuple[float, ...] | None:
    if given is None:
        return None
    if isinstance(given, str):
        if given != "metric":
            raise UserError(f"`{given}` are no weights: give one number for each member, or `metric`.")
        found = [_by_metric([one.metrics for one in seat.candidates], choice.metric) for seat in choice.seats]
    else:
        found = [float(weight) for weight in given]
    if len(found) != len(choice.seats):
        raise UserError(f"{len(found)} weights were given for {len(choice.seats)} members: give one for each.")
    if not all(math.isfinite(weight) and weight > 0 for weight in found):
        said = ", ".join(f"{weight:g}" for weight in found)
        raise UserError(f"the weights are {said}: each must be a number above 0. Leave out who should not count.")
    return tuple(found)


def _by_metric(metrics: Sequence[Mapping[str, float]], metric: Metric) -> float:
    """Return a member's metric, or where lower is better its inverse, as a weight; NaN where it has none."""
    values = [one.get(str(metric), math.nan) for one in metrics]
    mean = sum(values) / len(values)
    if not metric.lower_is_better:
        return mean
    return 1 / mean if mean else math.nan
