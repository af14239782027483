"""The whole life of one configuration: what it is, where it trained, what was decided about it and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modelhopper.display.compiled import words
from modelhopper.display.words import count, duration
from modelhopper.reading import Reader
from modelhopper.tables import number as rounded
from modelhopper_contract.decisions import GoOn, Start, Stop, Turn, read_turns
from modelhopper_contract.errors import UserError
from modelhopper_contract.metrics import Metric, flat
from modelhopper_contract.records import Configuration, History, Outcome, Program, Retried, Stay
from modelhopper_contract.searches import Search, Several
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.searches.making import objective


@dataclass(frozen=True)
class Line:
    """One fact: when or what it is about, and the fact in words."""

    about: str
    words: str


@dataclass(frozen=True)
class Explanation:
    """Why a configuration is where it is. Prints as a few lines."""

    configuration: int
    heading: str
    lines: tuple[Line, ...]

    def text(self) -> str:
        """Return the heading and one line for each fact."""
        width = max((len(line.about) for line in self.lines), default=0)
        return "\n".join([self.heading, *(f"  {line.about:<{width}}  {line.words}" for line in self.lines)])

    def record(self) -> dict[str, Any]:
        """Return the same as plain values."""
        lines = [{"about": line.about, "words": line.words} for line in self.lines]
        return {"configuration": self.configuration, "heading": self.heading, "lines": lines}

    def __repr__(self) -> str:
        return self.text()


def explain(reader: Reader, number: int) -> Explanation:
    """Tell a configuration's life; raise UserError for a number that there is not."""
    known = {one.number: one for one in reader.configurations}
    if number not in known:
        raise UserError(
            f"{reader.names.experiment} has no configuration {number}: they are numbered from 1 to {max(known)}."
        )
    specification, configuration = reader.specification(), known[number]
    histories = [one for one in reader.histories(number) if one.configuration == number]
    life = Life(
        configuration=configuration,
        method=_method(specification.experiment.search),
        shards=specification.ring.shards,
        first_shard=specification.ring_of(configuration).shard(configuration.offset, configuration.first_hop),
        hops=specification.ring.hops,
        histories=histories,
        stays=reader.stays(number),
        turns=read_turns(reader.store, reader.names),
        outcome=reader.outcomes().get(number),
        metric=objective(specification, histories),
        retries=reader.retries(number),
        merging=merging(specification) if specification.ring.merges else "",
    )
    return Explanation(number, life.heading(), tuple(life.lines()))


