from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelhopper
from modelhopper.command import main
from modelhopper.command.ending import exit_code
from modelhopper.command.schema import cluster_schema, experiment_schema
from modelhopper.documents import load_cluster
from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import CorruptObject, SpecError, StoreUnavailable
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.spaces import CHOICE_KEYS
from tests.sdk.conftest import Work

Said = pytest.CaptureFixture[str]


def child(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def complaint(capsys: Said, *arguments: str) -> str:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("\n")
    assert said.err.count("\n") == 1
    return said.err.strip()


def test_help_loads_nothing_heavy() -> None:
    done = child(
        "import sys\n"
        "from modelhopper.command import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'keras', 'minio', 'numpy', 'pyarrow', 'pydantic', 'rich', 'tensorflow', 'yaml'}\n"
        "sys.exit(f'loaded: {heavy & sys.modules.keys()}' if heavy & sys.modules.keys() else 0)"
    )
    assert done.returncode == 0, done.stderr
    assert "configs" in done.stdout


def test_every_command_has_one_line_of_help(capsys: Said) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("init", "schema", "pack", "configs", "run", "status", "results", "best", "logs", "export"):
        assert f"\n  {command} " in out


def test_the_version_is_said(capsys: Said) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"modelhopper {modelhopper.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["run"], ["run", "x.yaml", "--fast"], ["run", "x", "--stations", "0"]]
)
def test_a_wrong_command_line_is_a_mistake(arguments: list[str], capsys: Said) -> None:
    assert main(arguments) == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(SpecError("a mistake"), 2), (StoreUnavailable("no answer"), 75), (CorruptObject("damaged"), 1)],
)
def test_each_error_is_one_line_and_its_exit_code(error: Exception, code: int, capsys: Said) -> None:
    assert exit_code(raising(error), debug=False) == code
    assert capsys.readouterr().err == f"{error}\n"


def test_a_bug_is_called_one(capsys: Said) -> None:
    assert exit_code(raising(KeyError("x")), debug=False) == 1
    err = capsys.readouterr().err
    assert err.startswith("KeyError: 'x'. This is a bug")
    assert "--debug" in err
    assert err.count("\n") == 1


def test_an_error_with_a_traceback_of_the_users_says_how_to_see_it(capsys: Said) -> None:
    error = SpecError("building the model raised KeyError: 'x'")
    error.add_note("Traceback of the user's")
    assert exit_code(raising(error), debug=False) == 2
    assert capsys.readouterr().err == f"{error} (--debug shows where)\n"
    assert exit_code(raising(error), debug=True) == 2
    assert "Traceback of the user's" in capsys.readouterr().err


