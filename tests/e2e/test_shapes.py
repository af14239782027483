"""Iris runs to the end in each shape, by each way of submitting, with the local engine's digests."""

from __future__ import annotations

import subprocess

import pytest

from modelhopper_contract.store import Store
from tests.e2e.conftest import digests, experiment, write
from tests.e2e.place import ARGO, Place

SHAPES = ("station", "convoy", "hop")  # the quick ones first


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("route", ["argo", "kubectl", "python"])
def test_a_run_gives_the_local_digests(
    place: Place, store: Store, expected: dict[str, str], shape: str, route: str
) -> None:
    name = f"{shape}-{route}"
    file = write(place.folder, experiment(name))
    cluster = place.write_cluster(shape=shape)
    if route == "python":
        place.modelhopper("submit", file, "--cluster", cluster)
    else:
        rendered = place.folder / f"{name}.workflow.yaml"
        place.modelhopper("render", file, "--cluster", cluster, "--out", rendered)
        _send(place, route, str(rendered))
    place.wait(name)
    assert digests(store, name) == expected
    assert "12 finished" in place.modelhopper("status", name, "--store", store.url)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_of_the_installed_template_gives_the_local_digests(
    place: Place, store: Store, expected: dict[str, str], shape: str
) -> None:
    name = f"{shape}-template"
    file = write(place.folder, experiment(name))
    cluster = place.write_cluster()
    place.modelhopper("upload", file, "--cluster", cluster)
    template = place.modelhopper("render", "--template", "--cluster", cluster)
    place.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=template)
    parameters = ["-p", f"experiment={name}", "-p", f"shape={shape}", "-p", "stations=3"]
    labels = ["-l", f"modelhopper.io/experiment={name}"]
    _argo(place, "submit", "--from", "workflowtemplate/modelhopper", *parameters, *labels)
    place.wait(name)
    assert digests(store, name) == expected


def test_an_experiment_in_several_workflows_gives_the_local_digests(
    place: Place, store: Store, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "windows"
    file = write(place.folder, experiment(name))
    cluster = place.write_cluster(shape="convoy", convoy=4, most_pods=12)
    said = place.modelhopper("submit", file, "--cluster", cluster)
    place.wait(name)
    assert len(place.workflows(name)) > 1, said
    assert digests(store, name) == expected


def _send(place: Place, route: str, file: str) -> None:
    if route == "argo":
        _argo(place, "submit", file)
    else:
        place.kubectl("create", "-f", file)


def _argo(place: Place, *arguments: str) -> None:
    done = subprocess.run([ARGO, "-n", place.namespace, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_rendered_is_what_the_server_takes(place: Place) -> None:
    file = write(place.folder, experiment("dry"))
    rendered = place.folder / "dry.workflow.yaml"
    place.modelhopper("render", file, "--cluster", place.write_cluster(shape="hop"), "--out", rendered)
    place.kubectl("create", "--dry-run=server", "-f", str(rendered))
    place.modelhopper("submit", file, "--cluster", place.write_cluster(shape="hop"), "--dry-run")
    assert place.workflows("dry") == []
