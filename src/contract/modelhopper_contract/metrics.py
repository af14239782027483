"""Which metric ranks the configurations, and in which direction it is better. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.records import Configuration, History, Split

# Keras' metrics that are better when lower, in lower case without underscores, besides all that say loss or error.
_LOWER = frozenset(
    [
        "mse",
        "mae",
        "mape",
        "msle",
        "rmse",
        "kld",
        "kldivergence",
        "logcosh",
        "huber",
        "poisson",
        "hinge",
        "squaredhinge",
        "categoricalhinge",
        "falsepositives",
        "falsenegatives",
        "bce",
        "cce",
        "ce",
        "crossentropy",
        "binarycrossentropy",
        "categoricalcrossentropy",
        "sparsecategoricalcrossentropy",
    ]
)


@dataclass(frozen=True)
class Metric:
    """One number that is recorded for every configuration."""

    split: Split
    name: str  # as recorded: "accuracy", or with several outputs "digit_accuracy"
    lower_is_better: bool

    def __str__(self) -> str:
        return f"{self.split} {self.name}"

    def of(self, history: History | None) -> float | None:
        """Return the metric's value, or None where it is not recorded."""
        return None if history is None else values(history, self.split).get(self.name)

    def rank(self, value: float | None) -> tuple[int, float]:
        """Return what sorts better values first, NaN after all numbers, and missing values last."""
        if value is None:
            return 2, 0.0
        if math.isnan(value):
            return 1, 0.0
        return 0, value if self.lower_is_better else -value


def is_lower_better(name: str) -> bool:
    """Say whether a metric is better when lower, by its name as recorded or as Keras has it.

    Losses, errors, divergences and counts of mistakes are; everything else, such as a metric of the user's own, is not.
    """
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    if "error" in snake or snake.endswith("loss"):
        return True
    # A metric of one of several outputs is recorded as <output>_<metric>.
    words = snake.split("_")
    return any("".join(words[start:]) in _LOWER for start in range(len(words)))


def values(history: History, split: Split) -> Mapping[str, float]:
    """Return one split's metrics by name."""
    return history.training if split == "training" else history.validation or {}


def flat(history: History | None) -> dict[str, float]:
    """Return all metrics by full name: "validation accuracy" to 0.967."""
    if history is None:
        return {}
    splits: tuple[Split, ...] = ("validation", "training")
    return {f"{split} {name}": value for split in splits for name, value in values(history, split).items()}


def recorded(histories: Iterable[History]) -> dict[Split, list[str]]:
    """Return the names of all recorded metrics, loss last; a split without any is left out."""
    found: dict[Split, set[str]] = {"validation": set(), "training": set()}
    for history in histories:
        found["training"] |= history.training.keys()
        found["validation"] |= (history.validation or {}).keys()
    return {split: sorted(names, key=lambda name: (name == "loss", name)) for split, names in found.items() if names}


def choose(
    given: str | None,
    objective: str | None,
    configurations: Sequence[Configuration],
    known: Mapping[Split, Sequence[str]],
    *,
    lower_is_better: bool | None = None,
) -> Metric:
    """Return the metric that ranks: the given one, else the objective, else the first compiled one, else the loss.

    Without "training" or "validation" in front it is of the validation data where that has it. Raises UserError for one
    that is not recorded, with those that are.
    """
    text = given or objective
    split, name = _found(text, known) if text else _default(configurations, known)
    return Metric(split, name, is_lower_better(name) if lower_is_better is None else lower_is_better)


def check_objective(
    objective: str | None, configurations: Sequence[Configuration], outputs: Sequence[str], *, validated: bool
) -> None:
    """Raise SpecError for an objective that no evaluation will record, before anything is trained."""
    if objective is not None:
        check_recorded(objective, configurations, outputs, validated=validated, path=("objective",))


def check_recorded(
    metric: str,
    configurations: Sequence[Configuration],
    outputs: Sequence[str],
    *,
    validated: bool,
    path: tuple[str | int, ...],
) -> None:
    """Raise SpecError for a metric that none of these configurations will record; `path`: where it is written."""
    names = {name for one in configurations for name in _expected(one, outputs)}
    splits = ["validation", "training"] if validated else ["training"]
    known = [f"{split} {name}" for split in splits for name in sorted(names)]
    # A metric that has several numbers, such as one per class, is recorded as <name>_<which>.
    if not any(metric == each or metric.startswith(f"{each}_") for each in [*known, *names]):
        near = did_you_mean(metric, known) or did_you_mean(metric, names)
        why = "" if validated else " There is no validation data."
        raise SpecError(
            f"`{metric}` is not a metric of this experiment: there are {', '.join(known)}.{near}{why}", path
        )


def _expected(configuration: Configuration, outputs: Sequence[str]) -> list[str]:
    metrics = configuration.compile.get("metrics") or []
    compiled = _compiled(metrics)
    if len(outputs) == 1:
        return ["loss", *[name.removeprefix(f"{outputs[0]}_") for name in compiled]]
    by_output = isinstance(metrics, Mapping) and "name" not in metrics
    prefixed = compiled if by_output else [f"{output}_{name}" for output in outputs for name in compiled]
    return ["loss", *[f"{output}_loss" for output in outputs], *prefixed]


def _found(text: str, known: Mapping[Split, Sequence[str]]) -> tuple[Split, str]:
    splits: tuple[Split, ...] = ("validation", "training")
    for split in splits:
        if text.startswith(f"{split} ") and (not known or text.removeprefix(f"{split} ") in known.get(split, ())):
            return split, text.removeprefix(f"{split} ")
    for split in splits:
        if text in known.get(split, ()):
            return split, text
    if not known:
        return "validation", text  # nothing is evaluated yet, so nothing says that it is wrong
    names = [f"{split} {name}" for split, found in known.items() for name in found]
    near = did_you_mean(text, names) or did_you_mean(text, [name for found in known.values() for name in found])
    raise UserError(f"`{text}` is not a recorded metric: there are {', '.join(names)}.{near}")


def _default(configurations: Sequence[Configuration], known: Mapping[Split, Sequence[str]]) -> tuple[Split, str]:
    split: Split = "validation" if "validation" in known or not known else "training"
    compiled = _compiled(configurations[0].compile.get("metrics") or []) if configurations else []
    for name in compiled:
        # As recorded: plain, of one of several outputs, or one of a metric's several numbers.
        for candidate in known.get(split, ()):
            if candidate == name or candidate.endswith(f"_{name}") or candidate.startswith(f"{name}_"):
                return split, candidate
    return split, compiled[0] if compiled and not known else "loss"


def _compiled(metrics: Any) -> list[str]:
    """Return the names of compiled metrics in their order, as the trainer records them for one output."""
    if isinstance(metrics, Mapping) and "name" not in metrics:
        return [f"{output}_{name}" for output, inner in metrics.items() for name in _compiled(inner)]
    if isinstance(metrics, list | tuple):
        return [name for inner in metrics for name in _compiled(inner)]
    text = metrics.get("label", metrics.get("name")) if isinstance(metrics, Mapping) else metrics
    return [str(text).rpartition(":")[2]]
