"""The modules beside a file that it imports are found without running it, and belong to the experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelhopper.experiment import Experiment
from modelhopper.neighbours import neighbours
from modelhopper.specify import specify
from modelhopper_trainer.packing import pack
from tests.trainer.packed import numbered


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "models.py"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import layers", ["layers.py"]),
        ("import layers as other, keras", ["layers.py"]),
        ("from layers import Block", ["layers.py"]),
        ("def mlp():\n    from layers import Block", ["layers.py"]),
        ("try:\n    import layers\nexcept ImportError:\n    pass", ["layers.py"]),
        ("import deep", ["deep.py", "deeper.py"]),
        ("import parts", ["parts/__init__.py"]),
        ("import parts.heads", ["layers.py", "parts/__init__.py", "parts/heads.py", "parts/tails.py"]),
        ("from parts import heads", ["layers.py", "parts/__init__.py", "parts/heads.py", "parts/tails.py"]),
        ("from parts.tails import tail", ["parts/__init__.py", "parts/tails.py"]),
        ("from plain.one import thing", ["plain/one.py"]),
        ("from layers.nothing import thing", ["layers.py"]),
        ("import models", []),
        ("import json, keras.layers\nfrom tensorflow import nn", []),
        ("from . import layers", []),  # not in a package, so Python refuses it
        ("import layers\nthis is no Python", []),
        ("import wrong", ["wrong.py"]),
        ("import importlib; importlib.import_module('layers')", []),
    ],
)
def test_what_is_imported_is_found_and_nothing_else(text: str, found: list[str], tmp_path: Path) -> None:
    files = {
        "models.py": text,
        "layers.py": "import keras",
        "unused.py": "",
        "deep.py": "import deeper",
        "deeper.py": "import deep",
        "wrong.py": "no Python either",
        "parts/__init__.py": "",
        "parts/heads.py": "from .tails import tail\nfrom . import missing\nfrom .. import above\nimport layers",
        "parts/tails.py": "tail = 1",
        "plain/one.py": "",
    }
    assert neighbours(write(tmp_path, files)) == found


def test_a_neighbour_is_part_of_the_experiment(tmp_path: Path) -> None:
    write(tmp_path, {"code/models.py": "from layers import mlp", "code/layers.py": "def mlp(): ..."})
    pack(numbered(4), tmp_path / "train", shards=1)
    value = {
        "name": "small",
        "data": {"train": "train"},
        "models": "code/models.py:mlp",
        "search": {"method": "grid", "space": {"batch_size": [4]}},
    }
    experiment = Experiment.in_folder(value, tmp_path)
    before = specify(experiment, tmp_path)
    assert before.files.keys() == {"code/models.py", "code/layers.py"}
    (tmp_path / "code/layers.py").write_text("def mlp(): return 1")
    assert before.differences(specify(experiment, tmp_path)) == ["the contents of code/layers.py changed"]
    only_named = {name: digest for name, digest in before.digests.items() if "layers" not in name}
    begun_before_neighbours_were_recorded = before.model_copy(update={"digests": only_named})
    assert begun_before_neighbours_were_recorded.differences(before) == []
