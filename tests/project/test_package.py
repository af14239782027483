"""What users install and import is whole, light and typed."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.project import tree

HEAVY = ["tensorflow", "keras", "pyarrow", "minio"]
IMPORT_LIMIT_S = 0.3


def test_importing_modelhopper_loads_nothing_heavy() -> None:
    code = f"import json, sys, modelhopper; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    assert child(code) == []


def test_importing_modelhopper_is_fast() -> None:
    """The fastest of five processes counts, so that a busy machine does not fail the test."""
    code = "import time; begin = time.perf_counter(); import modelhopper; print(time.perf_counter() - begin)"
    assert min(child(code) for _ in range(5)) < IMPORT_LIMIT_S


def test_all_is_what_is_exported() -> None:
    """In a child process, because reaching every name loads TensorFlow."""
    code = (
        "import json, modelhopper as m\n"
        "reached = [name for name in m.__all__ if getattr(m, name, None) is not None]\n"
        "own = [name for name, value in vars(m).items() if getattr(value, '__module__', None) is not None\n"
        "       and value.__module__.split('.')[0].startswith('modelhopper') and not name.startswith('_')]\n"
        "print(json.dumps({'all': m.__all__, 'reached': reached, 'own': own, 'shown': dir(m)}))"
    )
    names = child(code)
    assert sorted(names["all"]) == sorted(set(names["all"])), "a name stands twice in __all__"
    assert names["reached"] == names["all"], "a name of __all__ leads nowhere"
    assert set(names["own"]) <= set(names["all"]), "a public name is missing in __all__"
    assert set(names["all"]) <= set(names["shown"]), "dir() hides a name of __all__, and so does tab completion"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the working tree, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=tree.ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_source_file_and_the_types_marker(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(package.parent).as_posix()
        for package in tree.PACKAGES.values()
        for path in tree.files()
        if package in path.parents
    }
    assert packed == expected
    assert {f"{package}/py.typed" for package in tree.PACKAGES} <= packed


def test_the_wheel_has_the_command_and_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"modelhopper-{tree.project()['version']}.dist-info"
        assert "modelhopper = modelhopper.command:main" in archive.read(f"{info}/entry_points.txt").decode()
        assert f"{info}/licenses/LICENSE" in archive.namelist()


def child(code: str) -> Any:
    """Run `code` in a fresh interpreter, where a warning is an error, and return the JSON that it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
