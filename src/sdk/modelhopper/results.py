"""The results of a run: read from the store, at any time, from any process."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelhopper import export
from modelhopper.candidate import Candidate
from modelhopper.cross_validation import CrossValidation, cross_validation
from modelhopper.defaults import DEFAULT_STORE
from modelhopper.explanation import Explanation, explain
from modelhopper.history import RunHistory, make_history, train_seconds
from modelhopper.leaderboard import Leaderboard, Row, leaderboard, make_rows, of_group
from modelhopper.reading import Reader, experiment_names
from modelhopper.status import Records, Status, make_status, make_status_of_submission
from modelhopper.steering import cancel_run, make_resumable
from modelhopper_contract.errors import ObjectNotFound, UserError
from modelhopper_contract.metrics import Metric, choose, recorded
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.records import Stay
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store

if TYPE_CHECKING:
    from modelhopper.ensembles import Combine, Ensemble, Weights
    from modelhopper.experiment import Experiment
    from modelhopper.final_model import Final
    from modelhopper.running import EngineName
    from modelhopper.scoring import Predicted
    from modelhopper.selection import Selection

_WHAT = ("leaderboard", "history")


def open_run(name: str | Path, store: str | Store = DEFAULT_STORE) -> Run:
    """Open the results of an experiment: "iris" in `store`, or with its place, "runs/iris" or "s3://bucket/iris".

    One that was submitted and has not begun can be opened, too. Raises UserError, with the nearest name, when there is
    no such experiment.
    """
    run = find_run(name, store)
    if run.reader.stage() == "preparing":
        raise UserError(
            f"{run.url} has not begun: its configurations are being built, or that was interrupted. `modelhopper watch "
            f"{run.name}` waits for it; `modelhopper run` of its file begins again."
        )
    return run


def find_run(name: str | Path, store: str | Store = DEFAULT_STORE) -> Run:
    """Return a run as soon as the store has anything of it; raise UserError, with the nearest name, before."""
    opened, experiment = _place(str(name), store)
    run = Run(opened, experiment)
    if run.reader.stage() == "unknown":
        known = experiment_names(opened)
        there = f"it has {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else "it has none"
        listing = f" `modelhopper status --store {shlex.quote(opened.url)}` lists them." if known else ""
        raise UserError(
            f"{opened.url} has no experiment `{experiment}`: {there}.{did_you_mean(experiment, known)}{listing}"
        )
    return run


class Run:
    """An experiment's results: as far as they are, while it runs, after it was interrupted, and when it is complete.

    Every method reads the store anew. Only using a model starts TensorFlow.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self.reader = Reader(store, name)

    @property
    def url(self) -> str:
        """Where the results are."""
        store = self.reader.store.url
        return f"{store}{'' if store.endswith((':', '/')) else '/'}{self.name}"

    def status(self) -> Status:
        """Return how far the run is."""
        reader = self.reader
        if reader.stage() == "submitted":
            return self._submitted()
        specification = self._specification()
        stays = reader.last_stays(specification.ring.shards)
        try:
            board = self._leaderboard(specification, stays, None, lower_is_better=None)
        except UserError:  # the objective is not recorded, and how far the run is does not depend on it
            board = self._leaderboard(specification, stays, "loss", lower_is_better=None)
        stations = sorted({stay.station for stay in stays})
        records = Records(
            outcomes=reader.outcomes(),
            hops=reader.hops(specification=specification),
            stations=stations,
            changed_s=reader.changed_s(),
            turns=reader.turns(),
            configurations=reader.configurations,
            is_cancelled=reader.is_cancelled(),
        )
        made = make_status(specification, board, records)
        if made.best is None:
            return made
        train_s = sum(stay.train_s for stay in reader.stays(made.best.number))
        return replace(made, best=replace(made.best, train_s=train_s))

    def explain(self, number: int) -> Explanation:
        """Return a configuration's whole life: parameters, hops, places, metrics, decisions, failures."""
        self._specification()
        return explain(self.reader, number)

    def wait(self, timeout_s: float | None = None, *, progress: bool = True) -> Status:
        """Wait until every configuration has ended, wherever the run is going on, and return the status then.

        After `timeout_s` seconds it is the status as it is, whose `is_complete` tells. `progress`: show how far the
        run is. Raises Cancelled when somebody cancels it.
        """
        from modelhopper.following import TimeIsUp, follow, pause_until

        with suppress(TimeIsUp):
            follow(self.reader, None if progress else "quiet", pause_until(timeout_s))
        return self.status()

    def cancel(self) -> bool:
        """Ask everyone who works on the run to stop; nothing that was done is lost. False when it is complete."""
        return cancel_run(self.reader)

    def resume(self, engine: EngineName = "local", *, progress: bool = True) -> Run:
        """Go on with the run on this machine, after it was cancelled or interrupted, and return its results.

        Raises UserError when the files and the data that it reads are not here.
        """
        from modelhopper.display.shown import display_of
        from modelhopper.running import run_job

        job = make_resumable(self.reader, engine)
        with display_of(job, None if progress else "quiet") as display:
            run_job(job, display.heard)
        return self

    def leaderboard(self, metric: str | None = None, *, lower_is_better: bool | None = None) -> Leaderboard:
        """Return all configurations, the best first, by their results, or their last evaluated iteration until then.

        `metric`: such as "validation accuracy", "training loss" or "accuracy", which is of the validation data where
        there is any; by default the experiment's objective, else the first compiled metric, else the loss. Losses and
        errors are better when lower, everything else when higher, unless `lower_is_better` says. Equal values are
        ordered by loss, then by number; NaN comes after numbers, and failed configurations come last.
        """
        return self._leaderboard(self._specification(), self.reader.stays(), metric, lower_is_better=lower_is_better)

    def cross_validation(self, metric: str | None = None, *, lower_is_better: bool | None = None) -> CrossValidation:
        """Return the settings of the search by mean and deviation over the folds, the best first.

        Raises UserError for an experiment without `folds`.
        """
        specification = self._specification()
        if specification.experiment.folds is None:
            raise UserError(f"{self.name} is not cross-validated: its file says no `folds`. See its leaderboard.")
        return cross_validation(specification, self.leaderboard(metric, lower_is_better=lower_is_better))

    def final(self, metric: str | None = None, name: str | None = None) -> Final:
        """Return the experiment that trains the best setting of a cross-validation on all shards: `.experiment.run()`.

        Raises UserError for a run that is not complete, or has no folds.
        """
        from modelhopper.final_model import final

        return final(self, metric, name)

    def results(self, metric: str | None = None) -> Leaderboard | CrossValidation:
        """Return what a run is for: the settings by their folds where it has folds, else its leaderboard."""
        is_folded = self._specification().experiment.folds is not None
        return self.cross_validation(metric) if is_folded else self.leaderboard(metric)

    def history(self, number: int | None = None) -> RunHistory:
        """Return the metrics of one configuration, or of all, at every evaluated iteration."""
        if number is not None:
            self._check_number(number)
        # The clock of the run begins with its first stay, whichever configuration that was of.
        stays = self.reader.stays()
        began_s = min((stay.started_s for stay in stays), default=None)
        return make_history(self.reader.histories(number), stays, self._specification().ring.shards, began_s)

    def best(
        self, metric: str | None = None, *, lower_is_better: bool | None = None, group: str | None = None
    ) -> Candidate:
        """Return the configuration at the top of the leaderboard; raise UserError before any is evaluated.

        With folds, that of the best fold of the setting that is best in the mean. With groups, only where `group` says
        of which: "country DE".
        """
        specification = self._specification()
        board = self.leaderboard(metric, lower_is_better=lower_is_better)
        top = of_group(specification, board, group).rows[:1]
        if specification.experiment.folds is not None:
            top = (cross_validation(specification, board).rows[0].best_fold(board.metric),)
        for row in top:
            if row.failure is None and board.metric.of(row.history) is not None:
                return self._candidate(row)
        failed = sum(row.failure is not None for row in board.rows)
        why = "every configuration failed" if failed == len(board.rows) else "nothing is evaluated yet"
        raise UserError(f"{self.name} has no best configuration: {why}. `modelhopper status {self.name}` shows more.")

    def configuration(self, number: int) -> Candidate:
        """Return one configuration by its number."""
        self._check_number(number)
        return self._candidate(next(row for row in self.leaderboard().rows if row.number == number))

    def select(
        self,
        top: int,
        *,
        metric: str | None = None,
        max_gap: float | None = None,
        lower_is_better: bool | None = None,
    ) -> Selection:
        """Return which configurations a second stage takes, and why each of the others is left behind.

        They are the first `top` of the leaderboard by `metric`, without those that failed. `max_gap`: how much worse
        the metric may be on validation data than on training data, which tells who learned its rows by heart. Raises
        UserError for a run that is not complete, an unknown metric, and where nobody can go on.
        """
        from modelhopper.refining import selected

        return selected(self, top, metric, max_gap, lower_is_better=lower_is_better)

    def refine(
        self,
        top: int,
        iterations: int,
        *,
        metric: str | None = None,
        max_gap: float | None = None,
        lower_is_better: bool | None = None,
        name: str | None = None,
    ) -> Experiment:
        """Return the second stage: an experiment that trains the best few for so many more iterations. `run` it.

        They are those of `select`, numbered from 1, and go on from their results with the optimizer's state, in the
        same store; iterations count from 1. `name`: by default this experiment's with "-refined". The results of both
        stay; the same call, run again, goes on with what was interrupted.
        """
        from modelhopper.refining import refinement

        selection = self.select(top, metric=metric, max_gap=max_gap, lower_is_better=lower_is_better)
        return refinement(self, selection, iterations, name).experiment

    def ensemble(  # noqa: PLR0913 -- what may be asked for
        self,
        best: int | None = None,
        combine: Combine = "average",
        *,
        configurations: Sequence[int] | None = None,
        snapshots: int | None = None,
        metric: str | None = None,
        lower_is_better: bool | None = None,
        weights: Weights = None,
        data: str | Path | None = None,
        holdout: float | None = None,
    ) -> Ensemble:
        """Return several configurations joined into one model: the `best` by a metric (5), or those that are named.

        `snapshots`: each of them (the best one, if nothing else is said) at so many of its last kept iterations. For
        `combine`, `weights`, `data` and `holdout` see `modelhopper.ensemble`. Those that failed are left out, and it is
        said. Raises UserError when fewer than two members are left.
        """
        from modelhopper.ensembles import make, of_run

        choice = of_run(
            self,
            best,
            configurations=configurations,
            snapshots=snapshots,
            metric=metric,
            lower_is_better=lower_is_better,
        )
        return make(choice, combine, weights=weights, data=data, holdout=holdout)

    def predict_to(
        self, out: str | Path, data: str | Path, configurations: Sequence[int] | None = None, **options: Any
    ) -> Predicted:
        """Write what configurations, by default the best one, say of every row of `data`, and return where it is.

        For `out`, `data` and all options see `modelhopper.predict`.
        """
        from modelhopper.scoring import predict

        metric = options.pop("metric", None)
        numbers = [self.best(metric).number] if configurations is None else configurations
        return predict([self.configuration(number) for number in numbers], data, out, **options)

    def export(self, path: str | Path, what: str = "leaderboard", format: str | None = None) -> None:  # noqa: A002
        """Write the leaderboard or the history to a file that ends in .csv, .json or .parquet, whole or not at all.

        Times are in seconds. `format` says the format where the file's name does not.
        """
        if what not in _WHAT:
            raise UserError(f"`{what}` cannot be exported: use {' or '.join(_WHAT)}.{did_you_mean(what, _WHAT)}")
        found = self.leaderboard() if what == "leaderboard" else self.history()
        export.write(found.records(), Path(path), format)

    def __repr__(self) -> str:
        return self.status().text()

    def _specification(self) -> Specification:
        try:
            return self.reader.specification()
        except ObjectNotFound as error:
            if self.reader.stage() == "submitted":
                raise UserError(
                    f"{self.url} has no results yet: it was submitted and waits for its first pod. `modelhopper watch "
                    f"{self.name}` follows it."
                ) from error
            raise UserError(f"{self.url} holds no experiment any more, or none that has begun.") from error

    def _submitted(self) -> Status:
        submission, submitted_s = self.reader.submission()
        specification = submission.specification
        count = len(submission.configurations)
        return make_status_of_submission(specification, count, submitted_s, is_cancelled=self.reader.is_cancelled())

    def _leaderboard(
        self, specification: Specification, stays: list[Stay], metric: str | None, *, lower_is_better: bool | None
    ) -> Leaderboard:
        reader = self.reader
        outcomes = reader.outcomes()
        histories, hops = reader.last_histories(outcomes), reader.hops(outcomes, specification)
        rows = make_rows(specification, reader.configurations, histories, outcomes, hops, train_seconds(stays))
        chosen = self._metric(specification, rows, metric, lower_is_better=lower_is_better)
        return leaderboard(specification, rows, chosen)

    def _metric(
        self, specification: Specification, rows: list[Row], metric: str | None, *, lower_is_better: bool | None
    ) -> Metric:
        known = recorded(row.history for row in rows if row.history)
        objective, configurations = specification.experiment.objective, self.reader.configurations
        return choose(metric, objective, configurations, known, lower_is_better=lower_is_better)

    def _candidate(self, row: Row) -> Candidate:
        configuration = next(one for one in self.reader.configurations if one.number == row.number)
        return Candidate(row, self.history(row.number), configuration, self._specification(), self.reader)

    def _check_number(self, number: int) -> None:
        self._specification()  # without one there are no configurations yet
        count = len(self.reader.configurations)
        if not 1 <= number <= count:
            raise UserError(f"{self.name} has no configuration {number}: they are numbered from 1 to {count}.")


def _place(name: str, store: str | Store) -> tuple[Store, str]:
    above, _, last = name.rstrip("/").rpartition("/")
    if above or not isinstance(store, str):
        return (open_store(above) if above else _opened(store)), last
    return open_store(store), last


def _opened(store: str | Store) -> Store:
    return open_store(store) if isinstance(store, str) else store
