"""The suite that every search passes: what `modelhopper_scheduler.searches.search.Search` promises, played through.

A subclass named `Test...` that has a `setting` and makes a `search` runs it. The player is `play`: made-up curves,
failures, and a drawn order of arrival, without training anything.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_contract.decisions import Arrival, GoOn, Start, Stop, Turn
from modelhopper_contract.metrics import Metric
from modelhopper_scheduler.searches.search import Past, Search, Setting, Trial, next_turn, retold

ACCURACY = Metric("validation", "accuracy", False)
SPACE = {"batch_size": [4, 8, 16], "optimizer": [{"name": "SGD", "learning_rate": {"log": [0.001, 0.1]}}]}
ENDLESS = 2000  # turns; no search of these tests has so many


@dataclass(frozen=True)
class Game:
    """What happens in a play. Only `order` says who arrives first; the rest belongs to a number and an iteration."""

    metric: Metric
    curves: int  # the seed of all values; equal ones and NaN are among them
    order: int  # the seed of the order of arrival
    failing: float  # the share of trainings that do not arrive

    def value(self, number: int, iteration: int) -> float:
        """Return the objective of a configuration after some iterations."""
        found = self._random("value", number, iteration)
        return math.nan if found.random() < 0.05 else round(found.random(), 1)

    def ended(self, number: int, iteration: int) -> Literal["stopped", "failed"] | None:
        """Return how a configuration ended on its way to an iteration, where it did."""
        found = self._random("ended", number, iteration)
        return found.choice(("stopped", "failed", "failed")) if found.random() < self.failing else None

    def arrival(self, number: int, iteration: int) -> Arrival:
        """Return what comes of a training."""
        ended = self.ended(number, iteration)
        value = None if ended == "failed" else self.value(number, iteration)
        return Arrival(configuration=number, iteration=iteration, value=value, ended=ended)

    def _random(self, *what: object) -> random.Random:
        return random.Random(repr((self.curves, *what)))


@dataclass(frozen=True)
class Step:
    """One turn of a play, and the past that it answers to."""

    past: Past
    turn: Turn

    @property
    def judged(self) -> Past:
        """The past when the search was asked: with the arrival."""
        return self.past if self.turn.arrival is None else self.past.arrived(self.turn.arrival)


def games(failing: tuple[float, ...] = (0.0, 0.1, 0.5, 1.0)) -> st.SearchStrategy[Game]:
    """Draw what happens in a play."""
    seeds = st.integers(0, 2**32)
    metrics = st.sampled_from([ACCURACY, Metric("training", "loss", True)])
    return st.builds(Game, metrics, seeds, seeds, st.sampled_from(failing))


def play(make: Callable[[], Search], setting: Setting, game: Game) -> list[Step]:
    """Return all turns of a search that is made anew for each, from the first to the last."""
    past = Past(game.metric, max([setting.iterations, *make().rungs]))
    order = random.Random(game.order)
    steps: list[Step] = []
    arrival = None
    while len(steps) < ENDLESS:
        turn = next_turn(make(), past, len(steps), arrival)
        steps.append(Step(past, turn))
        past = steps[-1].judged.decided(turn.decisions)
        if turn.is_last:
            return steps
        trial = order.choice(past.training)
        arrival = game.arrival(trial.number, trial.until)
    raise AssertionError(f"the search has not come to an end after {ENDLESS} turns")


def final(steps: list[Step]) -> Past:
    """Return the past after all turns."""
    return steps[-1].judged.decided(steps[-1].turn.decisions)


def position(trial: Trial, shards: int) -> int:
    """Return the iterations that are behind a trial."""
    origin = trial.start.origin
    begun = 0 if origin is None or origin.experiment is not None else origin.hop // shards
    return max([begun, *trial.values])


class Table:
    """A search at work, told by hand what arrives."""

    def __init__(self, search: Search, iterations: int, metric: Metric = ACCURACY) -> None:
        self.search, self.order = search, 0
        self.past = Past(metric, max([iterations, *search.rungs]))
        self.turn(None)

    def turn(self, arrival: Arrival | None) -> dict[int, Start | GoOn | Stop]:
        turn = next_turn(self.search, self.past, self.order, arrival)
        self.order += 1
        self.past = (self.past if arrival is None else self.past.arrived(arrival)).decided(turn.decisions)
        return {one.configuration: one for one in turn.decisions}

    def arrive(self, values: dict[int, float | None], **more: Any) -> dict[int, Start | GoOn | Stop]:
        """Let several arrive where they are expected; None has failed. Return what is decided with the last."""
        found: dict[int, Start | GoOn | Stop] = {}
        for number, value in values.items():
            ended = more.get("ended", "failed" if value is None else None)
            iteration = self.past.trial(number).until
            found = self.turn(Arrival(configuration=number, iteration=iteration, value=value, ended=ended))
        return found


class SearchContract:
    """What holds for every search."""

    is_synchronous = False  # its decisions about a configuration do not depend on the order of arrival
    somebody_finishes = True  # where nothing fails
    examples = settings.default.max_examples // 2 if settings.default else 12  # fewer for a slow search

    def setting(self) -> Setting:
        """Return what the search is made of; small, for it is played often."""
        raise NotImplementedError

    def search(self) -> Search:
        """Return the search, made anew."""
        raise NotImplementedError

    def test_rungs_ascend(self) -> None:
        rungs = list(self.search().rungs)
        assert rungs == sorted(set(rungs))
        assert all(rung > 0 for rung in rungs)

    def test_it_comes_to_an_end_and_leaves_nobody_behind(self) -> None:
        def claim(steps: list[Step]) -> None:
            assert [step.turn.is_last for step in steps] == [False] * (len(steps) - 1) + [True]
            assert all(trial.state in ("finished", "stopped", "failed") for trial in final(steps).trials)
            assert steps[0].turn.decisions

        self._claim(claim)

    def test_somebody_finishes_where_nobody_fails(self) -> None:
        if not self.somebody_finishes:
            pytest.skip("this search can stop everybody")

        def claim(steps: list[Step]) -> None:
            assert any(trial.state == "finished" for trial in final(steps).trials)

        self._claim(claim, failing=(0.0,))

    def test_configurations_are_numbered_on(self) -> None:
        def claim(steps: list[Step]) -> None:
            starts = [one for step in steps for one in step.turn.decisions if isinstance(one, Start)]
            assert [start.configuration for start in starts] == list(range(1, len(starts) + 1))

        self._claim(claim)

    def test_all_train_to_a_rung_ahead_of_them_or_to_the_end(self) -> None:
        def claim(steps: list[Step]) -> None:
            allowed = {*self.search().rungs, steps[0].past.iterations}
            for step in steps:
                after = step.judged.decided(step.turn.decisions)
                for one in step.turn.decisions:
                    if isinstance(one, Start | GoOn):
                        assert one.until in allowed
                        assert one.until > position(after.trial(one.configuration), self.setting().shards)

        self._claim(claim)

    def test_only_those_that_wait_are_judged_and_each_once(self) -> None:
        def claim(steps: list[Step]) -> None:
            for step in steps:
                waiting = {trial.number for trial in step.judged.waiting}
                judged = [one.configuration for one in step.turn.decisions if isinstance(one, GoOn | Stop)]
                assert len(judged) == len(set(judged))
                assert waiting.issuperset(judged)

        self._claim(claim)

    def test_each_decision_has_its_reason(self) -> None:
        def claim(steps: list[Step]) -> None:
            assert all(one.reason for step in steps for one in step.turn.decisions)

        self._claim(claim)

    def test_whoever_is_copied_has_been_there(self) -> None:
        def claim(steps: list[Step]) -> None:
            shards = self.setting().shards
            for step in steps:
                origins = [one.origin for one in step.turn.starts if one.origin is not None]
                for origin in [one for one in origins if one.experiment is None]:
                    assert 0 < origin.hop <= position(step.judged.trial(origin.configuration), shards) * shards

        self._claim(claim)

    def test_equal_pasts_get_equal_answers_in_any_order_of_asking(self) -> None:
        search = self.search()

        def claim(steps: list[Step]) -> None:
            for step in reversed(steps):
                assert _again(search, step.past, step.turn) == step.turn.to_json()

        self._claim(claim)

    def test_a_search_rebuilt_from_its_log_goes_on_alike(self) -> None:
        def claim(steps: list[Step]) -> None:
            log = [Turn.from_json(step.turn.to_json()) for step in steps]
            for turn in log[:: max(1, len(log) // 5)]:
                past = retold(steps[0].past.metric, steps[0].past.iterations, log[: turn.order])
                assert _again(self.search(), past, turn) == steps[turn.order].turn.to_json()

        self._claim(claim)

    def test_the_order_of_arrival_does_not_matter(self) -> None:
        if not self.is_synchronous:
            pytest.skip("an asynchronous search decides by who is there")

        @settings(max_examples=self.examples)
        @given(games(), st.integers())
        def claim(game: Game, order: int) -> None:
            other = Game(game.metric, game.curves, order, game.failing)
            assert _by_configuration(self._play(game)) == _by_configuration(self._play(other))

        claim()

    def _claim(self, claim: Callable[[list[Step]], None], failing: tuple[float, ...] = (0.0, 0.1, 0.5, 1.0)) -> None:
        @settings(max_examples=self.examples)
        @given(games(failing))
        def holds(game: Game) -> None:
            claim(self._play(game))

        holds()

    def _play(self, game: Game) -> list[Step]:
        return play(self.search, self.setting(), game)


def _again(search: Search, past: Past, turn: Turn) -> bytes:
    # As bytes, because NaN does not equal itself.
    return next_turn(search, past, turn.order, turn.arrival).to_json()


def _by_configuration(steps: list[Step]) -> dict[int, list[bytes]]:
    found = defaultdict(list)
    for step in steps:
        for one in step.turn.decisions:
            found[one.configuration].append(one.to_json())
    return found
