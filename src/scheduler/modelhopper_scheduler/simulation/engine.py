"""The simulated engine: what stations and a search would do, in simulated time."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from modelhopper_contract.decisions import GoOn, Start, Turn
from modelhopper_contract.errors import UserError
from modelhopper_contract.metrics import Metric
from modelhopper_contract.ring import Ring, Stations, stay_end
from modelhopper_scheduler.offsets import later_offset, offsets
from modelhopper_scheduler.searches.search import Past, Search
from modelhopper_scheduler.simulation.curves import Curves
from modelhopper_scheduler.simulation.floor import Floor, Job
from modelhopper_scheduler.simulation.play import Play, Rung, model_iterations, rungs

_PARTS = 10  # of a run's time, for how busy stations are over it


@dataclass(frozen=True)
class Conditions:
    """What a simulated run meets. Raises UserError for what cannot be."""

    stations: int
    hop_s: float | Mapping[int, float]  # one hop, with moving: of all, or by number, the median for numbers not in it
    jitter: float = 0.0  # how much hops of one configuration vary: standard deviation by mean, log-normal
    evaluation_s: float = 0.0  # to evaluate a configuration on one shard
    seed: int = 0  # of the jitter; a configuration's hops take the same time whoever makes them
    one_by_one: bool = False  # each group of a search (a bracket) begins when the one before has ended

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.stations < 1:
            raise UserError(f"{self.stations} is not a number of stations: give 1 or more.")
        for hop_s in self.hop_s.values() if isinstance(self.hop_s, Mapping) else [self.hop_s]:
            if not 0 < hop_s < math.inf:
                raise UserError(f"A hop cannot take {hop_s:g} seconds: give more than 0.")
        for what, given in (("jitter", self.jitter), ("the time of an evaluation", self.evaluation_s)):
            if not 0 <= given < math.inf:
                raise UserError(f"{given:g} cannot be {what}: give 0 or more.")


@dataclass(frozen=True)
class Best:
    """The best configuration at the end, by its newest value."""

    configuration: int
    iteration: int
    value: float


@dataclass(frozen=True)
class Simulation:
    """What a run would take, and what became of its configurations."""

    stations: int
    makespan_s: float
    bound_s: float  # no schedule of the same hops takes less: all stations always work, or the longest one always does
    busy: float  # share of the stations' time
    busy_by_tenth: tuple[float, ...]  # the same over each tenth of the makespan
    configurations: int
    model_iterations: int
    hops: int
    rungs: tuple[Rung, ...]
    best: Best | None

    @property
    def idle(self) -> float:
        """The share of the stations' time in which they wait."""
        return 1 - self.busy


def simulate(search: Search, metric: Metric, ring: Ring, conditions: Conditions, curves: Curves) -> Simulation:
    """Return what a run would take.

    Stations hold shards, serve their inboxes and hand configurations on as the real ones do. A configuration that has
    reached its `until` waits; the search is asked when it is evaluated, and answers in no time. `ring`: with the
    search's rungs. Exact for the given times, in O(stays x log stations) beside what the search itself computes.
    """
    run = _Run(Play(search, metric, ring.iterations, curves), ring, conditions)
    run.whole()
    return run.result()


@dataclass
class _Traveller:
    """A configuration on its way."""

    number: int
    offset: int
    hop: int  # the next one
    until: int  # iterations
    hop_s: float
    draws: Random | None  # of the jitter
    trained_s: float = 0.0


