"""A search by one of Optuna's samplers, which is asked for a configuration whenever there is room for one.

Asynchronous: what is suggested depends on which configurations have ended before, and so on the order of arrival. The
same order gives the same suggestions.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import Arrival, Start, Verdict
from modelhopper_contract.errors import UserError
from modelhopper_scheduler.searches.search import Past, Setting

if TYPE_CHECKING:
    from modelhopper_scheduler.searches.study import Study

Event = Start | Arrival


class Optuna:
    """Starts what a sampler suggests, each for all iterations, and tells it how each one ended.

    A study is rebuilt from the past whenever it is asked; the newest one is kept, since most questions are about one
    more arrival. Raises SpecError for a sampler or options that Optuna does not know, UserError where it is missing.
    """

    rungs: Sequence[int] = ()

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._part = cast(parts.Optuna, setting.part)
        self._kept: tuple[Study, list[Event], bool] | None = None
        self._new_study(lower_is_better=True)  # a mistake shows now

    def judge(self, past: Past) -> Sequence[Verdict]:  # noqa: ARG002 -- nobody waits: each trains all its iterations
        """Return nothing."""
        return ()

    def start(self, past: Past) -> Sequence[Start]:
        """Return as many new ones as there is room for."""
        if not past.trials:
            self._rehearse()
        room = min(self._setting.parallel - len(past.training), self._part.configurations - len(past.trials))
        if room <= 0:
            return ()
        study, events, is_lower = self._told(past)
        starts = [self._start(study, past, more) for more in range(1, room + 1) if not study.is_exhausted]
        self._kept = study, [*events, *starts], is_lower
        return starts

    def _start(self, study: Study, past: Past, more: int) -> Start:
        choice, parameters = study.ask()
        results = sum(_result(arrival) is not None for arrival in past.arrivals)
        known = f"from {results} result{'' if results == 1 else 's'}" if results else "before any result"
        return Start(
            configuration=len(past.trials) + more,
            choice=choice,
            until=self._setting.iterations,
            reason=f"suggested by {self._part.sampler} {known}",
            memo={"after": len(past.arrivals), "parameters": parameters},
        )

    def _told(self, past: Past) -> tuple[Study, list[Event], bool]:
        """Return a study that has gone through the past."""
        events, is_lower = list(_in_order(past)), past.metric.lower_is_better
        study, told, was_lower = self._kept or (None, [], is_lower)
        self._kept = None  # it changes now: whatever goes wrong, it is not asked again
        if study is None or was_lower != is_lower or events[: len(told)] != told:
            study, told = self._new_study(lower_is_better=is_lower), []
        for event in events[len(told) :]:
            if isinstance(event, Start):
                study.ask(_parameters(event))
            else:
                study.tell(event.configuration, _result(event))
        return study, events, is_lower

    def _new_study(self, *, lower_is_better: bool) -> Study:
        study = _study()
        sampler = study.make_sampler(self._part.sampler, self._part.options, self._setting.seed)
        made: Study = study.Study(sampler, self._setting.space, lower_is_better=lower_is_better)
        return made

    def _rehearse(self) -> None:
        _study().rehearse(self._part.sampler, self._part.options, self._setting.space)


def _in_order(past: Past) -> Iterator[Event]:
    """Yield starts and arrivals as they took turns; each start remembers how many had arrived before it."""
    starts = deque(trial.start for trial in past.trials)
    for count, arrival in enumerate(past.arrivals):
        while starts and starts[0].memo.get("after", 0) <= count:
            yield starts.popleft()
        yield arrival
    yield from starts


def _result(arrival: Arrival) -> float | None:
    """Return what a sampler learns: nothing from a failure, nor from what is no finite number."""
    is_number = arrival.ended != "failed" and arrival.value is not None and math.isfinite(arrival.value)
    return arrival.value if is_number else None


def _parameters(start: Start) -> Mapping[str, Any]:
    found: Mapping[str, Any] = start.memo.get("parameters", {})
    return found


def _study() -> Any:
    try:
        from modelhopper_scheduler.searches import study  # noqa: PLC0415 -- Optuna is an extra
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UserError(
            "This search needs Optuna, which is not installed: pip install 'modelhopper[search]'."
        ) from error
    return study
