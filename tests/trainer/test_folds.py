"""Folds and groups: who trains on which shards, and is evaluated on which; the bytes are as exact as ever."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhopper_contract.checkpoint import from_bytes
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.manifest import MANIFEST_NAME
from modelhopper_contract.records import History
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.packing import pack
from modelhopper_trainer.prediction import evaluate, restore
from modelhopper_trainer.shards import DataSet, open_data
from tests.trainer.small_run import SEARCH, Mortal, SmallRun, rows

pytestmark = pytest.mark.xdist_group("tensorflow")

TWO = {"method": "list", "configurations": [SEARCH[0], SEARCH[2]]}
NO_VALIDATION = {"train": "train"}


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    folder = tmp_path_factory.mktemp("folded")
    pack(rows(47), folder / "train", shards=6, seed=3)
    return SmallRun.prepare(folder, folds=3, search=TWO, data=NO_VALIDATION)


@pytest.fixture(scope="module")
def expected(folded: SmallRun) -> dict[str, bytes]:
    store = MemoryStore()
    folded.begin(store)
    folded.finish(store, 1)
    return folded.results(store)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    folder = tmp_path_factory.mktemp("grouped")
    for name, against in (("train", None), ("valid", folder / "train")):
        made = pack(rows(48), folder / name, shards=4, seed=3, against=against)
        made = made.model_copy(update={"group_column": "country", "groups": ("DE", "FR")})
        (folder / name / MANIFEST_NAME).write_bytes(made.to_json())
    return SmallRun.prepare(folder, groups=True, search=TWO)


def test_each_setting_becomes_a_configuration_for_each_fold(folded: SmallRun) -> None:
    assert [(one.number, one.part, one.part_name) for one in folded.planned] == [
        *[(1, 0, "fold 1"), (2, 1, "fold 2"), (3, 2, "fold 3")],
        *[(4, 0, "fold 1"), (5, 1, "fold 2"), (6, 2, "fold 3")],
    ]
    assert [one.name.endswith(one.part_name or "?") for one in folded.planned] == [True] * 6


def test_a_configuration_never_trains_on_its_fold(folded: SmallRun, expected: dict[str, bytes]) -> None:
    spec = folded.specification
    for one in folded.planned:
        met = [spec.ring_of(one).shard(one.offset, hop) for hop in range(spec.ring.hops)]
        assert sorted(met) == sorted([shard for shard in range(6) if shard % 3 != one.part] * 3)
        final = from_bytes(expected[folded.names.checkpoint(one.number, spec.ring.hops)], "final")
        assert final.record.shard == met[-1]


def test_a_folded_run_equals_one_process_that_never_hops(folded: SmallRun, expected: dict[str, bytes]) -> None:
    alone = folded.alone()
    assert len(alone) == 6
    assert {name: expected[name] for name in alone} == alone


def test_a_fold_is_what_its_configuration_is_evaluated_on(folded: SmallRun, expected: dict[str, bytes]) -> None:
    spec, data = folded.specification, open_data(Path(folded.specification.folder, "train"))
    one = folded.planned[1]
    state = from_bytes(expected[folded.names.checkpoint(one.number, spec.ring.hops)], "final").state
    history = History.from_json(expected[folded.names.history(one.number, 3)])
    assembly = restore(spec, one, data.manifest, state)
    assert history.validation == evaluate(assembly, _only(data, [1, 4]))
    assert history.training == evaluate(assembly, _only(data, [0, 2, 3, 5]))


@settings(max_examples=6)
@given(st.integers(1, 8), st.integers(0, 1000), st.lists(st.integers(0, 60), max_size=2))
def test_stations_and_kills_do_not_change_a_folded_run(
    folded: SmallRun, expected: dict[str, bytes], count: int, seed: int, kills: list[int]
) -> None:
    store = MemoryStore()
    folded.begin(store)
    for left in kills:
        try:
            folded.finish(Mortal(store, left), count)
        except StoreUnavailable:
            continue
    folded.finish(store, count, random.Random(seed).randrange)
    assert folded.results(store) == expected


def test_a_group_is_all_that_its_configuration_sees(grouped: SmallRun) -> None:
    store, spec = MemoryStore(), grouped.specification
    grouped.begin(store)
    grouped.finish(store, 3)
    results = grouped.results(store)
    assert spec.group_names == ("country DE", "country FR")
    assert {name: results[name] for name in grouped.alone()} == grouped.alone()
    second = grouped.planned[1]
    assert second.part_name == "country FR"
    assert {spec.ring_of(second).shard(second.offset, hop) for hop in range(spec.ring.hops)} == {2, 3}
    state = from_bytes(results[grouped.names.checkpoint(2, spec.ring.hops)], "final").state
    history = History.from_json(results[grouped.names.history(2, 3)])
    validation = _only(open_data(Path(spec.folder, "valid")), [2, 3])
    assert history.validation == evaluate(restore(spec, second, validation.manifest, state), validation)


def test_parts_of_one_kind_share_a_compiled_program(folded: SmallRun) -> None:
    assert folded.workshop.size == 2


def test_each_shard_can_be_a_group_of_its_own_and_all_are_validated_on_the_same_rows(tmp_path: Path) -> None:
    run = SmallRun.prepare(tmp_path, groups="shards", search={"method": "list", "configurations": SEARCH[:1]})
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 2)
    results = run.results(store)
    assert [one.part_name for one in run.planned] == ["shard 0", "shard 1", "shard 2"]
    assert {name: results[name] for name in run.alone()} == run.alone()
    validated = [name for name in results if "/metrics/00002/" in name and "/validation/" in name]
    assert len(validated) == 2 * run.specification.validation_shards


def _only(data: DataSet, shards: list[int]) -> DataSet:
    """Return some shards of a data set, as if they were all."""
    chosen = tuple(data.manifest.shards[number] for number in shards)
    found = DataSet(data.place, data.manifest.model_copy(update={"shards": chosen}), data.files)
    found._opened.update({at: data.shard(number) for at, number in enumerate(shards)})
    return found