class _Run:
    def __init__(self, play: Play, ring: Ring, conditions: Conditions) -> None:
        self._play = play
        self._ring = ring
        self._conditions = conditions
        self._stations = Stations(conditions.stations, ring.shards)
        self._floor = Floor(conditions.stations)
        self._travellers: dict[int, _Traveller] = {}
        self._evaluating: Counter[tuple[int, int]] = Counter()  # jobs that are not done, by number and checkpoint
        self._held: dict[str, list[_Traveller]] = {}  # by group; those whose turn has not come
        self._begun: set[str] = set()
        self._hops = 0
        times = conditions.hop_s
        self._else_s = statistics.median(times.values()) if isinstance(times, Mapping) else times
        self._spread = math.sqrt(math.log1p(conditions.jitter**2))

    def whole(self) -> None:
        turn = self._play.begin()
        costs = {one.configuration: self._hop_s(one.configuration) for one in turn.starts}
        self._carry_out(turn, offsets(costs, self._ring.shards))
        while (job := self._floor.next_done()) is not None:
            if job.action == "train":
                self._trained(job)
            else:
                self._evaluated(job)

    def result(self) -> Simulation:
        past, floor, stations = self._play.past, self._floor, self._conditions.stations
        end_s, work_s = floor.now_s, floor.worked_s
        longest_s = max((one.trained_s for one in self._travellers.values()), default=0.0)
        return Simulation(
            stations=stations,
            makespan_s=end_s,
            bound_s=max(work_s / stations, longest_s),
            busy=work_s / (stations * end_s) if end_s else 0.0,
            busy_by_tenth=floor.busy_shares(_PARTS),
            configurations=len(past.trials),
            model_iterations=model_iterations(past, self._ring.shards),
            hops=self._hops,
            rungs=rungs(past),
            best=_best(past),
        )

    def _carry_out(self, turn: Turn, starts: Mapping[int, int]) -> None:
        """Do what a turn says. `starts`: the shards of hop 0 that were dealt, as at the beginning of a run."""
        for decision in turn.decisions:
            if isinstance(decision, GoOn):
                traveller = self._travellers[decision.configuration]
                traveller.until = decision.until
                self._send(traveller)
            elif isinstance(decision, Start):
                self._start(decision, starts)
        if self._held:
            self._release()

    def _start(self, start: Start, starts: Mapping[int, int]) -> None:
        number, draws = start.configuration, None
        dealt = starts.get(number, later_offset(number, self._ring.shards))
        offset = dealt if start.offset is None else start.offset
        if self._conditions.jitter:
            draws = Random(f"{self._conditions.seed} {number}")
        traveller = _Traveller(number, offset, start.first_hop, start.until, self._hop_s(number), draws)
        self._travellers[number] = traveller
        if not self._begun:
            self._begun.add(start.group)
        if self._conditions.one_by_one and start.group not in self._begun:
            self._held.setdefault(start.group, []).append(traveller)
        else:
            self._send(traveller)

    def _release(self) -> None:
        """Let the next group begin, where nobody of those before it trains any more."""
        trials = self._play.past.trials
        while self._held and not any(one.state == "training" and one.start.group in self._begun for one in trials):
            group = next(iter(self._held))
            self._begun.add(group)
            for traveller in self._held.pop(group):
                self._send(traveller)

    def _send(self, one: _Traveller) -> None:
        """Put a configuration's next stay into the inbox where it belongs."""
        ring, stations = self._ring, self._stations
        station = stations.holder(ring.shard(one.offset, one.hop), one.number)
        end = min(stay_end(ring, stations, one.number, one.offset, one.hop), one.until * ring.shards)
        self._floor.put(Job("train", station, one.number, one.hop, end, self._stay_s(one, end - one.hop)))

    def _stay_s(self, one: _Traveller, hops: int) -> float:
        if one.draws is None:
            return hops * one.hop_s
        # A log-normal factor of mean 1 whose standard deviation is the jitter.
        spread, mean, draw = self._spread, -self._spread * self._spread / 2, one.draws.lognormvariate
        return one.hop_s * (draw(mean, spread) if hops == 1 else sum(draw(mean, spread) for _ in range(hops)))

    def _trained(self, job: Job) -> None:
        one = self._travellers[job.number]
        one.hop = job.end
        one.trained_s += job.seconds
        self._hops += job.end - job.hop
        is_there = one.hop >= one.until * self._ring.shards
        is_evaluated = self._conditions.evaluation_s > 0 and (is_there or self._ring.is_evaluated(one.hop))
        if is_evaluated:
            self._evaluate(one)
        if not is_there:
            self._send(one)
        elif not is_evaluated:
            self._carry_out(self._play.arrive(one.number), {})

    def _evaluate(self, one: _Traveller) -> None:
        shards = Counter(self._stations.holder(shard, one.number) for shard in range(self._ring.shards))
        self._evaluating[one.number, one.hop] = len(shards)
        for station, held in sorted(shards.items()):
            seconds = held * self._conditions.evaluation_s
            self._floor.put(Job("evaluate", station, one.number, one.hop, one.hop, seconds))

    def _evaluated(self, job: Job) -> None:
        one, key = self._travellers[job.number], (job.number, job.hop)
        self._evaluating[key] -= 1
        if self._evaluating[key] == 0 and job.hop >= one.until * self._ring.shards:
            self._carry_out(self._play.arrive(one.number), {})

    def _hop_s(self, number: int) -> float:
        times = self._conditions.hop_s
        return times.get(number, self._else_s) if isinstance(times, Mapping) else times


def _best(past: Past) -> Best | None:
    ended = [(trial, trial.value) for trial in past.trials if trial.value is not None and not math.isnan(trial.value)]
    ranked = sorted(ended, key=lambda one: (past.metric.rank(one[1]), one[0].number))
    return next((Best(trial.number, max(trial.values), value) for trial, value in ranked), None)
