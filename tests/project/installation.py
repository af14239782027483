"""What the chart and the Kustomize folders make, as the tests of both read it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelhopper_contract.cluster import Cluster
from modelhopper_scheduler import render
from tests.project import tree

Manifest = dict[str, Any]

CHART = tree.ROOT / "charts/modelhopper"
BASE = tree.ROOT / "manifests/base"
QUICK_START = tree.ROOT / "manifests/quick-start"
WORKFLOW_TEMPLATE = CHART / "files/workflowtemplate.yaml"
VARIANTS = sorted(path.name for path in (CHART / "ci").glob("*-values.yaml"))

MAKE_HELM = tree.ROOT / ".tools/bin/helm"
# A Helm that was built from source believes in an old Kubernetes, and `helm template` asks no cluster what it has.
CLUSTER = ["--kube-version", "1.34.0", "--api-versions", "argoproj.io/v1alpha1/WorkflowTemplate"]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm, or skip the test where there is none."""
    program = shutil.which("helm") or shutil.which(MAKE_HELM)
    if program is None:
        pytest.skip("needs Helm: on the PATH, or made by `make helm`")
    return subprocess.run([program, *arguments], cwd=CHART, capture_output=True, text=True, check=False, timeout=120)


def chart(*arguments: str) -> list[Manifest]:
    """Return the objects that Helm would install."""
    result = helm("template", "modelhopper", ".", *CLUSTER, *arguments)
    assert result.returncode == 0, result.stderr
    return documents(result.stdout)


def variant(name: str) -> list[Manifest]:
    """Return the objects that Helm would install with the values in `ci/`."""
    return chart("--values", f"ci/{name}")


def kustomized(folder: Path) -> list[Manifest]:
    """Return the objects that `kubectl apply -k` would apply, or skip the test where there is no kubectl."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("needs kubectl on the PATH")
    result = subprocess.run(
        [program, "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return documents(result.stdout)


def documents(text: str) -> list[Manifest]:
    """Return the objects in a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document]


def only(manifests: list[Manifest], kind: str, name: str = "modelhopper") -> Manifest:
    """Return the one object of this kind and name."""
    [found] = [one for one in manifests if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pods(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Yield what each pod that an object makes is called, and its specification, as Argo puts it together."""
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Pod":
        yield name, spec
    elif manifest["kind"] in {"Deployment", "StatefulSet", "Job"}:
        yield name, spec["template"]["spec"]
    elif manifest["kind"] == "WorkflowTemplate":
        for template in spec["templates"]:
            if "container" in template:
                yield f"{name}: {template['name']}", workflow_pod(spec, template)


def workflow_pod(spec: Manifest, template: Manifest) -> Manifest:
    """Return the specification of the pod that a template of a Workflow makes, without what Argo adds of its own."""
    inherited = {key: spec[key] for key in ("securityContext", "hostNetwork") if key in spec}
    volumes = [*spec.get("volumes", []), *template.get("volumes", [])]
    containers = [template["container"], *template.get("sidecars", [])]
    return inherited | template | {"containers": containers, "volumes": volumes}


def rendered(cluster: Cluster) -> Manifest:
    """Return the WorkflowTemplate of modelhopper's own rendering, without a namespace: the installation gives it."""
    template = render.workflow_template(cluster)
    del template["metadata"]["namespace"]
    return template


def rendered_text() -> str:
    """Return what is committed: the WorkflowTemplate for the quick-start's cluster."""
    cluster = Cluster.model_validate(yaml.safe_load((QUICK_START / "cluster.yaml").read_text(encoding="utf-8")))
    lines = render.to_yaml([rendered(cluster)]).splitlines(keepends=True)
    comment = "# Made by `make golden`, by what manifests/quick-start/cluster.yaml says.\n"
    return comment + "".join(line for line in lines if not line.startswith("#"))


if __name__ == "__main__":
    WORKFLOW_TEMPLATE.write_text(rendered_text(), encoding="utf-8")
