"""What a cluster makes of `fuse` and of `auto`: said before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper.cluster_programs import check_said, fitting_convoy, lanes_of
from modelhopper.pods.beginning import Task, begin_pod
from modelhopper.pods.chains import groups
from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.manifest import Input, Output
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.render.plan import Plan
from modelhopper_scheduler.searches.configurations import configurations
from tests.scheduler.planned import experiment_value
from tests.sdk.test_pods import bundle


def made(**changes: Any) -> Experiment:
    found: Experiment = validated(Experiment, experiment_value(**changes))
    return found


def cluster(**changes: Any) -> Cluster:
    return Cluster.model_validate({"store": "s3://bucket/runs", **changes})


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"fuse": "auto"}, ("fuse",), "`fuse: 8`"),
        ({"compile": {"loss": "mse", "jit_compile": "auto"}}, ("compile", "jit_compile"), "`jit_compile: true`"),
        ({"compile": {"loss": "mse", "precision": "auto"}}, ("compile", "precision"), "`precision: mixed_bfloat16`"),
        (
            {"search": {"method": "grid", "space": {"model": ["small"], "jit_compile": [False, "auto"]}}},
            ("search",),
            "doctor",
        ),
    ],
)
def test_what_is_to_be_measured_is_refused_with_what_to_say_instead(
    changes: dict[str, Any], path: tuple[str, ...], words: str
) -> None:
    experiment = made(**changes)
    with pytest.raises(SpecError) as found:
        check_said(experiment, configurations(experiment))
    assert found.value.path == path
    assert words in str(found.value)
    assert "modelhopper doctor" in str(found.value)


def test_a_number_is_taken() -> None:
    experiment = made(fuse=4)
    check_said(experiment, configurations(experiment))
    assert [lanes_of(experiment, count) for count in (1, 3, 9)] == [1, 3, 4]
    assert lanes_of(made(), 9) == 1


def test_convoys_are_made_large_enough_for_whole_programs() -> None:
    assert [fitting_convoy(cluster(convoy=4), lanes) for lanes in (1, 2, 3, 4, 6)] == [4, 4, 6, 4, 6]


def test_hop_pods_are_refused_where_several_train_side_by_side(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shape `convoy` \(with `convoy` 6\) or `station`"):
        fitting_convoy(cluster(shape="hop"), 3)
    assert fitting_convoy(cluster(shape="hop"), 1) == 4
    # The installed template is told the shape when it is submitted.
    store = MemoryStore()
    with pytest.raises(UserError, match="pods of the shape `hop` train one configuration each"):
        begin_pod(store, Task("iris"), bundle(fuse=3), tmp_path, lambda _: None)
    assert not store.list("iris/experiment.json")


@pytest.mark.parametrize("convoy", [1, 4])
def test_pods_that_go_round_all_shards_are_refused_where_there_are_folds(tmp_path: Path, convoy: int) -> None:
    store, text = MemoryStore(), bundle(folds=2, data={"train": "train"})
    with pytest.raises(UserError, match=r"folds or groups.* shape `station`"):
        begin_pod(store, Task("iris", convoy=convoy), text, tmp_path, lambda _: None)
    assert not store.list("iris/experiment.json")


partners = st.lists(st.integers(0, 5), max_size=30)


@given(partners, st.integers(1, 8))
def test_those_who_train_side_by_side_travel_together(whose: list[int], size: int) -> None:
    together = {number: 100 + one for number, one in enumerate(whose) if one < 5}  # the others are for themselves
    found = list(groups(range(len(whose)), size, together))
    assert sorted(number for group in found for number in group) == list(range(len(whose)))
    assert all(0 < len(group) <= size for group in found)
    for one in set(together.values()):
        members = [number for number in together if together[number] == one]
        spread = [group for group in found if set(members) & set(group)]
        assert len(spread) == -(-len(members) // size)
    # What a plan counts on.
    halves = -(-size // 2)
    assert len(found) <= (len(whose) + halves - 1) // halves


@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 6))
def test_a_plan_of_fused_convoys_has_room_for_emptier_ones(count: int, convoy: int, shards: int) -> None:
    plan = Plan("iris", "convoy", convoy, 1, count, shards, 0, shards, is_fused=True)
    plain = Plan("iris", "convoy", convoy, 1, count, shards, 0, shards)
    assert plan.pods() >= plain.pods()
    assert plan.windows().workflows >= plain.windows().workflows


def test_rows_are_made_up_in_the_form_of_the_data() -> None:
    from modelhopper_contract.manifest import Manifest
    from modelhopper_trainer.made_up import made_up

    entries: dict[str, Any] = {
        "inputs": (Input(name="x", shape=(4,), dtype="float32"), Input(name="n", shape=(), dtype="int64")),
        "outputs": (
            Output(name="kind", kind="classes", shape=(), dtype="int32", classes=("a", "b", "c"), num_classes=4),
            Output(name="code", kind="encoded", shape=(5,), dtype="uint8"),
            Output(name="price", kind="number", shape=(1,), dtype="float32"),
        ),
    }
    manifest = Manifest.model_construct(**entries)
    found = made_up(manifest, 7)
    shapes = {name: (array.shape, str(array.dtype)) for name, array in found.items()}
    assert shapes == {
        "x": ((7, 4), "float32"),
        "n": ((7,), "int64"),
        "kind": ((7,), "int32"),
        "code": ((7, 5), "uint8"),
        "price": ((7, 1), "float32"),
    }
    assert set(found["kind"]) == {0, 1, 2}
    assert (found["code"].sum(axis=1) == 1).all()
    assert all(np.array_equal(made_up(manifest, 7)[name], array) for name, array in found.items())
