"""Reading results: leaderboard, history, status and files, at every stage of a run."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from modelhopper.results import Run, open_run
from modelhopper_contract.errors import UserError
from modelhopper_contract.metrics import is_lower_better
from modelhopper_contract.store import Entry
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.stores.memory import MemoryStore
from tests.sdk.synthetic import BEGAN_S, SyntheticRun, whole_run

KERAS_LOWER = [
    *("mse", "mae", "MeanSquaredError", "RootMeanSquaredError", "mean_absolute_percentage_error", "KLDivergence"),
    *("LogCoshError", "BinaryCrossentropy", "categorical_crossentropy", "Poisson", "Hinge", "SquaredHinge"),
    *("FalsePositives", "loss", "digit_loss", "digit_mae", "parity_mean_squared_error", "MeanRelativeError"),
]
KERAS_HIGHER = [
    *("accuracy", "AUC", "Precision", "Recall", "F1Score", "TopKCategoricalAccuracy", "CosineSimilarity", "R2Score"),
    *("IoU", "MeanIoU", "TruePositives", "TrueNegatives", "SensitivityAtSpecificity", "schema_accuracy", "mine"),
]


def run_of(written: SyntheticRun) -> Run:
    return Run(written.store, written.names.experiment)


def order(run: Run, metric: str | None = None, *, lower_is_better: bool | None = None) -> list[int]:
    return [row.number for row in run.leaderboard(metric, lower_is_better=lower_is_better).rows]


def test_the_best_comes_first_equal_ones_by_loss_and_failed_ones_last() -> None:
    assert order(run_of(whole_run(MemoryStore()))) == [2, 4, 1, 3]


def test_equal_metric_and_loss_are_ordered_by_number() -> None:
    written = SyntheticRun(MemoryStore())
    for number in (4, 3, 2, 1):
        written.finished(number, accuracy=0.5, loss=0.5)
    assert order(run_of(written)) == [1, 2, 3, 4]


def test_nan_comes_after_every_number_and_before_failures() -> None:
    written = SyntheticRun(MemoryStore())
    written.finished(1, accuracy=math.nan, loss=math.nan)
    written.finished(2, accuracy=0.1, loss=9.0)
    written.failed(3, 1)
    assert order(run_of(written)) == [2, 1, 4, 3]
    assert order(run_of(written), "loss") == [2, 1, 4, 3]


def test_a_loss_is_better_when_lower() -> None:
    assert order(run_of(whole_run(MemoryStore())), "training loss") == [2, 4, 1, 3]


def test_the_direction_can_be_said() -> None:
    assert order(run_of(whole_run(MemoryStore())), "accuracy", lower_is_better=True)[:3] == [4, 1, 2]


def test_a_plain_name_means_validation_data_and_a_full_one_what_it_says() -> None:
    written = SyntheticRun(MemoryStore())
    written.finished(1, accuracy=0.9, training_accuracy=0.1, loss=1)
    written.finished(2, accuracy=0.1, training_accuracy=0.9, loss=1)
    run = run_of(written)
    assert order(run, "accuracy")[0] == order(run, "validation accuracy")[0] == 1
    assert order(run, "training accuracy")[0] == 2


def test_without_validation_data_everything_is_training_data() -> None:
    written = SyntheticRun(MemoryStore(), data={"train": "train"})
    written.finished(1, accuracy=0.9, loss=1)
    board = run_of(written).leaderboard()
    assert str(board.metric) == "training accuracy"
    assert "validation" not in board.text()


def test_the_objective_ranks_by_default() -> None:
    written = SyntheticRun(MemoryStore(), objective="training loss")
    written.finished(1, accuracy=0.9, loss=2)
    written.finished(2, accuracy=0.1, loss=1)
    assert order(run_of(written))[0] == 2


def test_the_first_compiled_metric_ranks_by_default_not_the_first_in_the_alphabet() -> None:
    written = SyntheticRun(MemoryStore(), compile={"loss": "mse", "metrics": ["mae", "accuracy"]})
    written.finished(1, mae=1, accuracy=1, loss=1)
    written.finished(2, mae=0, accuracy=0, loss=1)
    assert str(run_of(written).leaderboard().metric) == "validation mae"
    assert order(run_of(written))[0] == 2


def test_with_several_outputs_the_metric_carries_its_outputs_name() -> None:
    written = SyntheticRun(MemoryStore())
    written.finished(1, digit_accuracy=0.5, parity_accuracy=0.7, digit_loss=1, parity_loss=1, loss=2)
    assert str(run_of(written).leaderboard().metric) == "validation digit_accuracy"


def test_an_unknown_metric_is_told_with_the_recorded_ones_and_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        run_of(whole_run(MemoryStore())).leaderboard("validation acuracy")
    assert str(caught.value) == (
        "`validation acuracy` is not a recorded metric: there are validation accuracy, validation loss, "
        "training accuracy, training loss. Did you mean `validation accuracy`?"
    )


def test_an_objective_that_is_not_recorded_does_not_hide_how_far_a_run_is() -> None:
    written = SyntheticRun(MemoryStore(), objective="validation auc")
    written.finished(1, accuracy=0.9, loss=1)
    assert run_of(written).status().finished == 1


@pytest.mark.parametrize("name", KERAS_LOWER)
def test_losses_errors_and_divergences_are_better_when_lower(name: str) -> None:
    assert is_lower_better(name)


@pytest.mark.parametrize("name", KERAS_HIGHER)
def test_everything_else_is_better_when_higher(name: str) -> None:
    assert not is_lower_better(name)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=4, max_size=4))
def test_whatever_the_values_the_rows_are_sorted(values: list[float]) -> None:
    written = SyntheticRun(MemoryStore())
    for number, value in enumerate(values, start=1):
        written.finished(number, accuracy=value, loss=1)
    found = [row.metrics["validation accuracy"] for row in run_of(written).leaderboard().rows]
    numbers = [value for value in found if not math.isnan(value)]
    assert numbers == sorted(numbers, reverse=True)
    assert all(math.isnan(value) for value in found[len(numbers) :])


def test_a_row_says_what_varies_how_far_and_how_long() -> None:
    row = run_of(whole_run(MemoryStore())).leaderboard().rows[0]
    assert row.settings == {"model": "small", "batch_size": 8}
    assert (row.iteration, row.train_s, row.state) == (4, 16.0, "finished")


def test_the_table_reads_well() -> None:
    assert run_of(whole_run(MemoryStore())).leaderboard().text() == (
        "configuration                validation       training\n"
        "                             accuracy   loss  accuracy   loss  time\n"
        "2  small  batch 8               0.950  0.200     0.950  0.200  16 s\n"
        "4  deep   batch 8  layers 3     0.900  0.250     0.900  0.250  16 s\n"
        "1  small  batch 4               0.900  0.300     0.900  0.300  16 s\n"
        "3  deep   batch 4  layers 3  failed at hop 3: loss is NaN (modelhopper logs iris 3)"
    )


def test_a_narrow_table_keeps_the_metric_that_ranks() -> None:
    lines = run_of(whole_run(MemoryStore())).leaderboard().text(width=42).splitlines()
    assert max(map(len, lines)) <= 42
    assert "accuracy" in lines[1]
    assert "loss" not in lines[1]


def test_a_limit_says_how_many_rows_are_left_out() -> None:
    assert run_of(whole_run(MemoryStore())).leaderboard().text(limit=1).splitlines()[-1] == "and 3 more"


def test_rich_and_notebooks_show_the_same_table() -> None:
    board = run_of(whole_run(MemoryStore())).leaderboard()
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(board)
    assert [line.rstrip() for line in console.export_text().splitlines()] == board.text().splitlines()
    assert board._repr_html_().count("<tr>") == 5


def test_html_escapes_what_users_wrote() -> None:
    written = SyntheticRun(MemoryStore())
    written.failed(1, 1, reason="<script>")
    assert "<script>" not in run_of(written).leaderboard()._repr_html_()


def test_history_has_every_evaluated_iteration_and_its_times() -> None:
    points = run_of(whole_run(MemoryStore())).history(2).rows
    assert [(point.number, point.iteration) for point in points] == [(2, 2), (2, 4)]
    assert [point.train_s for point in points] == [8.0, 16.0]
    assert [point.wall_s for point in points] == [10.0, 20.0]
    assert points[0].metrics["training loss"] == 0.2


def test_history_without_a_number_is_of_all_configurations() -> None:
    assert [point.number for point in run_of(whole_run(MemoryStore())).history().rows] == [1, 1, 2, 2, 4, 4]


def test_a_run_that_has_only_begun_can_be_read() -> None:
    run = run_of(SyntheticRun(MemoryStore()))
    status = run.status()
    assert (status.configurations, status.going_on, status.hops_done, status.hops) == (4, 4, 0, 32)
    assert status.best is None
    assert [row.iteration for row in run.leaderboard().rows] == [0, 0, 0, 0]
    assert run.history().rows == ()
    with pytest.raises(UserError, match="no best configuration: nothing is evaluated yet"):
        run.best()


def test_a_run_that_goes_on_shows_what_there_is() -> None:
    written = SyntheticRun(MemoryStore())
    written.trained(1, 5)
    written.evaluated(1, 2, accuracy=0.8, loss=0.5)
    written.trained(2, 3)
    run = run_of(written)
    status = run.status()
    assert (status.hops_done, status.iteration, status.stations) == (8, 0, (0, 1))
    assert status.best is not None
    assert status.best.number == 1
    assert [row.iteration for row in run.leaderboard().rows] == [2, 1, 0, 0]


def test_what_is_read_twice_is_read_anew() -> None:
    written = SyntheticRun(MemoryStore())
    run = run_of(written)
    assert run.status().finished == 0
    written.finished(1, accuracy=1, loss=0)
    assert run.status().finished == 1
    assert run.best().number == 1


def test_status_of_a_complete_run_counts_no_hops_that_will_never_be_done() -> None:
    status = run_of(whole_run(MemoryStore())).status()
    assert (status.finished, status.failed, status.going_on) == (3, 1, 0)
    assert status.hops_done == status.hops == 27
    assert status.is_complete


def test_status_says_when_something_last_happened() -> None:
    status = run_of(whole_run(MemoryStore())).status()
    now_s = status.changed.timestamp() + 150
    assert status.line(now_s) == (
        "iris: 4 configurations, 27 of 27 hops, 1 failed, best: configuration 2, validation accuracy 0.950; "
        "complete since 2 m 30 s"
    )


def test_a_run_in_which_all_failed_has_no_best() -> None:
    written = SyntheticRun(MemoryStore())
    for number in (1, 2, 3, 4):
        written.failed(number, 1)
    with pytest.raises(UserError, match="every configuration failed"):
        run_of(written).best()


def test_a_run_is_opened_by_name_or_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole_run(DirectoryStore(tmp_path / "runs"))
    for name in ("iris", "runs/iris", "runs/iris/", str(tmp_path / "runs" / "iris")):
        assert open_run(name).best().number == 2
    assert open_run("iris", store="runs").url == str(tmp_path / "runs" / "iris")


def test_an_unknown_name_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    whole_run(DirectoryStore(tmp_path))
    with pytest.raises(UserError, match=r"has no experiment `iriss`: it has iris\. Did you mean `iris`\?"):
        open_run("iriss", store=str(tmp_path))


def test_a_store_without_experiments_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no experiment `iris`: it has none"):
        open_run("iris", store=str(tmp_path / "nothing"))


def test_a_number_that_is_not_there_is_told_with_the_allowed_ones() -> None:
    run = run_of(whole_run(MemoryStore()))
    with pytest.raises(UserError, match="no configuration 5: they are numbered from 1 to 4"):
        run.configuration(5)


def test_a_failed_configuration_tells_why_and_gives_no_model() -> None:
    candidate = run_of(whole_run(MemoryStore())).configuration(3)
    assert candidate.failure is not None
    assert candidate.failure.traceback == "Traceback of it\n"


@pytest.mark.parametrize("what", ["leaderboard", "history"])
def test_files_hold_the_same_rows_in_every_format(what: str, tmp_path: Path) -> None:
    run = run_of(whole_run(MemoryStore()))
    for form in ("csv", "json", "parquet"):
        run.export(tmp_path / f"out.{form}", what)
    read = json.loads((tmp_path / "out.json").read_text())
    with (tmp_path / "out.csv").open() as file:
        assert [row["configuration"] for row in csv.DictReader(file)] == [str(row["configuration"]) for row in read]
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == read


def test_a_file_says_nan_as_null(tmp_path: Path) -> None:
    written = SyntheticRun(MemoryStore())
    written.finished(1, accuracy=math.nan, loss=1)
    run_of(written).export(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())[0]["validation accuracy"] is None


def test_settings_of_several_kinds_fit_into_one_column(tmp_path: Path) -> None:
    space = {"model": ["small"], "class_weight": [None, "balanced", {"a": 2.0}]}
    written = SyntheticRun(MemoryStore(), search={"method": "grid", "space": space})
    run_of(written).export(tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet")["class_weight"].to_pylist() == [None, "balanced", '{"a": 2.0}']


def test_an_unknown_ending_names_the_allowed_ones_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"let it end in \.csv, \.json, \.parquet\. Did you mean `parquet`\?"):
        run_of(whole_run(MemoryStore())).export(tmp_path / "out.parqet")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        run_of(whole_run(MemoryStore())).export(tmp_path / "no" / "out.csv")


def test_a_data_frame_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pip install pandas"):
        run_of(whole_run(MemoryStore())).leaderboard().to_pandas()


def test_began_s_is_what_wall_time_counts_from() -> None:
    written = whole_run(MemoryStore())
    stays = run_of(written).reader.stays()
    assert min(stay.started_s for stay in stays) == BEGAN_S


class CountingStore(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.listings = self.reads = 0

    def list(self, prefix: str) -> list[Entry]:
        self.listings += 1
        return super().list(prefix)

    def get(self, name: str) -> bytes:
        self.reads += 1
        return super().get(name)


def test_more_configurations_need_no_more_listings_and_nothing_is_fetched_twice() -> None:
    counted = []
    for count in (2, 40):
        store = CountingStore()
        written = SyntheticRun(store, search={"method": "grid", "space": {"batch_size": list(range(1, count + 1))}},
                               models="models.py:mlp")  # fmt: skip
        for number in range(1, count + 1):
            written.finished(number, accuracy=0.5, loss=1)
        run, store.listings = run_of(written), 0
        run.leaderboard()
        counted.append(store.listings)
        store.reads = 0
        run.leaderboard()
        assert store.reads == 1  # the specification
    assert counted[0] == counted[1]
