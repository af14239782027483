"""The metric by which configurations are compared while a run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelhopper_contract.experiment import Experiment
from modelhopper_contract.records import Configuration, History, Split

# Parts of the names of metrics that are better when they are lower (those of Keras 3, and their short names).
_LOWER_IS_BETTER = (
    *("loss", "error", "entropy", "divergence", "poisson", "hinge", "logcosh", "log_cosh", "false_"),
    *("mse", "mae", "mape", "msle", "rmse", "bce", "cce", "kld"),
)


@dataclass(frozen=True)
class Objective:
    """A metric on a split, such as the accuracy on validation data."""

    split: Split
    metric: str | None  # None: the first that is recorded, and the loss where there is no other

    @property
    def is_higher_better(self) -> bool:
        """Say whether higher values are better."""
        name = (self.metric or "").lower()
        return not any(part in name for part in _LOWER_IS_BETTER)

    def of(self, history: History) -> float | None:
        """Return the metric's value in an evaluation, or None when it is not recorded."""
        found = history.validation if self.split == "validation" else history.training
        return (found or {}).get(self.metric or "loss")

    def __str__(self) -> str:
        return f"{self.split} {self.metric or 'loss'}"


def objective_of(experiment: Experiment, configurations: list[Configuration]) -> Objective:
    """Return the experiment's objective; by default the first metric, on validation data where there is any."""
    split: Split = "training" if experiment.data.validation is None else "validation"
    if experiment.objective:
        first, _, rest = experiment.objective.partition(" ")
        return Objective("training" if first == "training" else split, rest or first)
    return Objective(split, _first_metric(configurations[0].compile.get("metrics")) or "loss")


def _first_metric(given: Any) -> str | None:
    if isinstance(given, list):
        return _first_metric(given[0]) if given else None
    if isinstance(given, dict) and "name" not in given:
        return next((f"{output}_{_first_metric(inner)}" for output, inner in given.items()), None)
    name = given.get("label", given["name"]) if isinstance(given, dict) else given
    return str(name).rpartition(":")[2] if name else None
