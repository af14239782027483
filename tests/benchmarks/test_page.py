"""The page of benchmarks keeps what nobody measures anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.benchmarks.scripts import BENCHMARKS, script

GROUND = "Measured on a machine."


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("page", monkeypatch)


@pytest.fixture
def empty(page: ModuleType) -> str:
    return "\n\n".join(["# Benchmarks", *page.TABLE, "## What is compared", *page.DETAILS, "The end.\n"])


def section(page: ModuleType, name: str, measured: str = "1 s") -> object:
    row = page.Row(f"{name}'s work", measured, "2 s", "0.50", "at most 0.60", reached=True)
    return page.Section(name, [row], [f"How {name} was measured.", "", "#### Finer", f"{name}: {measured}"])


def test_a_section_has_its_row_above_and_its_details_below(page: ModuleType, empty: str) -> None:
    text = page.replaced(empty, section(page, "iris"), GROUND)
    row = "| [iris's work](#iris) | 1 s | 2 s | 0.50 | at most 0.60 | yes |"
    assert text.index(row) < text.index("## What is compared") < text.index("### iris") < text.index("How iris was")
    assert text.rstrip().endswith("The end.")
    assert GROUND in text


def test_other_sections_keep_their_figures(page: ModuleType, empty: str) -> None:
    text = empty
    for name, measured in (("iris", "1 s"), ("hop", "7 ms"), ("iris", "3 s")):
        text = page.replaced(text, section(page, name, measured), f"{name} in {measured}")
    assert text.count("iris's work") == text.count("### iris") == text.count("### hop") == 1
    assert "| 7 ms |" in text
    assert "hop: 7 ms" in text
    assert "hop in 7 ms" in text
    assert "1 s |" not in text.replace("3 s |", "")
    assert "iris in 1 s" not in text


def test_sections_stand_in_one_order_whoever_is_written_last(page: ModuleType, empty: str) -> None:
    names = ["new", *reversed(page.ORDER)]
    text = empty
    for name in names:
        text = page.replaced(text, section(page, name), GROUND)
    order = [*page.ORDER, "new"]
    assert sorted(order, key=lambda name: text.index(f"### {name}\n")) == order
    assert sorted(order, key=lambda name: text.index(f"(#{name})")) == order


def test_writing_the_same_again_changes_nothing(page: ModuleType, empty: str) -> None:
    once = page.replaced(empty, section(page, "iris"), GROUND)
    assert page.replaced(once, section(page, "iris"), GROUND) == once


def test_a_row_without_a_target_is_neither_reached_nor_missed(page: ModuleType) -> None:
    row = page.Row("work", "1 s", "", "", "", reached=True)
    assert page.line("", row) == "| work | 1 s |  |  |  |  |"


def test_a_page_without_marks_is_refused(page: ModuleType) -> None:
    with pytest.raises(SystemExit, match="lacks a mark"):
        page.replaced("# Benchmarks\n", section(page, "iris"), GROUND)


def test_the_documentation_has_the_marks(page: ModuleType) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert [text.count(mark) for mark in (*page.TABLE, *page.DETAILS)] == [1, 1, 1, 1]


def test_every_benchmark_of_the_order_is_a_script(page: ModuleType) -> None:
    assert [name for name in page.ORDER if not (BENCHMARKS / f"{name}.py").is_file()] == []


def test_an_unknown_benchmark_is_refused_with_those_that_there_are() -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--only", "iris,hops"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "there is no benchmark hops; there are iris, fraud" in done.stderr


def test_what_a_benchmark_writes_for_the_runner_is_read_again(
    page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["bench.py", "--json", str(path), "--repeats", "2"])
    page.main(lambda repeats: section(page, "hop", f"{repeats} ms"))
    assert page.loaded(path) == section(page, "hop", "2 ms")
    assert "| hop's work | 2 ms |" in capsys.readouterr().out
