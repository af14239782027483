"""Ensembles: several models of one or more runs, used and saved like one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from modelhopper.candidate import Candidate
from modelhopper.combining import Combination, Combine, Weights, combination
from modelhopper.display import ensemble_table
from modelhopper.members import Choice, best_of, choice_of, named, snapshots_of
from modelhopper.reading import Reader
from modelhopper.trained import Trained, trainer
from modelhopper_contract.errors import UserError
from modelhopper_contract.metrics import Metric
from modelhopper_contract.specification import Specification

if TYPE_CHECKING:
    from modelhopper.results import Run
    from modelhopper_trainer.assembly import Assembly
    from modelhopper_trainer.ensembles import Rows
    from modelhopper_trainer.shards import DataSet

__all__ = ["Combine", "Ensemble", "Weights", "ensemble", "ensemble_of", "make", "of_run", "ranking"]

BEST = 5  # members, where nothing is said


@dataclass(frozen=True, eq=False)
class Ensemble(Trained):
    """Several trained models as one: evaluate it, predict with it, save it as one `.keras` file. Shows its members."""

    choice: Choice
    combination: Combination

    @property
    def members(self) -> tuple[Candidate, ...]:
        """All models that are in it, the best first where they were chosen so."""
        return tuple(one for seat in self.choice.seats for one in seat.candidates)

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be known of it: who is left out, and what its metrics are worth."""
        return (*self.choice.notes, *ensemble_table.caveats(self))

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Its metrics by full name, such as "validation accuracy"; nothing where there is no data to evaluate it on."""
        if not self.is_evaluated:
            return {}
        return {f"validation {name}": value for name, value in self.evaluate().items()}

    @cached_property
    def member_metrics(self) -> tuple[dict[str, float], ...]:
        """The metrics of its members, on the rows that the ensemble is evaluated on, in the order of `members`."""
        return tuple(self._metrics_of(one) for one in self.members)

    @property
    def metric_names(self) -> list[str]:
        """The full names of these metrics, the one that the members were chosen by first, losses last."""
        found = dict.fromkeys(name for each in (self.metrics, *self.member_metrics) for name in each)
        split = "validation" if self.is_evaluated else self.choice.metric.split
        names = [name for name in found if name.startswith(f"{split} ")]
        return sorted(names, key=lambda name: (name != str(self.choice.metric), name.endswith("loss")))

    @property
    def is_evaluated(self) -> bool:
        """Say whether there are rows by default that it is evaluated on."""
        return self.combination.holdout is not None or self.specification.experiment.data.validation is not None

    def evaluate(self, data: str | Path | None = None) -> dict[str, float]:
        """Return the loss and metrics on a packed data set, by default the run's validation data.

        Exact, as a configuration's; by the loss and the metrics of its first member, of probabilities. With a hold-out,
        by default only the rows that were held out.
        """
        if data is None and self._split is not None:
            found: dict[str, float] = _ensembles().evaluate_rows(self._prepared, self._split[1])
            return found
        return super().evaluate(data)

    def save(self, path: str | Path) -> None:
        """Save all members as one `.keras` file, which `keras.models.load_model` reads without modelhopper.

        Beside it stands a card, as beside a configuration's. Warns where members have layers that Keras does not.
        """
        super().save(path)
        own = _ensembles().own_layers(self._prepared.model)
        if own:
            warnings.warn(
                f"members have layers that Keras does not open by itself ({', '.join(own)}): to load {path}, give "
                "`custom_objects`, or for Lambda layers `safe_mode=False`.",
                stacklevel=2,
            )

    def text(self, width: int | None = None) -> str:
        """Return the members with their metrics and the ensemble's own, no line longer than `width`."""
        return ensemble_table.text(self, width)

    def records(self) -> list[dict[str, Any]]:
        """Return members and, last, the ensemble as flat dictionaries with equal keys, for files and data frames."""
        rows = zip([*map(self.name_of, self.members), "all"], [*self.member_metrics, self.metrics], strict=True)
        return [{"member": name} | {key: found.get(key) for key in self.metric_names} for name, found in rows]

    def name_of(self, one: Candidate) -> str:
        """Return what a member is called: "3", of a snapshot "3@5", and where there are several runs "iris/3"."""
        at = "" if one.snapshot is None else f"@{one.snapshot}"
        several = len({member.identity[:2] for member in self.members}) > 1
        return f"{one.run_name}/{one.number}{at}" if several else f"{one.number}{at}"

    def __repr__(self) -> str:
        return self.text()

    @property
    def specification(self) -> Specification:
        """The specification of its first member's run."""
        return self.members[0].specification

    @property
    def reader(self) -> Reader:
        """Where the records of its first member's run are."""
        return self.members[0].reader

    def assembled(self) -> Assembly:
        """Return a new model with all that evaluating and using it needs."""
        found: Assembly = _ensembles().ensemble(self._seats(), self._manifest, self.combination.combine, self._blends)
        return found

    @cached_property
    def learned(self) -> DataSet:
        """The data that stacking learns from."""
        if self.combination.data is None and self.choice.folds is not None:
            return self._opened(self.specification.address(self.specification.experiment.data.train))
        return self._data(self.combination.data)

    @cached_property
    def _blends(self) -> Any:
        """What stacking has learned, by output; None where nothing is to be learned."""
        if self.combination.combine != "stack":
            return None
        return _ensembles().learned(self._seats(), self._manifest, self._lessons())

    def _lessons(self) -> Sequence[Rows]:
        if self._split is not None:
            return self._split[0]
        folds = self.choice.folds if self.combination.data is None else None
        found: Sequence[Rows] = _ensembles().all_rows(self.learned, folds)
        return found

    @cached_property
    def _split(self) -> tuple[Sequence[Rows], Sequence[Rows]] | None:
        """The rows that stacking learns from, and those that are held out."""
        if self.combination.holdout is None:
            return None
        seed = self.specification.experiment.seed
        found: tuple[Sequence[Rows], Sequence[Rows]]
        found = _ensembles().held_out(self.learned, self.combination.holdout, seed)
        return found

    def _seats(self) -> list[list[Any]]:
        kind, weights = _ensembles().Member, self.combination.weights or (1.0,) * len(self.choice.seats)
        return [
            [kind(self._layer_name(one), one.assembled(), weight, one.configuration.part) for one in seat.candidates]
            for seat, weight in zip(self.choice.seats, weights, strict=True)
        ]

    def _compiled(self) -> tuple[Mapping[str, Any], str]:
        return self._prepared.configuration.compile, self.specification.folder

    def _metrics_of(self, one: Candidate) -> dict[str, float]:
        if not self.is_evaluated:
            return one.metrics
        if self._split is not None:
            found = _ensembles().evaluate_rows(one.assembled(), self._split[1])
        elif self._is_recorded(one):
            return {key: value for key, value in one.metrics.items() if key.startswith("validation ")}
        else:
            found = one.evaluate(self._data(None).place)
        return {f"validation {name}": value for name, value in found.items()}

    def _is_recorded(self, one: Candidate) -> bool:
        """Say whether a member's recorded metrics are of its state here, and of the rows that all are evaluated on."""
        is_of_the_run = one.identity[:2] == self.members[0].identity[:2] and one.configuration.part is None
        has_ended = one.snapshot is not None or one.row.state in ("finished", "stopped")
        return is_of_the_run and has_ended and one.row.history is not None and one.row.history.validation is not None

    def _layer_name(self, one: Candidate) -> str:
        at = "" if one.snapshot is None else f"_iteration_{one.snapshot}"
        runs = list(dict.fromkeys(member.identity[:2] for member in self.members))
        where = f"{one.run_name}_{runs.index(one.identity[:2]) + 1}_" if len(runs) > 1 else ""
        return f"{where}configuration_{one.number}{at}"