def raising(error: Exception) -> Any:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize("arguments", [["--debug", "configs", "x.yaml"], ["configs", "x.yaml", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(arguments: list[str], capsys: Said) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.strip().splitlines()[-1] == "x.yaml does not exist."


def test_the_environment_turns_debug_on(monkeypatch: pytest.MonkeyPatch, capsys: Said, work: Work) -> None:
    monkeypatch.setenv("MODELHOPPER_DEBUG", "0")
    assert "does not exist" in complaint(capsys, "configs", "x.yaml")
    monkeypatch.setenv("MODELHOPPER_DEBUG", "1")
    assert main(["configs", "x.yaml"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = "import sys; from modelhopper.command import main; sys.exit(main(['schema']))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    os.close(write_end)
    assert done.stderr == ""


def test_configs_lists_what_varies_and_counts_hops(work: Work, capsys: Said) -> None:
    optimizers = [{"name": "Adam", "learning_rate": [0.001, 1e-5]}, "SGD"]
    file = work.experiment(search={"method": "grid", "space": {"optimizer": optimizers, "batch_size": [8, 32]}})
    assert main(["configs", file]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["configuration", "optimizer", "learning_rate", "batch_size"]
    assert lines[3].split() == ["3", "Adam", "1e-05", "8"]
    assert lines[6].split() == ["6", "SGD", "32"]
    assert lines[-1] == "iris: 6 configurations, 2 iterations, 2 shards: 24 hops, 12 model-iterations"


def test_configs_tells_what_is_left_out_of_several_searches(work: Work, capsys: Said) -> None:
    grid = {"method": "grid", "space": {"batch_size": [8, 32]}}
    rate = {"name": "SGD", "learning_rate": {"log": [0.001, 0.1]}}
    random = {"method": "random", "configurations": 3, "space": {"optimizer": [rate]}}
    assert main(["configs", work.experiment(search=[grid, grid, random])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["1", "2", "3", "4", "5"]
    assert lines[-2:] == [
        "2 of 7 say the same as others, and are left out",
        "iris: 5 configurations, 2 iterations, 2 shards: 20 hops, 10 model-iterations",
    ]


def test_a_mistake_in_a_space_is_told_with_its_line(work: Work, capsys: Said) -> None:
    Path("ranges.yaml").write_text(RANGES)
    assert complaint(capsys, "configs", "ranges.yaml").startswith("ranges.yaml:10: search.space: `learning_rate`: ")


RANGES = """\
name: ranges
data: {train: data/train}
models: {small: models.py:mlp}
search:
  method: random
  configurations: 3
  space:
    optimizer:
    - {name: Adam, learning_rate: {log: [0.001, 0.1]}}
    - {name: SGD, learning_rate: {log: [0.1, 0.001]}}
"""


def test_configs_needs_no_packed_data(work: Work, capsys: Said) -> None:
    assert main(["configs", work.experiment(data={"train": "nowhere"})]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("2 configurations, 4 model-iterations; the hops are not known yet: ")
    assert "nowhere does not exist" in last


def test_a_mistake_in_the_file_is_one_line_with_its_place(work: Work, capsys: Said) -> None:
    file = work.experiment(iteration=3)
    said = complaint(capsys, "run", file)
    assert said.startswith("experiment.yaml:")
    assert "`iteration` is not a key of the experiment" in said
    assert said.endswith("Did you mean `iterations`?")


def test_a_missing_model_file_is_found_before_anything_starts(work: Work, capsys: Said) -> None:
    said = complaint(capsys, "run", work.experiment(models={"small": "model.py:mlp"}))
    assert said.startswith("experiment.yaml:6: `model.py` is not there")
    assert said.endswith("Did you mean `models.py`?")
    assert not (work.folder / "runs").exists()


def test_init_writes_files_that_are_an_experiment(work: Work, capsys: Said) -> None:
    assert main(["init", "My new one"]) == 0
    out = capsys.readouterr().out
    assert "modelhopper pack" in out
    assert "modelhopper run" in out
    experiment = modelhopper.load_experiment("My new one/experiment.yaml")
    assert experiment.name == "my-new-one"
    assert main(["configs", "My new one/experiment.yaml"]) == 0
    assert "16 configurations" in capsys.readouterr().out


def test_init_also_writes_a_cluster_when_asked(work: Work, capsys: Said) -> None:
    assert main(["init", "mine", "--cluster"]) == 0
    assert "modelhopper submit mine/experiment.yaml --cluster mine/cluster.yaml" in capsys.readouterr().out
    written = load_cluster("mine/cluster.yaml")
    assert written.store == "s3://modelhopper/experiments"
    lines = Path("mine/cluster.yaml").read_text().splitlines()
    Path("mine/cluster.yaml").write_text("\n".join(_without_mark(line) for line in lines))
    every = load_cluster("mine/cluster.yaml")
    assert every.data.training.claims == "train-{shard}"
    validator = pytest.importorskip("jsonschema").Draft202012Validator(cluster_schema())
    validator.validate(every.model_dump(mode="json", exclude_defaults=True))


def _without_mark(line: str) -> str:
    return line.removeprefix("# ") if ":" in line and not line[2:3].isupper() else line


@pytest.mark.parametrize("there", ["experiment.yaml", "models.py", "cluster.yaml"])
def test_init_overwrites_nothing(there: str, work: Work, capsys: Said) -> None:
    folder = Path("mine")
    folder.mkdir()
    (folder / there).write_text("mine")
    assert "exists already, and nothing was written" in complaint(capsys, "init", "mine", "--cluster")
    assert [path.name for path in folder.iterdir()] == [there]
    assert (folder / there).read_text() == "mine"


def test_the_schema_accepts_every_form_that_the_reader_accepts(work: Work, capsys: Said) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    validator.check_schema(schema)
    deep = {"build": "models.py:mlp", "units": 3}
    listed = {"method": "list", "configurations": [{"batch_size": 4}, {"optimizer": "SGD", "model": {"name": "deep"}}]}
    space = {"model": ["small", {"name": "deep", "units": [3, 4]}], "optimizer": "SGD", "metrics": ["accuracy"]}
    for changes in (
        {},
        {"models": "models.py:mlp"},
        {"models": {"small": "models.py:mlp", "deep": deep}, "search": listed},
        {"models": {"small": "models.py:mlp", "deep": deep}, "search": {"method": "grid", "space": space}},
        {"fit": {"class_weight": "balanced"}, "store": "s3://bucket/prefix", "keep_checkpoints": "iterations"},
    ):
        value = work.value(**changes)
        assert [error.message for error in validator(schema).iter_errors(value)] == []
        modelhopper.Experiment.in_folder(value, work.folder)


def test_the_schema_refuses_what_the_reader_refuses(work: Work) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(experiment_schema())
    for changes in (
        {"iteration": 3},
        {"iterations": "ten"},
        {"fit": {"epoch": 1}},
        {"search": {"method": "gird", "space": {"batch_size": [4]}}},
        {"search": {"method": "grid", "space": {"batchsize": [4]}}},
        {"search": {"space": {"batch_size": [4]}}},
    ):
        value = work.value(**changes)
        assert not validator.is_valid(value), changes
        with pytest.raises(SpecError):
            modelhopper.Experiment.in_folder(value, work.folder)


def test_the_clusters_schema_describes_every_key(capsys: Said) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    assert main(["schema", "--cluster"]) == 0
    schema = json.loads(capsys.readouterr().out)
    validator.check_schema(schema)
    assert schema["properties"].keys() == Cluster.model_fields.keys()
    assert all(value["description"] for value in schema["properties"].values())
    assert validator(schema).is_valid({"store": "s3://bucket/prefix", "data": {"training": {"claims": "a-{shard}"}}})
    assert not validator(schema).is_valid({"store": "s3://bucket/prefix", "shape": "hops"})


def test_the_schema_describes_every_key() -> None:
    properties = experiment_schema()["properties"]
    assert properties.keys() == Experiment.model_fields.keys()
    assert all(value["description"] for value in properties.values())
    assert experiment_schema()["$defs"]["Grid"]["properties"]["space"]["properties"].keys() == set(CHOICE_KEYS)


@pytest.fixture
def table(work: Work) -> str:
    rows = [f"{n},{n * n},{'ab'[n % 2]},{n / 2}" for n in range(20)]
    Path("rows.csv").write_text("\n".join(["first,second,kind,size", *rows, ""]))
    return "rows.csv"


def test_pack_cuts_and_describes(table: str, capsys: Said) -> None:
    assert (
        main(["pack", table, "--labels", "kind", "--features", "first,second", "--shards", "4", "--out", "packed"]) == 0
    )
    out = capsys.readouterr().out
    assert out.startswith("packed: 20 rows in 4 shards of 5 rows")
    assert "2 columns: first, second" in out
    assert main(["pack", "--describe", "packed"]) == 0
    assert capsys.readouterr().out == out


def test_pack_takes_several_inputs_and_outputs(table: str, capsys: Said) -> None:
    arguments = [
        "--features",
        "x=first",
        "--features",
        "more=second,first",
        "--labels",
        "kind=kind",
        "--labels",
        "cm=size",
    ]
    arguments += ["--kind", "cm=number", "--num-classes", "kind=3", "--normalize", "2", "--seed", "7"]
    assert main(["pack", table, *arguments, "--shards", "2", "--out", "packed"]) == 0
    manifest = modelhopper_manifest("packed")
    assert [entry.name for entry in manifest.inputs] == ["x", "more"]
    assert [(entry.name, entry.kind, entry.num_classes) for entry in manifest.outputs] == [
        ("kind", "classes", 3),
        ("cm", "number", None),
    ]
    assert (manifest.normalize, manifest.seed) == (2.0, 7)
    capsys.readouterr()
    assert "already" in complaint(capsys, "pack", table, *arguments, "--shards", "2", "--out", "packed")
    assert main(["pack", table, *arguments, "--shards", "4", "--out", "packed", "--overwrite"]) == 0
    assert len(modelhopper_manifest("packed").shards) == 4


def test_pack_deals_groups_names_and_makes_up_rows(table: str, capsys: Said) -> None:
    names, *rows = Path(table).read_text().splitlines()
    lines = [f"{number},{row},{number // 10}" for number, row in enumerate(rows)]
    Path("more.csv").write_text("\n".join([f"id,{names},land", *lines]))
    arguments = ["more.csv", "--features", "first", "--labels", "kind", "--shards", "2", "--out", "packed"]
    arguments += ["--id", "id", "--stratify", "kind", "--group-by", "land", "--oversample", "smote:0.9"]
    assert main(["pack", *arguments, "--neighbors", "1"]) == 0
    manifest = modelhopper_manifest("packed")
    assert (manifest.ids.column, manifest.stratified, manifest.groups) == ("id", "kind", (0, 1))
    assert manifest.oversampled == "smote to 0.9, 1 neighbours"
    assert "land makes 2 groups, 2 shards each: 0, 1" in capsys.readouterr().out
    by_land = ["--features", "first", "--labels", "kind", "--shard-by", "land", "--out", "by-land"]
    assert main(["pack", "more.csv", *by_land]) == 0
    assert len(modelhopper_manifest("by-land").shards) == 2


def test_pack_takes_a_pair_of_arrays(work: Work) -> None:
    np.save("x.npy", np.arange(20.0).reshape(10, 2))
    np.save("y.npy", np.arange(10) % 2)
    assert main(["pack", "x.npy", "y.npy", "--shards", "2", "--out", "packed"]) == 0
    assert main(["pack", "x.npy", "y.npy", "--against", "packed", "--shards", "1", "--out", "valid"]) == 0
    assert modelhopper_manifest("packed").rows == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to pack was given"),
        (["a.csv"], "--out is missing"),
        (["a.csv", "--out", "b"], "--shards is missing"),
        (["day-1.csv", "day-2.csv", "day-3.csv"], "put the pattern in quotes, such as '*.csv'"),
        (["a.csv", "--out", "b", "--shards", "2", "--kind", "number", "--kind", "x=number"], "name all, or none"),
        (["a.csv", "--out", "b", "--shards", "2", "--kind", "number", "--kind", "classes"], "give one"),
        (["a.csv", "--out", "b", "--shards", "2", "--num-classes", "many"], "whole number"),
        (["a.csv", "--describe", "b"], "leave out a.csv"),
        (["--describe", "b"], "b does not exist"),
        (["a.csv", "--out", "b", "--shards", "2"], "a.csv does not exist"),
    ],
)
def test_a_mistake_in_packing_is_one_line(arguments: list[str], said: str, work: Work, capsys: Said) -> None:
    assert said in complaint(capsys, "pack", *arguments)


def modelhopper_manifest(folder: str) -> Any:
    from modelhopper_trainer.shards import open_data

    return open_data(folder).manifest
