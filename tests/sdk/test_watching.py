"""Following a run from the store: what is seen, what it costs, and how it ends."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from modelhopper.command import main
from modelhopper.display.live import view
from modelhopper.display.progress import Earlier
from modelhopper.display.shown import display_of_followed
from modelhopper.following import Follower, Look, events, follow, look
from modelhopper.reading import Reader
from modelhopper.results import open_run
from modelhopper_contract.cancellation import cancel
from modelhopper_contract.errors import Cancelled, CorruptObject, UserError
from modelhopper_contract.messages import Idle, Started, Trained
from modelhopper_contract.names import Names
from modelhopper_contract.records import Stay
from modelhopper_contract.store import Entry, Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.submission import Submission
from modelhopper_contract.tokens import training_token
from tests.sdk.synthetic import SyntheticRun, whole_run

NAMES = Names("iris")


def at_each_pause(*steps: Callable[[], object]) -> Callable[[float], None]:
    """Return what lets something happen instead of every pause; one pause too many is a mistake."""
    left: Iterator[Callable[[], object]] = iter(steps)
    return lambda _: (next(left)(), None)[1]


def nothing() -> None:
    return None


def submit(store: Store, **changes: Any) -> Submission:
    """Leave in the store what an experiment leaves that was submitted and has not begun."""
    run = SyntheticRun(MemoryStore(), **changes)
    chosen = tuple(run.configurations)
    submission = Submission(specification=run.specification, configurations=chosen, manifests={}, files={})
    store.put(NAMES.submission(), submission.to_json())
    return submission


def waits(run: SyntheticRun, number: int, hop: int) -> None:
    """Let a configuration be due for a hop."""
    configuration = run.configurations[number - 1]
    for name, token in training_token(run.specification, 2, configuration, hop).items():
        run.store.put(name, token.to_json())


def test_events_tell_what_changed_between_two_looks() -> None:
    store = MemoryStore()
    run = SyntheticRun(store)
    waits(run, 1, 0)
    before = look(Reader(store, "iris"), run.specification)
    assert before.work == {0: Started(action="train", station=0, configuration=1, hop=0)}
    store.delete(store.list(NAMES.inbox())[0].name)
    run.finished(2, accuracy=0.5)
    run.trained(1, 3)
    waits(run, 1, 3)
    now = look(Reader(store, "iris"), run.specification)
    found = list(events(before, now))
    trained = Trained(station=0, configuration=1, first_hop=0, end_hop=3, loss=0.0, busy_s=0.0)
    assert found[0] == trained
    assert [event.kind for event in found] == ["trained", "trained", "evaluated", "ended", "started", "idle"]
    assert found[-1] == Idle(station=0)
    assert list(events(now, now)) == []


def test_a_run_is_followed_from_its_submission_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    store = MemoryStore()
    submit(store)
    made: list[SyntheticRun] = []

    def begin() -> None:
        made.append(SyntheticRun(store))
        waits(made[0], 1, 0)

    pause = at_each_pause(
        nothing,
        begin,
        lambda: made[0].failed(3, 3),
        lambda: made[0].finished(2, accuracy=0.9, loss=0.1),
        lambda: made[0].finished(1, accuracy=0.8, loss=0.1),
        lambda: made[0].finished(4, accuracy=0.7, loss=0.1),
    )
    display = follow(Reader(store, "iris"), "plain", pause)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "iris: submitted; waiting for its first pod",
        "iris: 4 configurations, 4 iterations, 2 shards: 32 hops",
    ]
    assert re.fullmatch(r"at hop 0 of 32, last change .+ ago", lines[2])
    assert "configuration 3 failed at hop 3: loss is NaN" in lines
    assert "configuration 2: iteration 4 of 4, validation accuracy 0.900, in the lead" in lines
    assert (display.progress.finished, display.progress.hops_done) == (3, 27)
    assert display.progress.left_s(display.progress.last_s) is not None


def test_a_followed_run_looks_like_one_of_ones_own() -> None:
    store = MemoryStore()
    run = SyntheticRun(store)
    run.trained(1, 3)
    waits(run, 1, 3)
    cancel(store, "iris")

    def show(_: float) -> None:
        raise AssertionError

    first = look(Reader(store, "iris"), run.specification)
    earlier = Earlier(first.done, first.histories, first.outcomes)
    display = display_of_followed(run.specification, run.configurations, earlier, "quiet")
    with pytest.raises(Cancelled):
        Follower(Reader(store, "iris"), run.specification, display, first, show).follow()
    console = Console(file=io.StringIO(), width=100, height=30, force_terminal=True, color_system=None)
    console.print(view(display.progress, display.progress.last_s, 100, 30))
    seen = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert seen[0].startswith("  station 0")
    assert "waiting" in seen[0]
    assert "configuration 1, iteration 2 of 4" in seen[1]
    assert "hops 3 of 32" in seen[2]


def test_following_ends_when_the_run_is_cancelled() -> None:
    store = MemoryStore()
    run = SyntheticRun(store)
    run.trained(1, 3)
    words = "Cancelled; everything up to hop 3 is safe. modelhopper resume memory:iris goes on."
    with pytest.raises(Cancelled, match=re.escape(words)):
        follow(Reader(store, "iris"), "quiet", at_each_pause(nothing, lambda: cancel(store, "iris")))


def test_silence_is_told_ever_more_rarely(capsys: pytest.CaptureFixture[str]) -> None:
    store = MemoryStore()
    SyntheticRun(store)
    steps = [nothing] * 50 + [lambda: cancel(store, "iris")]
    with pytest.raises(Cancelled):
        follow(Reader(store, "iris"), "plain", at_each_pause(*steps), interval_s=10)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("nothing")]
    assert said == [f"nothing has changed for {what}" for what in ("60 s", "2 m 0 s", "4 m 0 s", "8 m 0 s")]


class CountedStore(MemoryStore):
    """Counts what is fetched, by kind of object."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: Counter[str] = Counter()
        self.listed: Counter[str] = Counter()

    def get(self, name: str) -> bytes:
        data = super().get(name)
        self.fetched[name.split("/")[1]] += 1
        return data

    def list(self, prefix: str) -> list[Entry]:
        self.listed[prefix.split("/")[1]] += 1
        return super().list(prefix)


