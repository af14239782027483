"""What the pods of a Workflow do, in this process: whatever their shape and their luck, the results are the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from modelhopper_contract.cancellation import cancel
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.names import Names, token_name
from modelhopper_contract.records import Failure, Outcome
from modelhopper_contract.store import Entry, Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.conduct import restore
from modelhopper_trainer.pod import vigil
from modelhopper_trainer.pod.process import Surroundings, main
from modelhopper_trainer.pod.suspects import Suspect
from modelhopper_trainer.pod.vigil import Bell
from modelhopper_trainer.station import Station
from modelhopper_trainer.workshop import Workshop
from tests.trainer.small_run import SEARCH, Mortal, SmallRun

NAMES = Names("small")


def pairs(run: SmallRun) -> SmallRun:
    """Let configurations travel in pairs: two begin at each shard."""
    run.planned = [one.model_copy(update={"offset": (one.number - 1) // 2}) for one in run.planned]
    run.prepared = {**run.prepared, **{NAMES.configuration(one.number): one.to_json() for one in run.planned}}
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return pairs(SmallRun.prepare(tmp_path_factory.mktemp("pods")))


@pytest.fixture(scope="module")
def expected(run: SmallRun) -> dict[str, bytes]:
    store = MemoryStore()
    run.begin(store)
    run.finish(store, 1)
    return everything(store)


@pytest.fixture
def store(run: SmallRun) -> MemoryStore:
    return begun(run)


def begun(run: SmallRun, stations: int = 3) -> MemoryStore:
    store = MemoryStore()
    run.begin(store)
    restore(run.specification, run.planned, store, stations)
    return store


def everything(store: Store) -> dict[str, bytes]:
    """Return all but what tells who did something, and when."""
    kept = (entry.name for entry in store.list("") if entry.name.split("/")[1] not in {"journal", "logs"})
    return {name: store.get(name) for name in kept}


def pod(run: SmallRun, store: Store, role: str, *arguments: object, **environment: str) -> int:
    surroundings = Surroundings(environment, store=store, workshop=run.workshop)
    return main([role, "--experiment", "small", *map(str, arguments)], surroundings)


def hop(run: SmallRun, store: Store, shard: int, *numbers: int, **environment: str) -> int:
    chosen = ",".join(map(str, numbers))
    return pod(run, store, "hop", "--shard", shard, "--configurations", chosen, **environment)


def chain(run: SmallRun, *numbers: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the visits of a convoy's chain."""
    ring, first = run.specification.ring, run.planned[numbers[0] - 1]
    for n in range(ring.hops):
        yield ring.shard(first.offset, n), numbers


def finish(run: SmallRun, store: Store, *convoys: tuple[int, ...], times: int = 1) -> None:
    """Run chains side by side, each visit so many times, and then what evaluations are left."""
    for visits in zip(*(chain(run, *convoy) for convoy in convoys), strict=True):
        for shard, numbers in visits:
            for _ in range(times):
                assert hop(run, store, shard, *numbers) == 0
    for shard in range(run.specification.shards):
        assert pod(run, store, "evaluate", "--shard", shard) == 0


# --- Whole runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convoys", [[(1,), (2,), (3,), (4,)], [(1, 2), (3, 4)]], ids=["hops", "convoys"])
def test_hop_pods_make_the_same_bytes(
    run: SmallRun, expected: dict[str, bytes], store: MemoryStore, convoys: list[tuple[int, ...]]
) -> None:
    finish(run, store, *convoys)
    assert everything(store) == expected
    assert not store.list(NAMES.logs())


def test_a_retry_after_the_work_was_done_does_no_harm(
    run: SmallRun, expected: dict[str, bytes], store: MemoryStore, capfd: pytest.CaptureFixture[str]
) -> None:
    finish(run, store, (1, 2), (3, 4), times=2)
    assert everything(store) == expected
    assert "configuration 1: nothing to train here; it has done 1 of 9 hops" in capfd.readouterr().out


