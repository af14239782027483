"""Early stopping: a configuration ends when its own metrics say that training it longer is of no use. Pure.

As Keras' EarlyStopping, with one difference: Keras counts epochs, and here evaluated iterations count. All of it is a
function of a configuration's evaluations in the order of iterations, so it does not matter when each was complete, nor
how far the configuration was trained meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
from pydantic import Field

from modelhopper_contract.metrics import Metric, check_recorded, choose, recorded
from modelhopper_contract.part import Part
from modelhopper_contract.records import Configuration, Failure, History, Outcome
from modelhopper_contract.ring import Ring
from modelhopper_contract.searches import Asha, Halving, Hyperband, Median, Pbt
from modelhopper_contract.space_rules import Misplaced

_RUNGS = (Hyperband, Halving, Asha, Median, Pbt)


class EarlyStopping(Part):
    """Stops a configuration whose metric has not improved for `patience` evaluations. A number alone is the patience.

    NaN is no improvement. `restore_best`: the result is the best evaluated iteration, also of a configuration that was
    trained to the end; otherwise it is the last that counted.
    """

    metric: str | None = None  # None: the objective, or else the loss, on validation data where there is any
    patience: Annotated[int, Field(gt=0)]
    min_change: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # a smaller one, or this, is no improvement
    restore_best: bool = True

    @pydantic.model_validator(mode="before")
    @classmethod
    def _accept_the_patience_alone(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"patience": value}
        if not isinstance(value, Mapping | EarlyStopping):
            raise ValueError(f"`{value}` does not say for how many evaluations to wait for an improvement, as `3` does")
        return value

    def named(self, objective: str | None) -> str:
        """Return the metric as it is written, or what stands for it."""
        return self.metric or objective or "loss"


@dataclass(frozen=True)
class Standing:
    """How a configuration stands by its first evaluations without a gap, up to the one that stops it."""

    rule: EarlyStopping
    metric: Metric
    at: int  # the last iteration that counts
    best: int  # the iteration of the last improvement
    value: float | None  # of the metric then; None: it was never a number
    waited: int = 0  # evaluations since then

    @property
    def is_stopped(self) -> bool:
        """Say whether the configuration's time is up."""
        return self.waited >= self.rule.patience

    @property
    def result(self) -> int:
        """The iteration whose weights count, if it ends here."""
        return self.best if self.rule.restore_best and self.value is not None else self.at

    @property
    def reason(self) -> str:
        """Why it is stopped, in words."""
        evaluations = f"{self.waited} evaluation{'' if self.waited == 1 else 's'}"
        if self.value is None:
            return f"{self.metric} was not a number at {evaluations}"
        by = f" by more than {self.rule.min_change:g}" if self.rule.min_change else ""
        return f"{self.metric} has not improved{by} for {evaluations}: best {self.value:.4g} at iteration {self.best}"

    @property
    def praise(self) -> str:
        """Why an earlier iteration than the last is the result, in words."""
        return f"{self.metric} was best at iteration {self.best}: {self.value:.4g}"

    def needs(self, iteration: int) -> bool:
        """Say whether an evaluated iteration may still become the result.

        What was not needed once is never needed again, whatever is evaluated later; so a view that is out of date
        errs on the safe side.
        """
        return iteration > self.at or iteration == self.result

    def after(self, iteration: int, value: float | None) -> Standing:
        """Return the standing after one more evaluation."""
        if _is_better(self, value):
            return Standing(self.rule, self.metric, iteration, iteration, value)
        return Standing(self.rule, self.metric, iteration, self.best, self.value, self.waited + 1)


def standing(
    rule: EarlyStopping, objective: str | None, evaluated: Iterable[int], histories: Mapping[int, History]
) -> Standing | None:
    """Return how a configuration stands; None before its first evaluation is complete.

    `evaluated`: all iterations that are evaluated, ascending. `histories`: those that are complete, by iteration.
    Raises UserError when the metric is not among what is recorded.
    """
    found: Standing | None = None
    for iteration in evaluated:
        if iteration not in histories or (found is not None and found.is_stopped):
            break
        if found is None:
            metric = choose(rule.named(objective), None, (), recorded(histories.values()))
            found = Standing(rule, metric, iteration, iteration, None)
        found = found.after(iteration, found.metric.of(histories[iteration]))
    return found