def ensemble(
    candidates: Sequence[Candidate],
    combine: Combine = "average",
    *,
    weights: Weights = None,
    data: str | Path | None = None,
    holdout: float | None = None,
) -> Ensemble:
    """Join trained models, also of several runs, whose data has the same inputs and classes, into one.

    `combine`: the average of probabilities (of numbers, for regression), the average of `logits`, a `vote`, or a
    `stack`, a small regression that learns from `data` whom to trust for what. `weights`: one number for each, or
    "metric" for weights in proportion to the metric that ranks its run. `holdout`: the share of `data`, by default the
    validation data of the first one's run, that stacking leaves out, and the ensemble is evaluated on.

    Raises UserError for fewer than two members that did not fail, and DataError where their data does not agree.
    """
    if not candidates:
        raise UserError("an ensemble needs at least two members, and none was given.")
    return make(choice_of(candidates, ranking(candidates[0])), combine, weights=weights, data=data, holdout=holdout)


def ensemble_of(run: Run, configurations: Sequence[int], combine: Combine = "average") -> Ensemble:
    """Join configurations of a run by number, such as those that were each trained on a shard of their own."""
    return make(of_run(run, configurations=configurations), combine)


def of_run(
    run: Run,
    best: int | None = None,
    *,
    configurations: Sequence[int] | None = None,
    snapshots: int | None = None,
    metric: str | None = None,
    lower_is_better: bool | None = None,
) -> Choice:
    """Choose members of a run: see `Run.ensemble`."""
    if best is not None and configurations is not None:
        raise UserError("`best` and `configurations` were given: take the best ones, or name them.")
    if configurations is not None:
        found = named(run, configurations, metric, lower_is_better=lower_is_better)
    else:
        wanted = best if best is not None else 1 if snapshots is not None else BEST
        found = best_of(run, wanted, metric, lower_is_better=lower_is_better)
    return found if snapshots is None else snapshots_of(found, snapshots)


def make(
    choice: Choice,
    combine: Combine,
    *,
    weights: Weights = None,
    data: str | Path | None = None,
    holdout: float | None = None,
) -> Ensemble:
    """Return the ensemble of chosen members; see `ensemble`."""
    choice = choice.checked()
    found = Ensemble(choice, combination(choice, combine, weights, data, holdout))
    if data is not None:
        _refuse_training_data(found)
    return found


def ranking(one: Candidate) -> Metric:
    """Return what ranks the configurations of a model's run."""
    from modelhopper.results import Run

    return Run(one.reader.store, one.run_name).leaderboard().metric


def _refuse_training_data(found: Ensemble) -> None:
    digest = found.learned.manifest.digest()
    for one in found.members:
        if digest == one.specification.digests.get(one.specification.experiment.data.train):
            raise UserError(
                f"{found.combination.data} is what the members were trained on, where those who learned it by heart "
                "look best: give stacking other rows, such as the validation data."
            )


def _ensembles() -> ModuleType:
    trainer()  # says what to install where TensorFlow is missing
    from modelhopper_trainer import ensembles

    return ensembles
