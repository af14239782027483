"""Searches by Optuna's samplers suggest the same where the past is the same, and better than drawing."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from modelhopper_contract.decisions import Arrival, Turn
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.metrics import Metric
from modelhopper_contract.searches import Optuna as Part
from modelhopper_scheduler.searches.search import Past, Search, Setting, next_turn, retold
from modelhopper_scheduler.searches.space import draw
from modelhopper_scheduler.searches.suggestion import Optuna
from tests.search_contract import SearchContract

LOSS = Metric("validation", "loss", True)
SPACE = {
    "optimizer": [
        {"name": "Adam", "learning_rate": {"log": [1e-5, 1.0]}},
        {"name": "SGD", "learning_rate": {"log": [1e-5, 1.0]}, "momentum": {"log_near_one": [0.5, 0.999]}},
    ],
    "batch_size": {"log": [4, 256], "integer": True},
}
NUMBERS = {"optimizer": [{"name": "Adam", "learning_rate": {"log": [1e-5, 1.0]}, "beta_1": {"linear": [0.5, 0.99]}}]}
LISTS = {"batch_size": [4, 8, 16], "shuffle": [True, False]}
SAMPLERS = ["TPESampler", "CmaEsSampler", "RandomSampler", "NSGAIISampler", "QMCSampler"]


class TestTpe(SearchContract):
    examples = 5

    def setting(self) -> Setting:
        return setting(configurations=16)

    def search(self) -> Search:
        return Optuna(self.setting())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_made_anew_for_every_question_suggests_the_same(sampler: str) -> None:
    part = setting(sampler=sampler, configurations=30)
    kept = Optuna(part)
    assert played(lambda: kept, part) == played(lambda: Optuna(part), part)


def test_suggestions_are_the_same_in_every_process(tmp_path: Any) -> None:
    code = (
        "from tests.scheduler.test_suggestion import *\n"
        "part = setting(configurations=25)\n"
        "search = Optuna(part)\n"
        "print(json.dumps([one.start.model_dump() for one in played(lambda: search, part).trials]))"
    )
    said = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashing in ("1", "2")
    ]
    assert said[0] == said[1]
    assert len(json.loads(said[0])) == 25


def test_zero_is_a_seed_and_each_seed_suggests_something_else() -> None:
    firsts = [Optuna(setting(seed=seed)).start(Past(LOSS, 4))[0].choice for seed in (0, 0, 1, 2**40)]
    assert firsts[0] == firsts[1]
    assert len({str(one) for one in firsts}) == 3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_two_configurations_get_the_same_values_though_each_question_rebuilds_the_study(sampler: str) -> None:
    """Samplers that draw at random would begin with the same numbers again if the past were only written down."""
    part = setting(NUMBERS, sampler=sampler, configurations=20)
    choices = [str(trial.start.choice) for trial in played(lambda: Optuna(part), part).trials]
    assert len(set(choices)) == 20


def test_tpe_finds_better_ones_than_as_many_draws() -> None:
    space = {**NUMBERS, "batch_size": SPACE["batch_size"]}
    wins = []
    for seed in range(5):
        part = setting(space, seed=seed, configurations=60)
        suggested = [trial.value or 0.0 for trial in played_by(Optuna(part), part).trials]
        drawn = [score(draw(space, seed, number)) for number in range(1, 61)]
        wins.append(min(suggested) < min(drawn))
        assert sum(suggested) < sum(drawn) / 2
    assert sum(wins) >= 4


def test_higher_is_better_where_the_metric_says_so() -> None:
    part = setting(NUMBERS, configurations=60)
    search = Optuna(part)
    past = played(lambda: search, part, metric=Metric("validation", "accuracy", False), value=lambda c: -score(c))
    newest = [trial.value or 0.0 for trial in past.trials[-20:]]
    assert sum(newest) / 20 > sum(trial.value or 0.0 for trial in past.trials[:20]) / 20 + 1


def test_as_many_train_as_there_is_room_for_and_each_trains_all_iterations() -> None:
    part = setting(configurations=10, parallel=4)
    search = Optuna(part)
    past, counts = Past(LOSS, 4), []
    turn = next_turn(search, past, 0, None)
    while not turn.is_last:
        past = past.decided(turn.decisions)
        counts.append(len(past.training))
        assert all(trial.until == 4 for trial in past.trials)
        arrival = Arrival(configuration=past.training[0].number, iteration=4, value=1.0)
        turn, past = next_turn(search, past, len(counts), arrival), past.arrived(arrival)
    assert counts == [4] * 7 + [3, 2, 1]


@pytest.mark.parametrize(("value", "ended"), [(None, "failed"), (None, None), (math.nan, None), (math.inf, None)])
def test_a_failure_is_no_value_and_the_search_goes_on(value: float | None, ended: Any) -> None:
    part = setting(configurations=30)
    search = Optuna(part)
    past = played(lambda: search, part, value=lambda _: value, ended=ended)
    assert len(past.trials) == 30
    assert "before any result" in past.trials[-1].start.reason


def test_one_that_stopped_early_counts_with_its_value() -> None:
    part = setting(configurations=30)
    search = Optuna(part)
    early, whole = (played(lambda: search, part, ended=ended) for ended in ("stopped", None))
    assert [one.start for one in early.trials] == [one.start for one in whole.trials]


def test_what_was_suggested_rules_where_another_version_would_suggest_something_else() -> None:
    part = setting(NUMBERS, sampler="CmaEsSampler", configurations=30)
    search = Optuna(part)
    past = played(lambda: search, part)
    other = past.trials[0].start.model_copy(
        update={"memo": {"after": 0, "parameters": {"optimizer.Adam.learning_rate": 0.5, "optimizer.Adam.beta_1": 0.9}}}
    )
    changed = Past(LOSS, 4, (past.trials[0].__class__(other, 4, "training", {}),))
    study = search._told(changed)[0]
    assert study._study.trials[0].params == other.memo["parameters"]


def test_values_are_those_of_the_space() -> None:
    part = setting(configurations=40)
    search = Optuna(part)
    for trial in played(lambda: search, part).trials:
        optimizer, batch_size = trial.start.choice["optimizer"], trial.start.choice["batch_size"]
        assert isinstance(batch_size, int)
        assert 4 <= batch_size <= 256
        assert 1e-5 <= optimizer["learning_rate"] <= 1
        assert ("momentum" in optimizer) == (optimizer["name"] == "SGD")
        assert 0.5 <= optimizer.get("momentum", 0.5) <= 0.999


def test_brute_force_ends_when_it_has_suggested_everything() -> None:
    part = setting(LISTS, sampler="BruteForceSampler", configurations=50, parallel=2)
    found = [str(trial.start.choice) for trial in played(lambda: Optuna(part), part, value=lambda _: 1.0).trials]
    assert len(set(found)) == 6
    assert len(found) < 12


def test_a_reason_says_what_the_sampler_knew() -> None:
    part = setting(configurations=20, parallel=4)
    search = Optuna(part)
    reasons = [trial.start.reason for trial in played(lambda: search, part).trials]
    assert reasons[0] == "suggested by TPESampler before any result"
    assert reasons[4] == "suggested by TPESampler from 1 result"
    assert reasons[-1] == "suggested by TPESampler from 16 results"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "TPESample"}, "Did you mean `TPESampler`?"),
        ({"sampler": "GridSampler"}, "`method: grid`"),
        ({"sampler": "PartialFixedSampler"}, "alone in the space"),
        ({"options": {"n_startup": 3}}, "Did you mean `n_startup_trials`?"),
        ({"options": {"seed": 3}}, "give `seed` beside `search`"),
        ({"options": {"multivariate": False, "group": True}}, "``group`` option can only be enabled"),
    ],
)
def test_a_mistake_is_told_when_the_search_is_made(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        Optuna(setting(**given))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"options": {"n_ei_candidates": "many"}}, "Optuna's TPESampler cannot be used"),
        ({"sampler": "BruteForceSampler"}, "infinite"),
    ],
)
def test_what_a_sampler_finds_wrong_only_later_is_told_before_anything_trains(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        Optuna(setting(**given)).start(Past(LOSS, 4))
    assert message in str(caught.value)


def test_a_missing_optuna_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "modelhopper_scheduler.searches.study", raising=False)
    monkeypatch.delattr("modelhopper_scheduler.searches.study", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'modelhopper\[search\]'"):
        Optuna(setting())


def test_optuna_is_silent_and_its_logging_is_as_before(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    part = setting(configurations=20)
    with caplog.at_level(logging.DEBUG):
        played(lambda: Optuna(part), part)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def setting(space: Mapping[str, Any] = SPACE, seed: int = 0, **given: Any) -> Setting:
    method = "tpe" if given.get("sampler", "TPESampler") == "TPESampler" else "optuna"
    part = Part(**{"method": method, "space": space, "configurations": 20, "parallel": 8, **given})
    return Setting(part, iterations=4, seed=seed, shards=4)


def score(choice: Mapping[str, Any]) -> float:
    """A made-up loss: best at a learning rate of 0.003, Adam with a beta of 0.9, and a batch of 32."""
    optimizer = choice["optimizer"]
    loss: float = (math.log10(optimizer["learning_rate"]) + 2.5) ** 2 + (0.0 if optimizer["name"] == "Adam" else 0.3)
    loss += 5 * (optimizer.get("beta_1", 0.9) - 0.9) ** 2
    return loss + (math.log2(choice.get("batch_size", 32)) - 5) ** 2 * 0.1


def played_by(search: Search, part: Setting) -> Past:
    return played(lambda: search, part)


def played(
    search: Callable[[], Search],
    part: Setting,
    metric: Metric = LOSS,
    value: Callable[[Mapping[str, Any]], float | None] = score,
    ended: Any = None,
) -> Past:
    """Return the past of a whole search whose configurations arrive in some order, always the same one."""
    order, log, arrival = random.Random(part.seed), list[Turn](), None
    past = Past(metric, part.iterations)
    while True:
        log.append(next_turn(search(), past, len(log), arrival))
        past = retold(metric, part.iterations, log)
        if log[-1].is_last:
            return past
        trial = order.choice(past.training)
        arrival = Arrival(configuration=trial.number, iteration=4, value=value(trial.start.choice), ended=ended)
