"""Shards that are read and checked before anybody asks for them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from modelhopper_contract.errors import CorruptObject, StoreUnavailable
from modelhopper_contract.manifest import File
from modelhopper_contract.messages import Begin, Prepare
from modelhopper_trainer.foresight import CheckedOnce, Foresight, read_ahead, shards_of
from modelhopper_trainer.shards import open_data
from tests.trainer.small_run import experiment_in

EXPECTED = File(size_bytes=0, sha256="")
PART = Begin(store="memory:", experiment="small", station=1, stations=2, log="log")


@dataclass
class Slow:
    """Files that are found when the test says so, or not at all the first time."""

    may_go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[int] = field(default_factory=list)
    fails: bool = False

    def path(self, shard: int, name: str, expected: File) -> Path:
        self.asked.append(shard)
        assert self.may_go_on.wait(20)
        if self.fails and len(self.asked) == 1:
            raise StoreUnavailable("no answer")
        return Path(str(shard))


def test_two_threads_that_need_a_file_let_one_fetch_it() -> None:
    slow = Slow()
    once = CheckedOnce(slow)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(once.path(3, "x", EXPECTED))) for _ in range(2)]
    for thread in threads:
        thread.start()
    slow.may_go_on.set()
    for thread in threads:
        thread.join()
    assert (found, slow.asked) == ([Path("3")] * 2, [3])


def test_what_could_not_be_fetched_is_tried_again() -> None:
    slow = Slow(fails=True)
    slow.may_go_on.set()
    once = CheckedOnce(slow)
    with pytest.raises(StoreUnavailable):
        once.path(3, "x", EXPECTED)
    assert once.path(3, "x", EXPECTED) == Path("3")


def test_a_damaged_shard_is_told_to_who_needs_it_and_harms_nobody_else(tmp_path: Path) -> None:
    experiment_in(tmp_path)
    file = next((tmp_path / "train").rglob("*1/*.npy"))
    file.write_bytes(b"\0" * file.stat().st_size)
    data = read_ahead({"training": open_data(tmp_path / "train")}, {"training": [1, 0]})["training"]
    assert data.shard(0).rows > 0
    with pytest.raises(CorruptObject, match="changed after packing"):
        data.shard(1)


def test_a_station_opens_the_data_of_its_first_run_before_it_is_asked_to_build(tmp_path: Path) -> None:
    specification, configurations = experiment_in(tmp_path)
    foresight = Foresight()
    for command in (PART, Prepare(specification=specification, configurations=tuple(configurations))):
        foresight.hear(command)
    data = foresight.data(specification)
    assert data is not None
    assert data.keys() == {"training", "validation"}
    expected = open_data(tmp_path / "train").shard(2)
    found = data["training"].shard(2)
    assert all(np.array_equal(found.inputs[name], expected.inputs[name]) for name in expected.inputs)
    assert foresight.data(specification) is None  # a later run looks for itself


def test_data_that_has_changed_is_left_to_who_says_so(tmp_path: Path) -> None:
    specification, configurations = experiment_in(tmp_path)
    digests = {**specification.digests, "train": "another"}
    changed = specification.model_copy(update={"digests": digests})
    foresight = Foresight()
    for command in (PART, Prepare(specification=changed, configurations=tuple(configurations))):
        foresight.hear(command)
    assert foresight.data(changed) is None


def test_what_is_read_ahead_is_what_the_station_holds(tmp_path: Path) -> None:
    specification, _ = experiment_in(tmp_path)
    assert shards_of(specification, 0, 2) == {"training": [0, 1], "validation": [0]}
    assert shards_of(specification, 1, 2) == {"training": [2], "validation": [1]}
