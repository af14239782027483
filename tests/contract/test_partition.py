"""Parts of the data: folds that are skipped in training and evaluated on, and groups that are trained on alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import DataError, SpecError
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.manifest import File, Manifest, Output, Shard
from modelhopper_contract.partition import Folds, check_folds, check_groups, fold, group, outside
from modelhopper_contract.ring import Ring


def manifest(shards: int, **changes: object) -> Manifest:
    kinds = Output(name="kind", kind="classes", shape=(), dtype="uint8", classes=("a", "b"), num_classes=2)
    files = {"kind": File(size_bytes=1, sha256="")}
    each = tuple(Shard(rows=1, files=files) for _ in range(shards))
    given = {"inputs": (), "outputs": (kinds,), "seed": 0, "rows": shards, "shards": each}
    return Manifest.model_validate({**given, **changes})


def experiment(**changes: object) -> Experiment:
    value = {"name": "a", "data": {"train": "t"}, "models": {"m": "m.py:f"}, "search": {"method": "grid", "space": {}}}
    found: Experiment = validated(Experiment, {**value, **changes})
    return found


@given(st.integers(2, 12), st.integers(1, 5))
def test_every_shard_is_in_one_fold_and_trained_on_in_all_others(folds: int, each: int) -> None:
    shards = folds * each
    found = [fold(shards, folds, number) for number in range(folds)]
    assert sorted(shard for one in found for shard in one) == list(range(shards))
    for number, one in enumerate(found):
        rest = outside(shards, folds, number)
        assert not set(one) & set(rest)
        assert len(one) + len(rest) == shards


@given(st.integers(1, 12), st.integers(1, 5))
def test_every_shard_is_in_one_group(groups: int, each: int) -> None:
    found = [group(groups * each, groups, number) for number in range(groups)]
    assert [shard for one in found for shard in one] == list(range(groups * each))
    assert {len(one) for one in found} == {each}


def test_a_ring_with_an_itinerary_visits_each_of_its_shards_once_an_iteration() -> None:
    ring = Ring(3, 2, 1, itinerary=(0, 2, 5))
    assert [ring.shard(1, hop) for hop in range(ring.hops)] == [2, 5, 0, 2, 5, 0]


def test_a_number_alone_is_how_many_folds() -> None:
    assert experiment(folds=5).folds == Folds(count=5)
    assert experiment(folds={"count": 5, "stratified": True}).folds == Folds(count=5, stratified=True)


def test_shards_that_do_not_make_equal_folds_are_refused_with_what_fits() -> None:
    with pytest.raises(DataError, match=r"8 shards, which cannot be 3 folds.*--shards 9, or take 2 or 4 or 8"):
        check_folds(Folds(count=3), manifest(8), "train")
    with pytest.raises(DataError, match=r"1 shard,.*--shards 2, as one shard cannot be cut"):
        check_folds(Folds(count=2), manifest(1), "train")


def test_stratified_folds_need_data_that_was_packed_so() -> None:
    check_folds(Folds(count=2, stratified=True), manifest(4, stratified="kind"), "train")
    with pytest.raises(DataError, match=r"--stratify and a label of classes \(kind\)"):
        check_folds(Folds(count=2, stratified=True), manifest(4), "train")


def test_groups_need_data_that_was_packed_by_group_on_both_sides() -> None:
    grouped = manifest(4, group_column="country", groups=("DE", "FR"))
    check_groups(grouped, "train", None, None)
    check_groups(grouped, "train", manifest(2, groups=("DE", "FR")), "valid")
    with pytest.raises(DataError, match="train has no groups: pack it with --group-by"):
        check_groups(manifest(4), "train", None, None)
    with pytest.raises(DataError, match=r"valid must have the groups of train.*--group-by country --against train"):
        check_groups(grouped, "train", manifest(2), "valid")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds": 2, "groups": True}, "in one way"),
        ({"folds": 2, "data": {"train": "t", "validation": "v"}}, "remove the validation data"),
        ({"folds": 2, "search": {"method": "hyperband", "space": {"batch_size": [1, 2]}}}, "hyperband"),
        ({"groups": True, "fuse": 2}, "Remove one"),
        ({"folds": 2, "warm_start": "b"}, "warm_start"),
        ({"folds": 1}, "folds.count"),
        ({"folds": "ten"}, "'ten' cannot be: give how many, such as 10"),
        ({"folds": {"cout": 4}}, "`cout` is not a key of folds.*Did you mean `count`"),
        ({"groups": "country"}, "give `true` for the groups.*--group-by"),
    ],
)
def test_what_cannot_go_together_with_parts_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        experiment(**changes)


def test_an_experiment_without_parts_keeps_its_bytes() -> None:
    assert not {"folds", "groups"} & experiment().model_dump().keys()
