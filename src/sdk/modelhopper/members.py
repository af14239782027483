"""Who is in an ensemble: the best of a run, configurations that are named, or one at several iterations."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelhopper.candidate import Candidate
from modelhopper.display.words import count
from modelhopper.leaderboard import of_group
from modelhopper_contract.errors import DataError, UserError
from modelhopper_contract.metrics import Metric

if TYPE_CHECKING:
    from modelhopper.results import Run

_REFERENCE = re.compile(r"(?P<run>.*?[^/])(?:/(?P<number>\d+))?(?:@(?P<iteration>\d+))?/?")


@dataclass(frozen=True)
class Seat:
    """What counts as one member: a model, or those that one setting has become in cross-validation, one per fold."""

    candidates: tuple[Candidate, ...]

    @property
    def first(self) -> Candidate:
        """The one that says what all of them are."""
        return self.candidates[0]


@dataclass(frozen=True)
class Choice:
    """The members of an ensemble, by what they were chosen, and what is to be said about those who were not."""

    seats: tuple[Seat, ...]
    metric: Metric
    words: str  # "the best 5 by validation accuracy"
    notes: tuple[str, ...] = ()

    @property
    def folds(self) -> int | None:
        """Of how many folds each member is the average; None where each is one model."""
        count = len(self.seats[0].candidates)
        return count if count > 1 else None

    def checked(self) -> Choice:
        """Return it; raise UserError for fewer than two models, and one that is there twice."""
        known = set()
        for one in (candidate for seat in self.seats for candidate in seat.candidates):
            if one.identity in known:
                raise UserError(
                    f"{_called(one)} is in the ensemble twice: name each member once, and give it a weight."
                )
            known.add(one.identity)
        if sum(len(seat.candidates) for seat in self.seats) < 2:
            said = "".join(f" {note}" for note in self.notes)
            raise UserError(f"an ensemble needs at least two members, and there is {len(self.seats)}.{said}")
        check_data([seat.first for seat in self.seats])
        going = [_called(seat.first) for seat in self.seats if seat.first.is_going_on]
        notes = [f"{', '.join(going)}: still going on, so the newest checkpoint is taken."] if going else []
        return replace(self, notes=(*self.notes, *notes))


def best_of(run: Run, best: int, metric: str | None = None, *, lower_is_better: bool | None = None) -> Choice:
    """Choose the `best` configurations of a run, or settings where it is cross-validated, without those that failed."""
    if best < 1:
        raise UserError(f"best is {best}: give how many are in the ensemble, at least 2.")
    board = run.leaderboard(metric, lower_is_better=lower_is_better)
    specification = run.reader.specification()
    of_group(specification, board, None)  # models of different groups are not to be joined
    if specification.experiment.folds is not None:
        return _best_settings(run, best, board.metric, lower_is_better=lower_is_better)
    usable = [row.number for row in board.rows if row.failure is None and _has_value(board.metric.of(row.history))]
    failed = [row.number for row in board.rows if row.failure is not None]
    seats = tuple(Seat((run.configuration(number),)) for number in usable[:best])
    notes = []
    if len(usable) < best:
        why = f"; {_listed(failed)} failed" if failed else ""
        notes.append(f"{best} were asked for, and {len(usable)} of {len(board.rows)} can be used{why}.")
    return Choice(seats, board.metric, f"the best {len(seats)} of {run.name} by {board.metric}", tuple(notes))


def named(
    run: Run, numbers: Sequence[int], metric: str | None = None, *, lower_is_better: bool | None = None
) -> Choice:
    """Choose configurations by number; one that failed is left out, and it is said."""
    board = run.leaderboard(metric, lower_is_better=lower_is_better)
    found = choice_of([run.configuration(number) for number in numbers], board.metric)
    return replace(found, words=f"configurations {', '.join(map(str, numbers))} of {run.name}")


def choice_of(candidates: Sequence[Candidate], metric: Metric) -> Choice:
    """Choose these; one that failed is left out, and it is said."""
    usable = [one for one in candidates if one.failure is None]
    notes = [
        f"{_called(one)} failed, so it is left out: {one.failure.reason}."
        for one in candidates
        if one.failure is not None
    ]
    return Choice(tuple(Seat((one,)) for one in usable), metric, count(len(usable), "model"), tuple(notes))


def snapshots_of(choice: Choice, snapshots: int) -> Choice:
    """Choose each member at the last so many iterations whose checkpoints are kept, instead of its result alone."""
    if snapshots < 2:
        raise UserError(f"snapshots is {snapshots}: give how many of a configuration's iterations, at least 2.")
    seats, notes = [], list(choice.notes)
    for seat in choice.seats:
        if len(seat.candidates) > 1:
            raise UserError("snapshots of folds cannot be joined: name the configurations of one fold.")
        kept = seat.first.iterations
        if len(kept) < 2:
            raise UserError(
                f"{_called(seat.first)} has {count(len(kept), 'kept checkpoint')} of whole iterations, so there are no "
                "snapshots to join: `keep_checkpoints: iterations` in the experiment keeps one of every iteration."
            )
        if len(kept) < snapshots:
            notes.append(f"{_called(seat.first)} has kept {len(kept)} iterations of the {snapshots} asked for.")
        seats += [Seat((seat.first.at(iteration),)) for iteration in kept[-snapshots:]]
    return replace(choice, seats=tuple(seats), words=f"snapshots of {choice.words}", notes=tuple(notes))


def read_reference(text: str) -> tuple[str, int | None, int | None]:
    """Return run, configuration and iteration of "iris", "iris/3" or "iris/3@5", whose run may be a path or URL."""
    found = _REFERENCE.fullmatch(text)
    if found is None or (found["iteration"] and not found["number"]):
        raise UserError(f"`{text}` names no model: write iris/3, or iris/3@5 for its iteration 5.")
    number, iteration = (int(found[part]) if found[part] else None for part in ("number", "iteration"))
    return found["run"], number, iteration


def check_data(candidates: Sequence[Candidate]) -> None:
    """Raise DataError where members were trained on data of other inputs, classes or scaling than the first."""
    first = candidates[0].manifest
    for one in candidates[1:]:
        for part, said in (("inputs", "inputs"), ("outputs", "outputs and classes"), ("normalize", "normalize")):
            here, there = getattr(first, part), getattr(one.manifest, part)
            if here != there:
                raise DataError(
                    f"{_called(candidates[0])} and {_called(one)} cannot be in one ensemble: the data that they were "
                    f"trained on has different {said} ({_brief(here)} and {_brief(there)})."
                )


def _best_settings(run: Run, best: int, metric: Metric, *, lower_is_better: bool | None) -> Choice:
    found = run.cross_validation(str(metric), lower_is_better=lower_is_better)
    usable = [one for one in found.rows if not one.failed and _has_value(_mean(one.spread(str(metric))))]
    seats = tuple(Seat(tuple(run.configuration(row.number) for row in one.rows)) for one in usable[:best])
    missing = len(found.rows) - len(usable)
    notes = []
    if len(usable) < best:
        why = f"; {count(missing, 'setting')} failed on a fold" if missing else ""
        notes.append(
            f"{best} were asked for, and {len(usable)} of {count(len(found.rows), 'setting')} can be used{why}."
        )
    who, each = ("the best setting", "") if len(seats) == 1 else (f"the best {len(seats)} settings", "each ")
    words = f"{who} of {run.name} by {metric}, {each}the average of its {found.folds} folds"
    return Choice(seats, metric, words, tuple(notes))


def _mean(spread: tuple[float, float | None] | None) -> float | None:
    return None if spread is None else spread[0]


def _has_value(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _called(one: Candidate) -> str:
    at = "" if one.snapshot is None else f"@{one.snapshot}"
    return f"{one.run_name}/{one.number}{at}"


def _listed(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:8]))}{', ...' if len(numbers) > 8 else ''}"


def _brief(part: object) -> str:
    if not isinstance(part, tuple):
        return f"{part:g}" if isinstance(part, float) else str(part)
    return "; ".join(f"{one.name} {_classes(one) or one.dtype + str(list(one.shape))}" for one in part)


def _classes(one: object) -> str:
    known = getattr(one, "classes", ())
    return f"[{', '.join(map(str, known[:5]))}{', ...' if len(known) > 5 else ''}]" if known else ""