def test_a_look_fetches_what_is_new_and_never_the_journal() -> None:
    store = CountedStore()
    run = whole_run(store)
    reader = Reader(store, "iris")
    look(reader, run.specification)
    assert store.fetched == {"configurations": 4, "history": 3, "outcomes": 4}
    store.fetched.clear()
    store.listed.clear()
    assert isinstance(look(reader, run.specification), Look)
    assert not store.fetched
    assert store.listed == {"checkpoints": 1, "history": 1, "outcomes": 1, "inbox": 1}


def test_the_status_fetches_the_end_of_the_journal_only() -> None:
    store = CountedStore()
    run = SyntheticRun(store, iterations=500, evaluate_every=500)
    stay = Stay(configuration=1, first_hop=0, end_hop=1, station=0, started_s=0.0, train_s=1.0, overhead_s=0.0)
    for number in (1, 2):
        run.trained(number, 1)
        for hop in range(2, 1000):
            store.put(NAMES.journal(number, hop), stay.to_json())
    store.fetched.clear()
    assert open_run("iris", store).status().stations == (0,)
    assert store.fetched["journal"] == 4


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_watching_a_complete_run_shows_its_results_and_ends_like_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = whole_run(DirectoryStore(place / "runs"))
    assert main(["watch", "iris"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "iris: 4 configurations, 4 iterations, 2 shards: 32 hops"
    assert lines[-2] == "3 of 4 finished. Results in runs/iris"
    assert lines[-1] == "Next: modelhopper best iris --export best.keras"
    run.finished(3, accuracy=0.1, loss=0.1)
    assert main(["watch", "iris"]) == 0


def test_a_run_in_a_bucket_is_watched_with_the_variable_set_once(
    s3_url: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole_run(open_store(s3_url))
    monkeypatch.setenv("MODELHOPPER_STORE", s3_url)
    assert main(["watch", "iris"]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == "Next: modelhopper best iris --export best.keras"
    for command in (["status", "iris"], ["results", "iris"], ["best", "iris"], ["logs", "iris"], ["cancel", "iris"]):
        assert main(command) == 0, command
    assert "iris is complete; there is nothing to cancel." in capsys.readouterr().out


def test_an_unknown_experiment_is_not_waited_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole_run(DirectoryStore(place / "runs"))
    assert main(["watch", "irs"]) == 2
    assert "Did you mean `iris`?" in capsys.readouterr().err


def test_an_experiment_that_was_submitted_is_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = DirectoryStore(place / "runs")
    submit(store)
    assert main(["status", "iris"]) == 0
    assert re.fullmatch(
        r"iris: 4 configurations; submitted .+ ago; waiting for its first pod\n", capsys.readouterr().out
    )
    assert main(["status"]) == 0
    assert re.fullmatch(
        r"iris: 4 configurations, 0 of 32 hops; submitted .+ ago, waiting for its first pod\n", capsys.readouterr().out
    )
    for command in (["results", "iris"], ["best", "iris"], ["logs", "iris", "1"]):
        assert main(command) == 2
        assert "it was submitted and waits for its first pod" in capsys.readouterr().err
    assert main(["cancel", "iris"]) == 0
    assert main(["watch", "iris"]) == 130
    assert capsys.readouterr().err.startswith("Cancelled; no hop was done yet.")


def test_a_longer_run_that_was_submitted_can_be_cancelled(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = DirectoryStore(place / "runs")
    whole_run(store)
    submit(store)
    assert main(["cancel", "iris"]) == 0
    assert "there is nothing to cancel" in capsys.readouterr().out
    submit(store, iterations=8)
    assert main(["cancel", "iris"]) == 0
    assert "modelhopper resume iris --cluster cluster.yaml goes on." in capsys.readouterr().out
    assert store.list(NAMES.cancelled())


def test_an_experiment_that_is_being_built_is_not_unknown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DirectoryStore(place / "runs").put(NAMES.log("station-0.log"), b"building\n")
    assert main(["status", "iris"]) == 2
    assert "iris has not begun: its configurations are being built" in capsys.readouterr().err
    assert main(["logs", "iris"]) == 0
    assert capsys.readouterr().out == "station-0.log\n  building\n"


def test_waiting_gives_up_after_its_time_and_returns_how_far_the_run_is() -> None:
    run = SyntheticRun(MemoryStore())
    run.trained(1, 3)
    status = open_run("iris", run.store).wait(timeout_s=0, progress=False)
    assert (status.is_complete, status.hops_done) == (False, 3)
    whole_run(run.store)
    assert open_run("iris", run.store).wait(progress=False).is_complete


def test_waiting_for_a_run_that_is_cancelled_raises() -> None:
    run = SyntheticRun(MemoryStore())
    opened = open_run("iris", run.store)
    assert opened.cancel()
    with pytest.raises(Cancelled, match="no hop was done yet"):
        opened.wait(progress=False)
    assert opened.status().is_cancelled
    assert opened.status().line().endswith(", cancelled")


def test_ctrl_c_only_stops_watching(place: Path) -> None:
    run = SyntheticRun(DirectoryStore(place / "runs"))
    command = [sys.executable, "-m", "modelhopper.command", "watch", "iris", "--interval", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("iris: 4 configurations")
        assert process.stdout.readline().startswith("at hop 0 of 32")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "Stopped watching; iris is not touched.\n")
    assert not Reader(run.store, "iris").is_cancelled()


def test_thousands_of_logs_are_not_all_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = whole_run(DirectoryStore(place / "runs"))
    for pod in range(40):
        run.store.put(NAMES.log(f"iris-hop-{pod:04d}.log"), f"first of {pod}\nlast of {pod}\n".encode())
    assert main(["logs", "iris"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 16 * 3 + 1
    assert lines[-1] == "and 24 older logs; --file shows all of one"
    assert main(["logs", "iris", "--file", "iris-hop-0007.log"]) == 0
    assert capsys.readouterr().out == "first of 7\nlast of 7\n"
    assert main(["logs", "iris", "--station", "2"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("iris-hop-0007.log and 32 more.")


def test_a_configuration_that_is_going_on_says_what_is_due(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = SyntheticRun(DirectoryStore(place / "runs"))
    run.trained(1, 3)
    waits(run, 1, 3)
    assert main(["logs", "iris", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  due now: training from hop 3, at station 1"


def test_an_experiment_that_disappears_while_it_is_waited_for_is_told() -> None:
    store = MemoryStore()
    submit(store)
    with pytest.raises(UserError, match="iris is no longer in the store"):
        follow(Reader(store, "iris"), "quiet", at_each_pause(lambda: store.delete(NAMES.submission())))


@pytest.mark.parametrize("torn", [b"", b'{"configuration":1,"en', bytes(90)], ids=["empty", "half", "zeros"])
def test_a_line_of_the_journal_that_a_power_failure_tore_is_passed_over(torn: bytes) -> None:
    store = MemoryStore()
    run = SyntheticRun(store)
    run.trained(1, 3)
    store.put(NAMES.journal(1, 2), torn)
    assert [stay.first_hop for stay in Reader(store, "iris").stays(1)] == [0, 2]
    store.put(NAMES.outcome(1), torn)
    with pytest.raises(CorruptObject):
        Reader(store, "iris").outcomes()