def ending(
    number: int, stands: Standing | None, ring: Ring, histories: Mapping[int, History], failure: Failure | None = None
) -> Outcome | None:
    """Return how a configuration ended, or None while it goes on.

    `failure`: why it cannot go on. It counts when the evaluations before it do not stop the configuration, and waits
    until they are complete: which of the two is found first is a matter of time.
    """
    is_at_end = stands is not None and stands.at == ring.iterations
    if stands is not None and (stands.is_stopped or is_at_end):
        return _ended(number, stands, ring, histories[stands.result])
    if failure is None or _waits(failure, 0 if stands is None else stands.at, ring):
        return None
    return Outcome(configuration=number, state="failed", hops=failure.hop, failure=failure)


def superfluous(outcome: Outcome, ring: Ring, hops: Sequence[int]) -> list[int]:
    """Return which of the checkpoints of a configuration that has ended nobody needs any more, by hop.

    Its result stays; of a failed one, which has none, the newest; and what the experiment keeps anyway, up to there.
    """
    result = max(hops, default=0) if outcome.state == "failed" else outcome.hops

    def is_kept(hop: int) -> bool:
        # The end of the run is kept as the result; here it need not be one.
        is_wanted = ring.is_kept(hop) and (hop < ring.hops or ring.keep_iterations)
        return is_wanted and hop <= max(result, outcome.hops_trained)

    return [hop for hop in hops if hop != result and not is_kept(hop)]


def check_early_stopping(
    rule: EarlyStopping | None,
    objective: str | None,
    configurations: Sequence[Configuration],
    outputs: Sequence[str],
    *,
    validated: bool,
) -> None:
    """Raise SpecError for a metric that some configuration will not record, before anything is trained."""
    if rule is None:
        return
    path = ("early_stopping", "metric") if rule.metric or not objective else ("objective",)
    for one in configurations:
        check_recorded(rule.named(objective), [one], outputs, validated=validated, path=path)


def refuse_rungs(search: Part) -> None:
    """Raise Misplaced for a search that stops configurations itself: its rungs compare what trained equally long."""
    if isinstance(search, _RUNGS):
        raise Misplaced(
            f"early_stopping was given together with the search method {search.method}, which stops configurations "
            "itself. Remove early_stopping, or use grid, list, random or tpe",
            ("early_stopping",),
        )


def _is_better(before: Standing, value: float | None) -> bool:
    if value is None or not math.isfinite(value):
        return False
    if before.value is None:
        return True
    gain = before.value - value if before.metric.lower_is_better else value - before.value
    return gain > before.rule.min_change


def _ended(number: int, stands: Standing, ring: Ring, result: History) -> Outcome:
    hops, trained = stands.result * ring.shards, stands.at * ring.shards
    loss = result.training["loss"]
    if not math.isfinite(loss):
        after = "the last hop" if hops == ring.hops else f"iteration {stands.result}"
        what = f"loss is {'NaN' if math.isnan(loss) else 'infinite'} after {after}"
        failure = Failure(reason=what, hop=hops, shard=None, station=None, traceback=None, output=None)
        return Outcome(configuration=number, state="failed", hops=hops, failure=failure)
    is_whole = trained == ring.hops
    return Outcome(
        configuration=number,
        state="finished" if is_whole else "stopped",
        hops=hops,
        trained=None if trained == hops else trained,
        reason=None if hops == ring.hops else stands.praise if is_whole else stands.reason,
    )


def _waits(failure: Failure, at: int, ring: Ring) -> bool:
    """Say whether evaluations of what was trained before a failure are missing; `at`: the last that is not."""
    # One without a shard is of an evaluation itself.
    last = failure.hop - 1 if failure.shard is None else failure.hop
    return any(at < iteration <= last // ring.shards for iteration in ring.evaluated_iterations())
