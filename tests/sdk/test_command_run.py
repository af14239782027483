"""Real runs in child processes: each imports TensorFlow, so there are few of them, and each makes several claims."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from modelhopper.results import open_run
from modelhopper_contract.stores import open_store
from tests.sdk.conftest import Work

COMMAND = [sys.executable, "-m", "modelhopper.command"]


def finished(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=240)


def stopped(number: signal.Signals, when: Callable[[str], bool], *arguments: str) -> tuple[list[str], str, int]:
    """Run the command, send it a signal at the first line that `when` is about; return what it said, and its code."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line.strip())
        if when(line):
            process.send_signal(number)
            break
    rest, errors = process.communicate(timeout=60)
    return said + rest.splitlines(), errors, process.returncode


def test_a_stopped_run_goes_on_and_finishes(work: Work) -> None:
    file = work.experiment(iterations=200, evaluate_every=50)

    said, errors, code = stopped(signal.SIGINT, lambda line: line.startswith("hops "), "run", file)
    assert code == 130
    assert said[0] == "iris: 2 configurations, 200 iterations, 2 shards: 800 hops on 2 stations"
    assert any(re.fullmatch(r"built 2 configurations in .+ s", line) for line in said)
    first = re.fullmatch(
        r"Stopped; everything up to hop ([\d,]+) is safe. Run the same command to go on.\n"
        r"|Stopped; no hop was done yet. Run the same command to begin again.\n",
        errors,
    )
    assert first, errors

    said, errors, code = stopped(signal.SIGTERM, lambda line: line.startswith("hops "), "run", file)
    assert code == 75
    assert errors.startswith("Stopped; everything up to hop ")
    if first[1]:
        assert said[1] == f"going on from hop {first[1]} of 800"

    done = finished("run", file)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].startswith("going on from hop ")
    assert "\x1b" not in done.stdout
    assert re.fullmatch(
        r"2 of 2 finished, the last [\d,]+ hops in .+; stations were busy \d+ % of it. Results in runs/iris", lines[-2]
    )
    assert lines[-1] == "Next: modelhopper best iris --export best.keras"
    assert {row.state for row in open_run("iris").leaderboard().rows} == {"finished"}

    again = finished("run", file)
    assert again.returncode == 0
    assert again.stdout.splitlines()[1] == "every configuration had ended before; nothing is left to do"


def test_a_failed_configuration_is_told_and_ends_the_command_with_3(work: Work) -> None:
    optimizers = [{"name": "SGD", "learning_rate": [0.01, 1e38]}]
    file = work.experiment(search={"method": "grid", "space": {"optimizer": optimizers}})
    done = finished("run", file, "--engine", "inline", "--store", "elsewhere")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr  # TensorFlow itself writes there
    lines = done.stdout.splitlines()
    assert lines[0].endswith("8 hops on 1 station")
    failures = [line for line in lines if "failed at hop" in line]
    assert re.match(r"configuration 2 failed at hop \d: ", failures[0])
    assert "modelhopper logs iris 2" in failures[1]
    assert lines[-2].startswith("1 of 2 finished in ")
    assert lines[-2].endswith("Results in elsewhere/iris")
    assert lines[-1] == "Next: modelhopper best elsewhere/iris --export best.keras"


def test_a_mistake_that_only_keras_finds_has_its_line(work: Work) -> None:
    file = work.experiment(compile={"loss": "categorical_crossentropy", "metrics": ["acuracy"]})
    line = 1 + Path(file).read_text().splitlines().index("  - acuracy")
    done = finished("run", file, "--quiet", "--stations", "1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"experiment.yaml:{line}: `acuracy` is not a metric")
    assert done.stderr.count("\n") == 1


def test_a_run_through_s3_leaves_the_same_bytes_as_one_in_a_folder(work: Work, s3_url: str) -> None:
    file = work.experiment()
    for store in (s3_url, "here"):
        done = finished("run", file, "--store", store)
        assert (done.returncode, done.stderr) == (0, "")
    reproducible = ("experiment.json", "configurations", "checkpoints", "metrics", "history", "outcomes")
    contents = []
    for opened in (open_store(s3_url), open_store("here")):
        names = [e.name for e in opened.list("iris/") if e.name.split("/")[1] in reproducible]
        contents.append({name: opened.get(name) for name in names})
    assert len(contents[0]) == 1 + 2 + 2 + 2 * 3 + 2 + 2
    assert contents[0] == contents[1]
    looked = finished("status", "iris", "--store", s3_url)
    assert "2 finished" in looked.stdout
