"""Judging: what arrives at a rung is put to the search, and its answer into the store, one turn after another.

The turn is the commit. What follows from it (configurations, tokens, outcomes) is put afterwards, and again by whoever
goes on after a kill: all of it is computed from the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from modelhopper_contract.decisions import Arrival, GoOn, Start, Stop, Turn, read_turns
from modelhopper_contract.errors import ObjectNotFound, StoreUnavailable
from modelhopper_contract.messages import Decided, Ended, Evaluated, Event
from modelhopper_contract.metrics import Metric
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.progress import newest_checkpoints
from modelhopper_contract.records import Configuration, History, Outcome, Program
from modelhopper_contract.searches import Custom
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.durability import put_soft
from modelhopper_contract.tokens import training_token
from modelhopper_scheduler.offsets import later_offset
from modelhopper_scheduler.programs import alone, by_model, is_open
from modelhopper_scheduler.searches.configurations import started
from modelhopper_scheduler.searches.making import objective, search_of
from modelhopper_scheduler.searches.search import Search, Trial, next_turn, retold

OnEvent = Callable[[Event], None]


def judge_of(
    specification: Specification, store: Store, stations: int, on_event: OnEvent, search: Search | None = None
) -> Judge | None:
    """Return the judge of an experiment that has begun; None when its search decided everything before that.

    `stations`: how many serve, which says whose inbox a token goes into.
    """
    search = search or search_of(specification)
    return None if search is None else Judge(specification, store, stations, on_event, search)


class Judge:
    """Makes the turns of one experiment's log. There may be one at a time."""

    def __init__(
        self, specification: Specification, store: Store, stations: int, on_event: OnEvent, search: Search
    ) -> None:
        self._specification = specification
        self._names = Names(specification.experiment.name)
        self._store = store
        self._stations = stations
        self._on_event = on_event
        self._search = search
        self.turns = read_turns(store, self._names)
        metric, self._has_metric = self._recorded()
        self._past = retold(metric, specification.ring.iterations, self.turns)
        self._is_repaired = False

    @property
    def is_over(self) -> bool:
        """Say whether nothing will be decided any more."""
        return bool(self.turns) and self.turns[-1].is_last

    def hear(self, event: Event) -> None:
        """Judge what an event says to have arrived; every other event is passed over."""
        arrival = None
        if isinstance(event, Evaluated):
            arrival = self._evaluated(event.history)
        elif isinstance(event, Ended):
            arrival = self._ended(event.outcome)
        if arrival is None:
            return
        turn = self._judge(arrival)
        going = {decision.configuration for decision in turn.decisions if isinstance(decision, GoOn)}
        if going:  # one that ended while it waited says no more, and has arrived at once
            self.catch_up(going)

    def catch_up(self, only: Collection[int] | None = None) -> list[Turn]:
        """Judge whatever has arrived and is not in the log, and return the new turns.

        In the order of iterations, then numbers: nobody knows any more in which order they came. `only`: of these
        configurations. The first time, the last turn's effects are put again: its judge may have been killed before.
        """
        if self.turns and not self._is_repaired:
            self._apply(self.turns[-1])
        self._is_repaired = True
        count = len(self.turns)
        while found := sorted(self._arrivals(only), key=lambda one: (one.iteration, one.configuration)):
            for arrival in found:
                self._judge(arrival)
        return self.turns[count:]

    def _judge(self, arrival: Arrival) -> Turn:
        turn = next_turn(self._search, self._past, len(self.turns), arrival)
        # Before the turn is there for good: a choice that cannot be is a mistake of a search of the user's.
        begun = [planned_start(self._specification, start, self._compiled) for start in turn.starts]
        self._refuse_another_judge(turn.order)
        self._store.put(self._names.turn(turn.order), turn.to_json())
        self.turns.append(turn)
        self._past = self._past.arrived(arrival).decided(turn.decisions)
        self._on_event(Decided(turn=turn, configurations=tuple(begun)))
        self._apply(turn)
        return turn

    def _refuse_another_judge(self, order: int) -> None:
        """Raise StoreUnavailable when a turn is there already: to write over it would take back what it gave rise to.

        It leaves a moment between looking and putting, since the store knows no other way. But who is thought dead, and
        wakes up with an old log, finds out.
        """
        name = self._names.turn(order)
        try:
            self._store.get(name)
        except ObjectNotFound:
            return
        raise StoreUnavailable(f"{name} is there already: somebody else judges. Nothing was decided here; try again.")

    def _apply(self, turn: Turn) -> None:
        begun = [self._start(decision) for decision in turn.starts]
        for decision in turn.decisions:
            if isinstance(decision, Stop):
                self._stop(decision)
        for decision in turn.decisions:
            if isinstance(decision, GoOn):
                self._go_on(decision.configuration, decision.until)
        for configuration in begun:
            self._send(configuration, configuration.first_hop, self._past.trial(configuration.number).until)
        if self._drops_rungs(turn):
            self._drop_rungs()

    def _start(self, start: Start) -> Configuration:
        name = self._names.configuration(start.configuration)
        if self._store.list(name):  # begun before: with what building it told
            return Configuration.from_json(self._store.get(name), name)
        made = planned_start(self._specification, start, self._compiled)
        self._store.put(name, made.to_json())
        return made

    def _compiled(self) -> Mapping[str, Program]:
        return self._programs

    @cached_property
    def _programs(self) -> dict[str, Program]:
        """How those of the first turn are compiled, by model: these were there when that was chosen."""
        first = self.turns[0].starts if self.turns else ()
        found = [self._names.configuration(start.configuration) for start in first]
        return by_model(Configuration.from_json(self._store.get(name), name) for name in found)

    def _stop(self, stop: Stop) -> None:
        name = self._names.outcome(stop.configuration)
        if self._store.list(name):  # it has ended by itself meanwhile
            return
        hops = self._past.trial(stop.configuration).until * self._specification.shards
        outcome = Outcome(configuration=stop.configuration, state=stop.state, hops=hops, reason=stop.reason)
        self._sweep(stop.configuration, hops)
        self._store.put(name, outcome.to_json())
        self._on_event(Ended(outcome=outcome))

    def _sweep(self, number: int, hops: int) -> None:
        """Remove the checkpoints that nobody removed: a station was killed just before it could."""
        for entry in self._store.list(self._names.checkpoints(number)):
            hop = checkpoint_number(entry.name)[1]
            if hop < hops and not self._specification.ring.is_kept(hop):
                self._store.delete(entry.name)

    def _go_on(self, number: int, until: int) -> None:
        name = self._names.configuration(number)
        configuration = Configuration.from_json(self._store.get(name), name)
        reached = max(at for at in self._past.trial(number).values if at < until)
        self._send(configuration, reached * self._specification.shards, until)

    def _send(self, configuration: Configuration, hop: int, until: int) -> None:
        if self._is_past(configuration.number, hop):
            return  # somebody who was killed has sent it, and it is on its way
        due = training_token(self._specification, self._stations, configuration, hop, until)
        for name, token in due.items():
            put_soft(self._store, name, token.to_json())

    def _drops_rungs(self, turn: Turn) -> bool:
        """Say whether checkpoints at rungs may have become useless: a search of the user's may copy any that was."""
        if isinstance(self._specification.experiment.search, Custom):
            return turn.is_last
        return self._specification.ring.keep_rungs and bool(turn.decisions or turn.is_last)

    def _drop_rungs(self) -> None:
        """Remove the checkpoints at rungs from which nobody will start any more."""
        specification, trials = self._specification, self._past.trials
        shards, rungs = specification.shards, specification.rungs
        copied = [one.start.origin.hop for one in trials if one.start.origin is not None and _is_new(one)]
        waited = [max(one.values) * shards for one in self._past.waiting]
        oldest = min([*copied, *waited], default=specification.ring.hops)
        results = {(one.number, one.until * shards) for one in trials if one.state in ("stopped", "finished")}
        ended = {one.number for one in trials if one.state not in ("training", "waiting")}
        there = [entry.name for entry in self._store.list(self._names.checkpoints())]
        newest = newest_checkpoints(there)
        for name in there:
            number, hop = checkpoint_number(name)
            is_old = 0 < hop < oldest and hop % shards == 0 and hop // shards in rungs
            is_result = (number, hop) in results or (self._stops_early and number in ended)
            if is_old and not is_result and newest[number] > hop:
                self._store.delete(name)

    def _is_past(self, number: int, hop: int) -> bool:
        """Say whether a configuration has a checkpoint after this one."""
        found = self._store.list(self._names.checkpoints(number))
        return any(checkpoint_number(entry.name)[1] > hop for entry in found)

    def _arrivals(self, only: Collection[int] | None) -> Iterator[Arrival]:
        # Few requests: a judge that stays looks again and again. Outcomes first: histories are put before them.
        wanted: list[int | None] = [None] if only is None else [*only]
        prefixes = [self._names.outcomes(), *map(self._names.histories, wanted)]
        listed = {entry.name for prefix in prefixes for entry in self._store.list(prefix)}
        for trial in self._past.training:
            if only is not None and trial.number not in only:
                continue
            found = self._arrival(trial, listed)
            if found is not None:
                yield found

    def _arrival(self, trial: Trial, listed: Collection[str]) -> Arrival | None:
        found = self._complete(trial, listed)
        if found is not None:
            return found
        outcome = self._names.outcome(trial.number)
        if outcome in listed:
            return self._ended(Outcome.from_json(self._store.get(outcome), outcome))
        return None

    def _evaluated(self, history: History) -> Arrival | None:
        trial = self._trial(history.configuration)
        if trial is None:
            return None
        return self._complete(trial, {entry.name for entry in self._store.list(self._names.histories(trial.number))})

    def _complete(self, trial: Trial, listed: Collection[str]) -> Arrival | None:
        """Return the arrival of a configuration that is evaluated at its rung, and wherever else it was to be before.

        One that is stopped is evaluated no more, so an evaluation that came late would be there or not by chance.
        """
        if self._stops_early and trial.until >= self._specification.ring.iterations:
            return None  # the outcome comes next, and says which iteration counts
        first = trial.start.first_hop // self._specification.shards
        due = [at for at in self._specification.ring.evaluated_iterations() if first < at <= trial.until]
        if not all(self._names.history(trial.number, at) in listed for at in due):
            return None
        name = self._names.history(trial.number, trial.until)
        history = History.from_json(self._store.get(name), name)
        value = self._metric(history).of(history)
        return Arrival(configuration=trial.number, iteration=trial.until, value=value)

    def _ended(self, outcome: Outcome) -> Arrival | None:
        trial = self._trial(outcome.configuration)
        if trial is None or (outcome.state == "finished" and not self._stops_early):
            return None
        value, ended = None, None if outcome.state == "finished" else outcome.state
        if outcome.state != "failed":
            name = self._names.history(outcome.configuration, outcome.hops // self._specification.shards)
            history = History.from_json(self._store.get(name), name)
            value = self._metric(history).of(history)
        return Arrival(configuration=trial.number, iteration=trial.until, value=value, ended=ended)

    @property
    def _stops_early(self) -> bool:
        """Say whether a configuration may end by itself, with another iteration's weights than its last."""
        return self._specification.experiment.early_stopping is not None

    def _trial(self, number: int) -> Trial | None:
        """Return a configuration that is expected to arrive."""
        if number > len(self._past.trials):
            return None
        trial = self._past.trial(number)
        return trial if trial.state == "training" else None

    def _recorded(self) -> tuple[Metric, bool]:
        """Return the objective, and whether it is known from what is recorded or only expected."""
        for entry in self._store.list(self._names.histories()):
            history = History.from_json(self._store.get(entry.name), entry.name)
            metric = objective(self._specification, [history])
            if metric.of(history) is not None:
                return metric, True
        return objective(self._specification), False

    def _metric(self, history: History) -> Metric:
        if not self._has_metric:
            metric = objective(self._specification, [history])
            self._past = replace(self._past, metric=metric)
            self._has_metric = metric.of(history) is not None
        return self._past.metric


def planned_start(
    specification: Specification, start: Start, programs: Callable[[], Mapping[str, Program]]
) -> Configuration:
    """Return a configuration that starts after the beginning, as it runs: nobody has built it before it trains.

    It trains alone, compiled as the first of its model was: nothing is measured any more. `programs` gives these, by
    model; it is asked where that matters.
    """
    offset = later_offset(start.configuration, specification.shards) if start.offset is None else start.offset
    made = started(specification.experiment, start)
    like = programs().get(made.model) if is_open(made) else None
    return made.model_copy(update={"offset": offset, "program": alone(made, like)})


def planned_of(
    turns: Sequence[Turn], specification: Specification, found: dict[int, Configuration]
) -> list[Configuration]:
    """Return all configurations that a log started, those of which there is no record made anew."""
    starts = [start for turn in turns for start in turn.starts]
    first = [found[start.configuration] for start in turns[0].starts if start.configuration in found]

    def programs() -> Mapping[str, Program]:
        return by_model(first)

    return [found.get(start.configuration) or planned_start(specification, start, programs) for start in starts]


def _is_new(trial: Trial) -> bool:
    """Say whether a configuration has not come to a rung of its own yet, and may still need another's checkpoint."""
    return trial.state == "training" and not trial.values
