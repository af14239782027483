"""The rendered Workflows in `workflows/` are what the code renders."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import yaml

from tests.argo.tags import TAG
from tests.project import rendered

NOT_RENDERED = {"cluster.yaml", "ci-job.yaml"}
# Which module reads the command line of `python -m MODULE`.
PARSERS = {
    "modelhopper_trainer.pod": "modelhopper_trainer.pod.process",
    "modelhopper.pods": "modelhopper.pods.__main__",
    "modelhopper_trainer.scoring.pod": "modelhopper_trainer.scoring.pod",
}


@pytest.mark.parametrize("name", rendered.texts())
def test_a_rendered_workflow_is_what_the_code_renders(name: str) -> None:
    written = (rendered.FOLDER / name).read_text(encoding="utf-8")
    assert rendered.texts()[name] == written, f"workflows/{name} is out of date: `make golden` writes it anew"


def test_every_workflow_in_the_folder_is_rendered() -> None:
    assert {path.name for path in rendered.FOLDER.glob("*.yaml")} == rendered.texts().keys() | NOT_RENDERED


@pytest.mark.parametrize("name", rendered.texts())
def test_every_pod_takes_its_arguments(name: str) -> None:
    for document in yaml.safe_load_all(rendered.texts()[name]):
        for template in document["spec"]["templates"]:
            if "container" in template:
                _check_arguments(template["container"])


def _check_arguments(container: dict[str, Any]) -> None:
    module = container["command"][-1]
    parser = import_module(PARSERS[module])._parser()
    time = "2026-01-02T03:04:05Z"
    parser.parse_args([TAG.sub(time if "Timestamp" in word else "1", word) for word in container["args"]])


def test_the_readme_names_every_file() -> None:
    readme = (rendered.FOLDER / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in rendered.FOLDER.glob("*.yaml") if f"`{path.name}`" not in readme]
    assert not missing
