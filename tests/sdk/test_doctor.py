"""The doctor: what a machine is, what a run would do on it, and how an experiment is best compiled there."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelhopper.command import main
from modelhopper.diagnosis import diagnose, plan
from modelhopper.display.doctor_table import experiment_text, numbers, text, way
from modelhopper.examining import FUSE, PRECISION, XLA, Examination, opened
from modelhopper.machine import Gpu, Machine, Sight, _complaint, _core_quota, installed_gpus
from modelhopper.store_trial import StoreTrial, try_store
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.records import Configuration, Kind, Measurement, Program, Variant
from modelhopper_contract.stores import open_store
from tests.sdk.conftest import Work

Said = pytest.CaptureFixture[str]

GB = 1_000_000_000
STORE = StoreTrial("/data/runs", 80 * GB, 0.02, 400.0)
SIGHT = Sight("2.21.0", "3.15.0", "tensorflow", False, None, None, (), None)
CUDA = replace(SIGHT, is_cuda_build=True, cuda="12.5")
H100 = Gpu("NVIDIA H100", "81559 MiB", "550.90.07")
CPUS = Machine(
    system="Linux x86_64",
    python="3.11.7",
    modelhopper="0.1.0",
    build="tensorflow-cpu",
    sight=SIGHT,
    blindness=None,
    cores=4,
    cores_installed=8,
    core_quota=None,
    memory_bytes=16 * GB,
    memory_free_bytes=9 * GB,
    gpus=(),
    shown_gpus=0,
    missing_extras=(),
)
GPUS = replace(CPUS, build="tensorflow", sight=replace(CUDA, gpus=("NVIDIA H100",) * 2), gpus=(H100,) * 2, shown_gpus=2)


# What is wrong, and what could be better


@pytest.mark.parametrize("machine", [CPUS, GPUS])
def test_a_good_machine_has_no_trouble(machine: Machine) -> None:
    found = diagnose(machine, STORE)
    assert (found.troubles, found.advice, found.exit_code) == ((), (), 0)


@pytest.mark.parametrize(
    ("machine", "complaint"),
    [
        (replace(CPUS, build=None, sight=None), r"TensorFlow is not installed.*pip install 'modelhopper\[cpu\]'"),
        (replace(CPUS, sight=None, blindness="ImportError: libfoo"), "TensorFlow cannot be used: ImportError: libfoo"),
        (replace(GPUS, sight=SIGHT), r"cannot use it: it is built without CUDA.*`devices: \{kind: cpu\}`"),
        (
            replace(GPUS, sight=replace(CUDA, complaint="Cannot dlopen some GPU libraries. Please ...")),
            r"CUDA's libraries are not there; pip install 'modelhopper\[gpu\]'",
        ),
        (
            replace(GPUS, sight=replace(CUDA, complaint="failed call to cuInit: CUDA_ERROR_NO_DEVICE")),
            r"CUDA_ERROR_NO_DEVICE \(TensorFlow wants CUDA 12.5, the driver is 550.90.07\); a newer driver",
        ),
        (replace(GPUS, sight=CUDA), "it does not say why"),
    ],
)
def test_what_keeps_a_run_from_working_is_said_with_what_to_do(machine: Machine, complaint: str) -> None:
    found = diagnose(machine, STORE)
    assert found.exit_code == 2
    said = text(found, store_was_given=True)
    assert re.search(complaint, said.splitlines()[0])
    assert "A run starts" not in said


def test_a_store_that_cannot_be_used_is_a_trouble() -> None:
    found = diagnose(CPUS, StoreTrial("s3://models", None, None, None, "s3://models: no answer", 75))
    assert found.exit_code == 75
    assert text(found, store_was_given=True).startswith("s3://models: no answer\n")


@pytest.mark.parametrize(
    ("machine", "store", "advice"),
    [
        (replace(GPUS, build="tensorflow-cpu", sight=SIGHT), STORE, "The GPU is not used: TensorFlow is the build"),
        (replace(GPUS, shown_gpus=0), STORE, "CUDA_VISIBLE_DEVICES hides it"),
        (replace(CPUS, core_quota=1.5), STORE, "may use 1.5 cores on average, and 4 stations would share them"),
        (CPUS, replace(STORE, large_s=2.4), "10 MB are safe after 2.4 s"),
        (CPUS, replace(STORE, free_bytes=GB), "There is little room in the store: 1.0 GB"),
    ],
)
def test_what_could_be_better_is_no_trouble(machine: Machine, store: StoreTrial, advice: str) -> None:
    found = diagnose(machine, store)
    assert found.exit_code == 0
    (said,) = found.advice
    assert advice in said


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (CPUS, "4 stations, one for each core, each with one thread, because this machine shows no GPU."),
        (GPUS, "2 stations, one for each GPU; `devices: {per_gpu: 2}` lets two share one."),
        (replace(GPUS, build="tensorflow-cpu"), "because TensorFlow is the build for CPUs."),
        (replace(GPUS, shown_gpus=0), "because CUDA_VISIBLE_DEVICES hides the GPU."),
    ],
)
def test_what_a_run_would_do_is_said_with_the_reason(machine: Machine, expected: str) -> None:
    assert plan(machine).endswith(expected)


def test_a_machine_is_told_in_a_few_lines() -> None:
    machine = replace(GPUS, missing_extras=("search",))
    assert text(diagnose(machine, STORE), store_was_given=False).splitlines() == [
        "  system      Linux x86_64, Python 3.11.7, modelhopper 0.1.0",
        "  TensorFlow  2.21.0, the build for GPUs, CUDA 12.5 (tensorflow); Keras 3.15.0",
        "  cores       4 of 8",
        "  GPUs        2 x NVIDIA H100, 81559 MiB, driver 550.90.07; TensorFlow can use 2",
        "  memory      16.0 GB, of which 9.0 GB are free",
        (
            "  store       /data/runs: 80.0 GB free, 10 MB are safe after 20.0 ms, 400 small records a second "
            "(--store tries another)"
        ),
        "  extras      search is missing, for `tpe` and `optuna`: pip install 'modelhopper[search]'",
        "",
        "A run starts 2 stations, one for each GPU; `devices: {per_gpu: 2}` lets two share one.",
    ]


# Looking


def test_gpus_are_those_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "NVIDIA H100, 81559 MiB, 550.90.07"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed_gpus() == (H100,)
    tool.write_text(
        '#!/bin/sh\necho "NVIDIA-SMI has failed because it could not communicate with the driver"\nexit 9\n'
    )
    assert installed_gpus() == ()


@pytest.mark.parametrize(("said", "cores"), [("max 100000", None), ("150000 100000", 1.5), ("", None)])
def test_the_cores_of_a_container_are_read(tmp_path: Path, said: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(said)
    assert _core_quota(tmp_path / "cpu.max") == cores
    assert _core_quota(tmp_path / "nothing") is None


def test_only_what_tensorflow_says_of_gpus_is_a_complaint() -> None:
    said = "I0000 cpu_guard.cc:1] uses AVX2\nW0000 gpu_device.cc:2341] Cannot dlopen some GPU libraries. Skipping\n"
    assert _complaint(said) == "Cannot dlopen some GPU libraries. Skipping"
    assert _complaint("I0000 cpu_guard.cc:1] uses AVX2\n") is None


def test_trying_a_store_out_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "not" / "there"):
        found = try_store(str(folder))
        assert (found.url, found.problem) == (str(folder), None)
        assert found.free_bytes
        assert found.large_s
        assert found.small_per_s
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_trying_a_bucket_out_leaves_nothing(s3_url: str) -> None:
    found = try_store(s3_url)
    assert (found.problem, found.free_bytes) == (None, None)
    assert found.large_s
    assert open_store(s3_url).list("") == []


def test_a_store_that_cannot_be_is_told(tmp_path: Path) -> None:
    found = try_store("ftp://somewhere")
    assert found.exit_code == 2
    assert "`ftp://somewhere` is not a store" in (found.problem or "")


# An experiment


def one(number: int, **compiled: Any) -> Configuration:
    compiled = {"jit_compile": False, "precision": "float32", **compiled}
    fit = {"batch_size": 4, "epochs": 1}
    return Configuration(number=number, name=f"m {number}", model="m", parameters={}, compile=compiled, fit=fit)


def examination(*variants: Variant, **changes: Any) -> Examination:
    value = {"name": "iris", "data": {"train": "t"}, "models": "m.py:m"}
    experiment = validated(Experiment, {**value, "search": {"method": "grid", "space": {"batch_size": [4]}}, **changes})
    kinds = (Kind(configurations=(1, 2, 4), variants=variants),)
    measurement = Measurement(device="CPU", rows=100, kinds=kinds)
    return Examination(experiment, (one(1), one(2), one(4)), measurement, 1, 4)


PLAIN = Variant(program=Program(), seconds=0.5, compile_s=0.4)
FUSED = Variant(program=Program(lanes=3), seconds=0.05, compile_s=1.2)
BFLOAT16 = Variant(program=Program(precision="mixed_bfloat16"), seconds=0.25, compile_s=0.5)
COMPILED = Variant(program=Program(jit_compile=True), note="there is not enough memory on the device")


def test_an_experiment_is_told_in_a_table_for_each_kind() -> None:
    assert experiment_text(examination(PLAIN, FUSED, BFLOAT16, COMPILED)).splitlines() == [
        "iris: 3 configurations of 1 kind, measured on this machine's CPU",
        "",
        "configurations 1 to 2, 4: m 1, and 2 alike",
        "                         iteration  of alone  compiling",
        "  alone                     2.00 s      1.00     0.40 s",
        "  3 side by side            0.20 s      0.10     1.20 s",
        "  alone, mixed_bfloat16     1.00 s      0.50     0.50 s",
        "  alone, XLA             there is not enough memory on the device",
        "  fuse: auto takes 3 side by side: 0.10 of the time",
        "  jit_compile: auto takes alone, as it is: with compiling, nothing that was tried makes the run shorter",
        "  precision: auto takes alone, mixed_bfloat16: 0.50 of the time",
        "",
        "Fastest here, with results that differ by rounding only (a precision would change what is learnt):",
        "  fuse: 3",
    ]


def test_where_nothing_is_faster_nothing_is_advised() -> None:
    slow = FUSED.model_copy(update={"seconds": 0.6})
    found = examination(PLAIN, slow)
    assert found.lines() == []
    assert experiment_text(found).endswith("but for other precisions, which change what is learnt.")


def test_xla_that_is_faster_is_advised_beside_lanes() -> None:
    both = Variant(program=Program(lanes=3, jit_compile=True), seconds=0.01, compile_s=1.0)
    compiled = Variant(program=Program(jit_compile=True), seconds=0.2)
    assert examination(PLAIN, FUSED, compiled, both).lines() == ["fuse: 3", "compile: {jit_compile: true}"]


def test_what_varies_in_the_search_stays_as_it_is() -> None:
    found = [one(1, precision="float32"), one(2, precision="mixed_float16")]
    experiment, changed = opened(examination(PLAIN).experiment, found, (FUSE, XLA, PRECISION))
    assert experiment.fuse == "auto"
    assert [each.compile["precision"] for each in changed] == ["float32", "mixed_float16"]
    assert {each.compile["jit_compile"] for each in changed} == {"auto"}


@pytest.mark.parametrize(("found", "said"), [((3,), "3"), ((1, 2, 3), "1 to 3"), ((1, 3, 4, 9), "1, 3 to 4, 9")])
def test_numbers_are_told_in_ranges(found: tuple[int, ...], said: str) -> None:
    assert numbers(found) == said


def test_a_program_is_told_in_words() -> None:
    assert way(Program()) == "alone"
    assert way(Program(lanes=8, jit_compile=True, precision="mixed_float16")) == "8 side by side, XLA, mixed_float16"


def test_a_mistake_in_the_file_is_told_before_anything_is_looked_at(work: Work, capsys: Said) -> None:
    assert main(["doctor", work.experiment(compile={"lose": "mse"})]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "experiment.yaml" in said.err
    assert "`lose`" in said.err


def test_the_command_tells_the_trouble_and_ends_with_its_code(
    work: Work, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhopper.machine.look", lambda: replace(CPUS, build=None, sight=None))
    assert main(["doctor", work.experiment(), "--store", "runs"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("TensorFlow is not installed")
    assert said.err == ""
    assert main(["doctor", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["troubles"][0]["exit_code"] == 2


@pytest.mark.slow
@pytest.mark.xdist_group("tensorflow")
def test_the_command_looks_at_this_machine(work: Work, capsys: Said) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["sight"]["keras"]
    assert found["store"]["large_s"] > 0
    assert found["stations"] >= 1
    assert not (work.folder / "runs").exists()


@pytest.mark.slow
@pytest.mark.xdist_group("tensorflow")
def test_the_command_times_an_experiment_and_stores_nothing(work: Work, capsys: Said) -> None:
    before = sorted(path.name for path in work.folder.iterdir())
    rates = [{"name": "Adam", "learning_rate": [0.1, 0.01]}]
    assert main(["doctor", work.experiment(search={"method": "grid", "space": {"optimizer": rates}}), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["experiment"]
    (kind,) = found["kinds"]
    assert kind["configurations"] == [1, 2]
    assert {(each["lanes"], each["jit_compile"]) for each in kind["variants"]} >= {(1, False), (2, False), (1, True)}
    assert kind["variants"][0]["iteration_s"] > 0
    assert kind["chosen"].keys() == {FUSE, XLA, PRECISION}
    left = sorted(path.name for path in work.folder.iterdir() if path.name != "__pycache__")
    assert left == sorted([*before, "experiment.yaml"])