@dataclass(frozen=True)
class Life:
    """What the store holds of one configuration."""

    configuration: Configuration
    method: str  # in words
    shards: int
    first_shard: int
    hops: int  # of a configuration that is never stopped
    histories: Sequence[History]
    stays: Sequence[Stay]
    turns: Sequence[Turn]
    outcome: Outcome | None
    metric: Metric
    retries: Sequence[Retried] = ()
    merging: str = ""  # how replicas are merged, in words; "": it hops

    def heading(self) -> str:
        """Say what the configuration is."""
        one = self.configuration
        size = f"; {one.weights:,} parameters" if one.weights is not None else ""
        return f"configuration {one.number}: {one.name}{size}"

    def lines(self) -> Iterator[Line]:
        """Tell its life from its start to its end."""
        yield Line("chosen", self._chosen())
        if self.configuration.program != Program():
            yield Line("compiled", words(self.configuration.program, "trains"))
        if self.merging:
            yield Line("method", self.merging)
        yield from self._started()
        yield from self._iterations()
        yield from self._copies()
        yield from self._work()
        for one in self.retries:
            what = "hop" if one.action == "train" else "the evaluation at hop"
            yield Line("retried", f"{what} {one.hop}: {one.reason}; done again")
        yield Line("now" if self.outcome is None else "ended", self._ended())

    def _chosen(self) -> str:
        start = next((one for turn in self.turns for one in turn.starts if one.configuration == self._number), None)
        if start is None:
            return f"before the run began, by {self.method}"
        return start.reason

    def _started(self) -> Iterator[Line]:
        origin = self.configuration.origin
        if origin is not None:
            whose = f"of {origin.experiment}, " if origin.experiment else ""
            yield Line("origin", f"the state of configuration {origin.configuration} {whose}after hop {origin.hop}")
        if self.stays and not self.merging:
            yield Line("started", f"station {self.stays[0].station}, shard {self.first_shard}")

    def _iterations(self) -> Iterator[Line]:
        # The line says already which iteration it is about.
        decided = {at: words.replace(f" at iteration {at}", "", 1) for at, words in self._decided()}
        for history in self.histories:
            value, why = self._value(history), decided.pop(history.iteration, "")
            # A search of the user's own need not say the value.
            words = why if str(self.metric) in why else "; ".join(filter(None, (value, why)))
            yield Line(f"iteration {history.iteration}", words)
        for iteration, words in sorted(decided.items()):
            yield Line(f"iteration {iteration}", words)

    def _value(self, history: History) -> str:
        value = self.metric.of(history)
        if value is not None:
            return f"{self.metric} {rounded(value)}"
        return ", ".join(f"{name} {rounded(one)}" for name, one in flat(history).items())

    def _decided(self) -> Iterator[tuple[int, str]]:
        """Yield what was decided at which iteration."""
        until = 0
        for turn in self.turns:
            for one in turn.decisions:
                if one.configuration != self._number:
                    continue
                if isinstance(one, Stop | GoOn):
                    yield until, one.reason
                if isinstance(one, Start | GoOn):
                    until = one.until

    def _copies(self) -> Iterator[Line]:
        for start in (start for turn in self.turns for start in turn.starts):
            origin = start.origin
            if origin is not None and origin.experiment is None and origin.configuration == self._number:
                about = f"iteration {origin.hop // self.shards}"
                yield Line(about, f"configuration {start.configuration} goes on from a copy of it")

    def _work(self) -> Iterator[Line]:
        if not self.stays:
            return
        trained = sum(stay.end_hop - stay.first_hop for stay in self.stays)
        train_s = sum(stay.train_s for stay in self.stays)
        moving_s = sum(stay.overhead_s for stay in self.stays)
        yield Line("hops", f"{trained:,}, {duration(train_s)} of training, {duration(moving_s)} of moving")
        stations = sorted({stay.station for stay in self.stays})
        where = ", ".join(str(station) for station in stations)
        yield Line("places", f"{count(len(stations), 'station')} ({where}) in {count(len(self.stays), 'stay')}")

    def _ended(self) -> str:
        outcome = self.outcome
        if outcome is None:
            last = max((stay.end_hop for stay in self.stays), default=self.configuration.first_hop)
            if self.merging:  # in any order within an iteration
                last = len(self.stays)
            return f"goes on; {last:,} of at most {self.hops:,} hops are done"
        if outcome.failure is not None:
            failure = outcome.failure
            place = f" on shard {failure.shard}" if failure.shard is not None else ""
            return f"failed at hop {failure.hop}{place}: {failure.reason}"
        iteration = outcome.hops // self.shards
        is_told = outcome.reason in dict(self._decided()).values()
        why = f": {outcome.reason}" if outcome.reason and not is_told else ""
        return f"{outcome.state} with the weights of iteration {iteration}{why}"

    @property
    def _number(self) -> int:
        return self.configuration.number


def merging(specification: Specification) -> str:
    """Return in words how an experiment's replicas are merged."""
    method, shards = specification.experiment.method, count(specification.ring.shards, "shard")
    if method.name == "average":
        return f"average: each iteration trains a replica on each of {shards}, and their mean by rows is the next state"
    return (
        f"{method}: each iteration trains a replica on each of {shards}; the common state moves {method.step:g} of the "
        f"way to their mean by rows, and a replica keeps {method.kept:g} of its own end"
    )


def _method(search: Search) -> str:
    if isinstance(search, Several):
        return f"the searches {', '.join(f'`{one.method}`' for one in search.searches)}"
    return f"the search `{search.method}`"
