"""What a hop pod does at its shard: one hop of each of its configurations, then the evaluations that wait there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelhopper_contract.decisions import limits, read_turns
from modelhopper_contract.errors import ExitCode, ObjectNotFound
from modelhopper_contract.messages import Ended, Event, Trained
from modelhopper_contract.names import Names, checkpoint_number, token_name
from modelhopper_contract.records import Configuration, Outcome
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.tokens import training_token
from modelhopper_trainer.pod.telling import ended
from modelhopper_trainer.station import Station


class Visit:
    """The visit of a convoy at one shard. `hear` is to be told of every event of the station."""

    def __init__(
        self,
        store: Store,
        specification: Specification,
        shard: int,
        say: Callable[[str], None],
        is_over: Callable[[], bool],
    ) -> None:
        self._store = store
        self._specification = specification
        self._names = Names(specification.experiment.name)
        self._shard = shard
        self._say = say
        self._is_over = is_over
        self._trained: set[int] = set()
        self._ended: set[int] = set()

    def hear(self, event: Event) -> None:
        """Take note of what was done."""
        if isinstance(event, Trained):
            self._trained.add(event.configuration)
        if isinstance(event, Ended):
            self._ended.add(event.outcome.configuration)

    def train(self, station: Station, numbers: Sequence[int]) -> None:
        """Let each configuration do its hop here; one whose hop is done, or that has ended, is passed over."""
        waiting = self._waiting("train")
        tokens = [name for number in numbers for name in waiting if token_name(name).configuration == number]
        station.serve_only(tokens, self._is_over)
        # None of the rest costs a request when all goes well.
        others = [number for number in numbers if number not in self._trained | self._ended]
        lost = [name for number in others if not self._is_over() for name in self._lost(number)]
        station.serve_only(lost, self._is_over)

    def evaluate(self, station: Station, numbers: Sequence[int], *, only: bool = False) -> None:
        """Do the evaluations that wait at this shard: those of the given configurations first, then everybody's.

        Other pods may do the same at the same time: each begins with its own and goes on from there, so that they share
        the work instead of doing all of it each. `only`: none but the given ones, for which a search waits.
        """
        waiting, first = self._waiting("evaluate"), min(numbers, default=0)
        if only:
            own, others = [name for name in waiting if token_name(name).configuration in numbers], []
        else:
            own = [name for name in waiting if token_name(name).configuration >= first]
            others = [name for name in waiting if name not in own]
        station.serve_only([*own, *others], self._is_over)

    def exit_code(self, numbers: Sequence[int]) -> ExitCode:
        """Say whether the convoy can go on: not when each of its configurations has failed."""
        if self._trained.intersection(numbers) - self._ended:
            return ExitCode.DONE
        outcomes = [self._outcome(number) for number in numbers]
        failed = [outcome for outcome in outcomes if outcome is not None and outcome.state == "failed"]
        for outcome in failed:
            self._say(f"configuration {outcome.configuration}: {ended(outcome)}")
        return ExitCode.SOME_FAILED if len(failed) == len(numbers) else ExitCode.DONE

    def _waiting(self, action: str) -> list[str]:
        entries = self._store.list(self._names.inbox(self._shard))
        return [entry.name for entry in entries if token_name(entry.name).action == action]

    def _lost(self, number: int) -> list[str]:
        """Return the token of a hop that is due here although no token said so, put where it belongs."""
        if outcome := self._outcome(number):
            self._say(f"configuration {number}: {ended(outcome)}")
            return []
        entries = self._store.list(self._names.checkpoints(number))
        ring, configuration = self._specification.ring, self._configuration(number)
        newest = max((checkpoint_number(entry.name)[1] for entry in entries), default=configuration.first_hop)
        until = self._limit(number)
        last = ring.hops if until is None else until * ring.shards
        if newest >= last or ring.shard(configuration.offset, newest) != self._shard:
            self._say(f"configuration {number}: nothing to train here; it has done {newest} of {last} hops")
            return []
        due = training_token(self._specification, ring.shards, configuration, newest, until)
        for name, token in due.items():
            self._store.put(name, token.to_json())
        return list(due)

    def _limit(self, number: int) -> int | None:
        """Return the iterations until which a search lets a configuration train; None where none judges."""
        if not self._specification.is_judged:
            return None
        return limits(read_turns(self._store, self._names)).get(number)

    def _configuration(self, number: int) -> Configuration:
        name = self._names.configuration(number)
        return Configuration.from_json(self._store.get(name), name)

    def _outcome(self, number: int) -> Outcome | None:
        name = self._names.outcome(number)
        try:
            return Outcome.from_json(self._store.get(name), name)
        except ObjectNotFound:
            return None