@pytest.mark.parametrize("stations", [1, 2, 3, 5])
def test_station_pods_make_the_same_bytes(
    run: SmallRun, expected: dict[str, bytes], stations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time, each until it would have to wait; Argo starts it again, until it says that it is done."""
    monkeypatch.setattr(vigil, "_FIRST_CHECK_S", 0.0)
    monkeypatch.setattr(Bell, "wait", _no_patience)
    store = begun(run, stations)
    waiting = list(range(stations))
    while waiting:
        station = waiting.pop(0)
        code = pod(run, store, "station", "--station", station, "--stations", stations, MODELHOPPER_POD=f"s{station}")
        assert code in {0, 75}
        waiting += [station] if code else []
    assert everything(store) == expected
    assert {entry.name for entry in store.list(NAMES.logs())} == {NAMES.log(f"s{k}.log") for k in range(stations)}


def _no_patience(self: Bell, looks: int) -> None:
    raise StoreUnavailable("waiting is not for this test")


# --- What goes wrong --------------------------------------------------------------------------------------------------


def test_a_pod_killed_before_any_change_loses_nothing(run: SmallRun, expected: dict[str, bytes]) -> None:
    """Count up to the pod's last change, each time from the same beginning."""
    for changes in range(40):
        store = begun(run)
        code = hop(run, Mortal(store, changes), 0, 1, 2)
        assert hop(run, store, 0, 1, 2) == 0
        assert {token_name(e.name)[:3] for e in store.list(NAMES.inbox())} >= {(1, 1, "train"), (1, 2, "train")}
        if code == 0:
            break
        assert code == 75
    else:
        raise AssertionError("it was killed every time")
    finish(run, store, (1, 2), (3, 4))
    assert everything(store) == expected


def test_a_lost_token_is_found(run: SmallRun, store: MemoryStore) -> None:
    (token,) = (entry.name for entry in store.list(NAMES.inbox(0)) if token_name(entry.name).configuration == 1)
    store.delete(token)
    assert hop(run, store, 0, 1) == 0
    assert store.list(NAMES.checkpoint(1, 1))


def test_a_lost_checkpoint_is_not_retried(run: SmallRun, store: MemoryStore, capfd: pytest.CaptureFixture[str]) -> None:
    store.delete(NAMES.checkpoint(1, 0))
    assert hop(run, store, 0, 1, MODELHOPPER_POD="sad") == 1
    said = capfd.readouterr().out
    assert f"{NAMES.checkpoint(1, 0)} is missing" in said
    assert said == store.get(NAMES.log("sad.log")).decode()


@pytest.mark.parametrize(("looks", "code"), [(1, 75), (2, 1)], ids=["once", "again"])
def test_a_station_believes_that_a_checkpoint_is_lost_when_it_misses_it_twice(
    run: SmallRun, looks: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing(MemoryStore):
        def list(self, prefix: str) -> list[Entry]:
            nonlocal looks
            looks -= prefix == NAMES.checkpoints()
            return [] if prefix == NAMES.checkpoints() and looks >= 0 else super().list(prefix)

    patience = iter([None])

    def wait(self: Bell, looks: int) -> None:
        if next(patience, self) is self:
            _no_patience(self, looks)

    monkeypatch.setattr(vigil, "_FIRST_CHECK_S", 0.0)
    monkeypatch.setattr(Bell, "wait", wait)
    store = Missing()
    store._objects = begun(run, 2)._objects
    assert pod(run, store, "station", "--station", 1, "--stations", 2) == code
    assert bool(store.list(NAMES.cancelled())) == (code == 1)


def test_a_pod_of_a_deleted_workflow_that_wakes_up_late_does_no_harm(
    run: SmallRun, expected: dict[str, bytes], store: MemoryStore
) -> None:
    """It read everything, fell asleep, and goes on when others are far ahead."""
    old = {entry.name: store.get(entry.name) for entry in store.list("")}
    assert hop(run, store, 0, 1, 2) == 0
    assert hop(run, store, 1, 1, 2) == 0
    for name, data in old.items():  # what it writes is what is done again from there
        if "/inbox/00000/0000" in name or "/checkpoints/" in name:
            store.put(name, data)
    assert hop(run, store, 0, 1, 2) == 0
    for shard in (2, 0, 1, 2, 0, 1, 2):
        assert hop(run, store, shard, 1, 2) == 0
    finish(run, store, (3, 4))
    restore(run.specification, run.planned, store, 3)
    assert everything(store) == expected


class Interleaved(MemoryStore):
    """A store in which another pod acts before a chosen kind of change."""

    def __init__(self, of: MemoryStore) -> None:
        super().__init__()
        self._objects = of._objects
        self.before: dict[str, Callable[[], object]] = {}

    def put(self, name: str, data: bytes) -> None:
        self._act(f"put {name.split('/')[1]}")
        super().put(name, data)

    def delete(self, name: str) -> None:
        self._act(f"delete {name.split('/')[1]}")
        super().delete(name)

    def get(self, name: str) -> bytes:
        self._act(f"get {name.split('/')[1]}")
        return super().get(name)

    def _act(self, what: str) -> None:
        if action := self.before.pop(what, None):
            action()


@pytest.fixture(scope="module")
def trained(run: SmallRun) -> dict[str, bytes]:
    """All hops are done, and some evaluations wait."""
    store = begun(run)
    for visits in zip(chain(run, 1, 2), chain(run, 3, 4), strict=True):
        for shard, numbers in visits:
            assert hop(run, store, shard, *numbers) == 0
    return {entry.name: store.get(entry.name) for entry in store.list("")}


@pytest.fixture(scope="module")
def neighbours_workshop(run: SmallRun) -> Workshop:
    """Programs hold state, so the pod that acts meanwhile has its own."""
    return Workshop(run.specification)


@pytest.mark.parametrize(
    "moment", ["get inbox", "get checkpoints", "put metrics", "put history", "put outcomes", "delete inbox"]
)
def test_two_pods_may_do_one_evaluation_at_the_same_time(
    run: SmallRun,
    expected: dict[str, bytes],
    trained: dict[str, bytes],
    neighbours_workshop: Workshop,
    moment: str,
) -> None:
    store = MemoryStore()
    for name, data in trained.items():
        store.put(name, data)

    def neighbour(shard: int) -> None:
        other = Station(store, run.specification, shard, 3, lambda event: None, workshop=neighbours_workshop)
        other.serve_only([entry.name for entry in store.list(NAMES.inbox(shard))], lambda: False)

    for shard in (0, 1, 2):
        seen = Interleaved(store)
        seen.before[moment] = partial(neighbour, shard)
        assert pod(run, seen, "evaluate", "--shard", shard) == 0
    assert everything(store) == expected


# --- Configurations that fail -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    diverging = {"model": "plain", "optimizer": {"name": "SGD", "learning_rate": 1e30}, "batch_size": 4}
    raising = {"model": "raising", "optimizer": {"name": "SGD", "learning_rate": 0.1}}
    chosen = [SEARCH[0], diverging, raising, SEARCH[1]]
    changes: dict[str, Any] = {"search": {"method": "list", "configurations": chosen}, "iterations": 1}
    return pairs(SmallRun.prepare(tmp_path_factory.mktemp("failing"), evaluate_every=1, **changes))


def outcome(store: Store, number: int) -> Outcome:
    return Outcome.from_json(store.get(NAMES.outcome(number)))


def test_a_configuration_that_fails_ends_alone(failing: SmallRun, capfd: pytest.CaptureFixture[str]) -> None:
    store = begun(failing)
    codes = {}
    for convoy in [(1, 2), (3, 4), (2,), (3,), (2, 3)]:
        codes[convoy] = [hop(failing, store, shard, *numbers) for shard, numbers in chain(failing, *convoy)]
    for shard in range(3):
        assert pod(failing, store, "evaluate", "--shard", shard) == 0
    assert codes[1, 2] == codes[3, 4] == [0, 0, 0]
    assert codes[2,] == codes[3,] == codes[2, 3] == [3, 3, 3]
    assert [outcome(store, number).state for number in (1, 2, 3, 4)] == ["finished", "failed", "failed", "finished"]
    said = capfd.readouterr().out
    assert "configuration 2: failed at hop" in said
    assert "RuntimeError: " in said
    assert "configuration 1: iteration 1 evaluated: training loss " in said


def test_the_failure_quotes_what_was_printed(failing: SmallRun) -> None:
    store = begun(failing)
    assert hop(failing, store, 1, 3, MODELHOPPER_POD="red") == 3
    found = outcome(store, 3).failure
    assert isinstance(found, Failure)
    assert found.shard == 1
    assert "this layer cannot train" in store.get(NAMES.log("red.log")).decode()


# --- Cancelled, killed, mistaken --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["hop", "evaluate", "station"])
def test_a_cancelled_run_stops_before_it_begins(run: SmallRun, store: MemoryStore, role: str) -> None:
    cancel(store, "small")
    before = everything(store)
    chosen: Mapping[str, list[object]] = {
        "hop": ["--shard", 0, "--configurations", "1,2"],
        "evaluate": ["--shard", 0],
        "station": ["--station", 0, "--stations", 3],
    }
    assert pod(run, store, role, *chosen[role]) == 130
    assert everything(store) == before


def test_a_cancelled_run_stops_between_two_tokens(
    run: SmallRun, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhopper_trainer.pod.marker._PERIOD_S", 0.0)
    seen = Interleaved(store)
    seen.before["put checkpoints"] = lambda: cancel(store, "small")
    assert pod(run, seen, "station", "--station", 0, "--stations", 3) == 130
    assert hop(run, seen, 0, 1, 2) == 130


@pytest.mark.parametrize("last", ["137", "{{lastRetry.exitCode}}"])
def test_a_second_kill_at_the_same_hop_ends_the_configuration(run: SmallRun, last: str) -> None:
    store = begun(run)
    leave_suspect(store, "hop-00001", 1, 0)
    assert hop(run, store, 0, 1, 2, MODELHOPPER_RETRIES="2", MODELHOPPER_LAST_EXIT_CODE=last) == 0
    found = outcome(store, 1).failure
    assert found is not None
    assert found.reason == "its pod was killed twice at this hop (exit code 137); most likely out of memory"
    assert store.list(NAMES.checkpoint(2, 1))
    assert not [e.name for e in store.list(NAMES.inbox()) if token_name(e.name).configuration == 1]
    assert not store.list(NAMES.suspect(""))[1:]
    assert hop(run, store, 1, 1) == 3


def test_one_that_a_search_lets_start_later_is_to_blame_before_it_has_any_checkpoint(run: SmallRun) -> None:
    store = begun(run)
    store.delete(NAMES.checkpoint(1, 0))
    leave_suspect(store, "hop-00001", 1, 0)
    hop(run, store, 0, 1, 2, MODELHOPPER_RETRIES="2", MODELHOPPER_LAST_EXIT_CODE="137")
    assert outcome(store, 1).state == "failed"


@pytest.mark.parametrize(
    ("retries", "last", "hop_then"),
    [("0", "137", 0), ("2", "143", 0), ("2", "-1", 0), ("2", "137", 3)],
    ids=["first attempt", "told to stop", "lost node", "another hop"],
)
def test_who_is_not_to_blame_goes_on(run: SmallRun, store: MemoryStore, retries: str, last: str, hop_then: int) -> None:
    leave_suspect(store, "hop-00001", 1, hop_then)
    assert hop(run, store, 0, 1, MODELHOPPER_RETRIES=retries, MODELHOPPER_LAST_EXIT_CODE=last) == 0
    assert not store.list(NAMES.outcomes())
    assert store.list(NAMES.checkpoint(1, 1))


def test_a_retry_writes_down_what_it_is_at_and_a_first_attempt_does_not(run: SmallRun, store: MemoryStore) -> None:
    seen: list[Suspect] = []

    class Watched(Interleaved):
        def put(self, name: str, data: bytes) -> None:
            seen.extend([Suspect.from_json(data)] if "/suspects/" in name else [])
            super().put(name, data)

    assert hop(run, Watched(store), 0, 1, 2) == 0
    assert not seen
    again = {"MODELHOPPER_RETRIES": "1", "MODELHOPPER_LAST_EXIT_CODE": "137", "MODELHOPPER_POD": "p(1)"}
    assert hop(run, Watched(store), 1, 1, 2, **again) == 0
    # Most likely the first attempt was killed at what comes first now.
    assert [(one.action, one.configuration, one.hop, one.kills, one.pod) for one in seen] == [
        ("train", 1, 1, 1, "p(1)"),
        ("train", 2, 1, 0, "p(1)"),
    ]
    assert not [entry.name for entry in store.list("") if "/suspects/" in entry.name]


def test_kills_at_different_hops_blame_nobody(run: SmallRun, store: MemoryStore) -> None:
    """A station's node may have no memory left once a day: whatever it is at then has done nothing."""

    class Killed(BaseException):
        pass

    class KilledAt(Interleaved):
        """Kills the pod that begins configuration 2, which cannot take back what it has written down."""

        def put(self, name: str, data: bytes) -> None:
            super().put(name, data)
            if "/suspects/" in name and Suspect.from_json(data).configuration == 2:
                raise Killed

        def delete(self, name: str) -> None:
            if "/suspects/" not in name or sys.exception() is None:
                super().delete(name)

    def again(retries: int) -> dict[str, str]:
        return {"MODELHOPPER_RETRIES": str(retries), "MODELHOPPER_LAST_EXIT_CODE": "137"}

    with pytest.raises(Killed):
        hop(run, KilledAt(store), 0, 1, 2, **again(1))
    assert Suspect.from_json(store.get(NAMES.suspect("hop-00001"))).kills == 0
    with pytest.raises(Killed):
        hop(run, KilledAt(store), 0, 1, 2, **again(2))
    assert not store.list(NAMES.outcomes())
    assert Suspect.from_json(store.get(NAMES.suspect("hop-00001"))).kills == 1
    assert hop(run, store, 0, 1, 2, **again(3)) == 0
    assert [entry.name for entry in store.list(NAMES.outcomes())] == [NAMES.outcome(2)]


def test_what_an_earlier_run_left_blames_nobody(run: SmallRun, store: MemoryStore) -> None:
    leave_suspect(store, "hop-00001", 1, 0)
    assert hop(run, store, 0, 1, MODELHOPPER_RETRIES="1", MODELHOPPER_LAST_EXIT_CODE="137") == 0
    assert not store.list(NAMES.outcomes())


def leave_suspect(store: Store, place: str, number: int, hop_then: int) -> None:
    record = Suspect(action="train", configuration=number, hop=hop_then, pod="killed", kills=1)
    store.put(NAMES.suspect(place), record.to_json())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shard", 3, "--configurations", "1"], "There is no shard 3; there are 3, numbered from 0 to 2."),
        (["--shard", -1, "--configurations", "1"], "There is no shard -1"),
    ],
)
def test_a_mistake_is_said_in_one_line(
    run: SmallRun, store: MemoryStore, arguments: list[object], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert pod(run, store, "hop", *arguments) == 2
    assert capfd.readouterr().out.startswith(said)


def test_a_pod_without_a_store_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--experiment", "small", "--shard", "0"], Surroundings({})) == 2
    assert capfd.readouterr().out.startswith("MODELHOPPER_STORE is not set")


def test_a_pod_of_an_experiment_that_has_not_begun_says_so(run: SmallRun, capfd: pytest.CaptureFixture[str]) -> None:
    assert hop(run, MemoryStore(), 0, 1) == 1
    assert "the experiment has not begun" in capfd.readouterr().out


def test_a_gpu_that_is_asked_for_and_not_there_is_a_mistake(run: SmallRun, capfd: pytest.CaptureFixture[str]) -> None:
    store = begun(run)
    experiment = run.specification.experiment
    devices = experiment.devices.model_copy(update={"kind": "gpu"})
    changed = run.specification.model_copy(update={"experiment": experiment.model_copy(update={"devices": devices})})
    store.put(NAMES.specification(), changed.to_json())
    assert hop(run, store, 0, 1, CUDA_VISIBLE_DEVICES="-1") == 2
    assert "`devices.kind` is gpu, and this pod has none" in capfd.readouterr().out


def test_the_last_line_says_where_the_time_went(
    run: SmallRun, store: MemoryStore, capfd: pytest.CaptureFixture[str]
) -> None:
    assert hop(run, store, 0, 1) == 0
    lines = capfd.readouterr().out.splitlines()
    name, _, value = lines[-1].partition(" ")
    assert name == "times"
    assert json.loads(value).keys() == {"import_s", "pull_s", "train_s", "push_s", "total_s"}
    assert lines[0] == "hop-00001: small on CPU"
    assert lines[1] == "configuration 1: training hop 0 of 9, in iteration 1"
    assert lines[2].startswith("configuration 1: hop 0 trained, loss ")
    assert len(lines) == 4


def test_nothing_printed_is_lost(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import os

    from modelhopper_trainer.pod.recording import Recording

    with Recording(tmp_path / "log") as recording:
        recording.say("first")
        os.write(2, b"from C++\n" * 20_000)  # more than any pipe holds
        assert recording.text().endswith("from C++\n")
    assert capfd.readouterr().out == "first\n" + "from C++\n" * 20_000
