"""How shards train a configuration, as users say it: every mistake gives one message that says what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.methods import Method, needed_replicas
from modelhopper_contract.ring import Ring, Stations, stay_end
from modelhopper_contract.tokens import tokens_of, training_tokens
from tests.scheduler.planned import configuration, experiment_value, specification


def experiment(**changes: Any) -> Experiment:
    found: Experiment = validated(Experiment, experiment_value(**changes))
    return found


def test_a_name_alone_is_enough_but_for_easgd() -> None:
    assert experiment(method="average").method == Method(name="average")
    assert experiment(method={"name": "hop"}).method == experiment().method
    elastic = experiment(method={"name": "easgd", "alpha": 0, "beta": 1}).method
    assert (elastic.kept, elastic.step, elastic.merges) == (0.0, 1.0, True)
    assert str(elastic) == "easgd (alpha 0, beta 1)"


def test_an_experiment_that_hops_keeps_its_bytes() -> None:
    assert "method" not in json.loads(experiment(method="hop").model_dump_json())
    assert experiment(method="average").model_dump(mode="json")["method"]["name"] == "average"
    made = specification(method="average")
    assert made.from_json(made.to_json()) == made
    assert specification().differences(made)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("averge", "`averge` is no way to train on shards: use hop, average, easgd. Did you mean `average`?"),
        ("sync", "`sync` is no way to train on shards: use hop, average, easgd"),
        (3, "`3` is no way to train on shards: use hop, average, easgd, or {name: easgd, alpha: 0.001, beta: 0.9}"),
        ("easgd", "`easgd` needs alpha and beta: write {name: easgd, alpha: 0.001, beta: 0.9}"),
        ({"name": "easgd", "alpha": 0.1}, "`easgd` needs beta: write "),
        ({"name": "easgd", "alpha": 0.1, "beta": 0}, "beta is 0, and the common state would never move"),
        ({"name": "easgd", "alpha": 2, "beta": 1}, "less than or equal to 1, but 2 was given"),
        ({"name": "easgd", "alpha": -1, "beta": 1}, "greater than or equal to 0, but -1 was given"),
        ({"name": "easgd", "alpha": float("nan"), "beta": 1}, "method.alpha: input should be a finite number"),
        ({"name": "average", "beta": 1}, "beta cannot be given for `average`: they are numbers of `easgd`"),
        ({"name": "average", "alfa": 1}, "`alfa` is not a key of method: use name, alpha, beta. Did you mean `alpha`?"),
    ],
)
def test_a_mistake_says_what_to_do(given: Any, message: str) -> None:
    with pytest.raises(SpecError) as error:
        experiment(method=given)
    assert message in str(error.value)
    assert error.value.path[0] == "method"


@pytest.mark.parametrize(
    ("changes", "message", "path"),
    [
        ({"fuse": 4}, "`fuse: 4` was given together with the method average", ("fuse",)),
        (
            {"search": {"method": "hyperband", "space": {"batch_size": [4]}}},
            "the search `hyperband` decides",
            ("search",),
        ),
        ({"search": {"method": "pbt", "space": {"batch_size": [4]}, "configurations": 4}}, "`pbt`", ("search",)),
    ],
)
def test_what_replicas_cannot_be_used_with_is_refused(changes: dict[str, Any], message: str, path: Any) -> None:
    experiment(**changes)
    with pytest.raises(SpecError) as error:
        experiment(method="average", **changes)
    assert message in str(error.value)
    assert error.value.path[:1] == path


def test_every_hop_of_an_iteration_is_announced_at_once() -> None:
    made = specification(method="average", evaluate_every=1)
    hops = [token.hop for token in training_tokens(made, 2, configuration(1), 3).values()]
    assert hops == [3, 4, 5]
    actions = [token.action for token in tokens_of(made, 2, configuration(1), 3).values()]
    assert actions == ["evaluate", "evaluate", "train", "train", "train"]
    assert training_tokens(made, 2, configuration(1), 9) == {}


def test_a_stay_is_one_hop_where_hops_are_merged() -> None:
    ring = Ring(shards=4, iterations=3, evaluate_every=3, merges=True)
    assert [stay_end(ring, Stations(1, 4), 1, 0, hop) for hop in range(12)] == list(range(1, 13))
    assert [ring.start(hop) for hop in (0, 3, 4, 11)] == [0, 0, 4, 8]


def test_replicas_stay_while_somebody_may_need_them() -> None:
    average, elastic = Method(name="average"), Method(name="easgd", alpha=0.1, beta=1.0)
    assert list(needed_replicas(average, 4, 8, ended=True)) == []
    assert list(needed_replicas(elastic, 4, 8, ended=True)) == [4, 5, 6, 7]
    assert 8 in needed_replicas(average, 4, 8, ended=False)
    assert 7 not in needed_replicas(average, 4, 8, ended=False)
    assert needed_replicas(elastic, 4, 0, ended=False).start == 0
