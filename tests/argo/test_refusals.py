from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.argo.manifests import (
    Tree,
    ended,
    failing,
    output,
    pod,
    step,
    steps,
    workflow,
)
from tests.argo.refusals import ManifestError, Unsupported


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda spec: spec.update(hooks={}), r"spec\.hooks"),
        (lambda spec: spec.update(activeDeadlineSeconds=5), r"spec\.activeDeadlineSeconds"),
        (lambda spec: spec["templates"][0].update(daemon=True), r"spec\.templates\[0\]\.daemon"),
        (lambda spec: spec["templates"][0]["container"].update(envFrom=[]), r"container\.envFrom"),
        (lambda spec: spec.update(templates=[{"name": "a", "dag": {}}]), r"templates\[0\]\.dag"),
        (lambda spec: spec.update(templates=[steps("a", [step("a", onExit="a")])]), r"steps\[0\]\[0\]\.onExit"),
        (lambda spec: spec["templates"][0].update(retryStrategy={"affinity": {}}), r"retryStrategy\.affinity"),
        (lambda spec: spec["templates"][0].update(volumes=[{"name": "v", "hostPath": {}}]), r"volumes\[0\]\.hostPath"),
    ],
)
def test_an_unknown_field_is_refused_by_name(change: Callable[[Tree], None], field: str) -> None:
    tree = workflow(pod("a"))
    change(tree["spec"])
    with pytest.raises(Unsupported, match=field):
        ended(tree)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (workflow(pod("a"), entrypoint="b"), "template name 'b' undefined"),
        (workflow(steps("a", [step("b")])), "template name 'b' undefined"),
        (workflow(pod("a", ["x"])), r"inputs\.parameters\.x of template 'a' was not supplied"),
        (workflow(steps("a", [step("b", {"y": "1"})]), pod("b")), "no such input"),
        (workflow(pod("a"), pod("a")), "there twice"),
        (workflow(pod("a", container={"env": [{"name": "A", "value": 1}]})), r"env\[0\]\.value is 1 \(int\)"),
        (workflow(pod("a", container={"command": []})), "has no command"),
        (workflow(pod("a", container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]})), "which is no volume"),
        (workflow(pod("a", retryStrategy={"expression": "lastRetry.other == 1"})), "unknown names"),
        (
            workflow(pod("a", container={"securityContext": {"readOnlyRootFilesystem": True}}, outputs=output("o"))),
            "the root is read-only",
        ),
    ],
)
def test_a_wrong_manifest_is_refused(tree: Tree, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        ended(tree, failing("a"))
