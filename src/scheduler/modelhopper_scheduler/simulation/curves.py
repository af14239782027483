"""What training would give: values of the objective by configuration and iteration, made up or from an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

from modelhopper_contract.decisions import Start
from modelhopper_contract.errors import UserError
from modelhopper_contract.metrics import Metric
from modelhopper_contract.record import canonical_json

_BEGINNING = 0.1  # the score before any training
_NOISE = 0.01  # standard deviation of one evaluation


class Curves(Protocol):
    """Values of the objective. The same question always has the same answer."""

    def value(self, start: Start, iteration: int) -> float | None:
        """Return a configuration's value after so many iterations; None when it has failed by then."""


@dataclass(frozen=True)
class Modelled:
    """A power law towards a plateau, with noise: what learning curves look like (Domhan et al., IJCAI 2015).

    A score between 0 and 1 begins at 0.1 and comes nearer to its plateau, between 0.35 and 0.95, by
    `(1 + iteration) ** -rate`, with a rate between 0.3 and 1.5. Plateau and rate are drawn from the seed and the
    configuration's choice, noise from its number and the iteration. A metric that is better when lower is one minus the
    score. Nothing here knows what a learning rate does: such values decide who is stopped, and tell nothing about
    models.
    """

    metric: Metric
    seed: int

    def value(self, start: Start, iteration: int) -> float:
        """Return a configuration's value after so many iterations."""
        drawn = Random(f"{self.seed} {canonical_json(start.choice)!r}")
        plateau, rate = 0.95 - 0.6 * drawn.random() ** 2, 0.3 * 5.0 ** drawn.random()
        noise = Random(f"{self.seed} {start.configuration} {iteration}").gauss(0.0, _NOISE)
        score: float = plateau - (plateau - _BEGINNING) * (1 + iteration) ** -rate + noise
        score = min(1.0, max(0.0, score))
        return 1 - score if self.metric.lower_is_better else score


@dataclass(frozen=True)
class Recorded:
    """The values of an earlier run. A configuration takes the curve of the one that had its number there."""

    origin: str  # what to call the run in messages
    values: Mapping[int, Mapping[int, float | None]]  # by number and iteration; None: it had failed by then

    def value(self, start: Start, iteration: int) -> float | None:
        """Return the value at the last recorded iteration up to this one; before the first, the first.

        Raises UserError for a configuration that the run did not have: a made-up curve among recorded ones would be
        taken for one of them.
        """
        own = self.values.get(start.configuration)
        if not own:
            raise UserError(
                f"{self.origin} recorded values of {len(self.values)} configurations and none of number "
                f"{start.configuration}, which the search starts: give a run with more configurations, or leave the "
                "curves out."
            )
        return own[max((at for at in own if at <= iteration), default=min(own))]
