from __future__ import annotations

import pytest

from tests.argo.fake_argo import FakeArgo
from tests.argo.manifests import (
    Tree,
    ended,
    failing,
    inputs_of,
    manifest,
    ok,
    pod,
    recording,
    step,
    steps,
    waits_once,
    workflow,
)
from tests.argo.pods import PodRun
from tests.argo.refusals import ManifestError
from tests.argo.runs import Run


def gpu(amount: int) -> Tree:
    return {"resources": {"limits": {"nvidia.com/gpu": amount, "memory": "1Gi"}, "requests": {"cpu": "1"}}}


def test_pods_wait_for_free_devices() -> None:
    tree = workflow(steps("main", [step("a", withSequence={"count": "9"})]), pod("a", container=gpu(2)))
    with FakeArgo(ok, gpus={"nvidia.com/gpu": 3}, max_pods=8) as argo:
        assert argo.run_to_end(tree).count("Pod", phase="Succeeded") == 9
        assert (argo.most_at_once("nvidia.com/gpu"), argo.most_at_once()) == (2, 1)


@pytest.mark.parametrize("gpus", [None, {"nvidia.com/gpu": 1}])
def test_devices_that_no_node_has_are_refused(gpus: dict[str, int] | None) -> None:
    with pytest.raises(ManifestError, match=r"no node of this cluster offers 2 of nvidia\.com/gpu"):
        ended(workflow(pod("a", container=gpu(2))), gpus=gpus)


@pytest.mark.parametrize("where", ["workflow", "template"])
def test_parallelism_bounds_what_runs_at_once(where: str) -> None:
    main = steps("main", [step("a", withSequence={"count": "9"})])
    tree = workflow(main, pod("a"))
    (tree["spec"] if where == "workflow" else main)["parallelism"] = 2
    with FakeArgo(ok, max_pods=8) as argo:
        assert argo.run_to_end(tree).count("Pod", phase="Succeeded") == 9
        assert argo.most_at_once() <= 2


@pytest.mark.parametrize(("fail_fast", "pods"), [(True, 1), (False, 4)])
def test_fail_fast_starts_nothing_after_a_failure(fail_fast: bool, pods: int) -> None:
    main = steps("main", [step("a", withSequence={"count": "4"})], parallelism=1, failFast=fail_fast)
    run = ended(workflow(main, pod("a")), failing("a"))
    assert (run.phase, run.count("Pod")) == ("Failed", pods)


def test_workflows_that_share_a_mutex_follow_each_other_in_order() -> None:
    def tree(mutex: str) -> Tree:
        return workflow(
            pod("a"), parameters={"m": mutex}, synchronization={"mutexes": [{"name": "m-{{workflow.parameters.m}}"}]}
        )

    with FakeArgo(waits_once()) as argo:
        first, second, third = (argo.submit(tree("x")) for _ in range(3))
        first.wait_until(Run.running)
        assert argo.run_to_end(tree("other")).phase == "Succeeded"
        assert (second.phase, third.phase) == ("Pending", "Pending")
        first.delete_pod(first.running()[0].pod_name)
        assert (third.wait(20).phase, first.phase) == ("Succeeded", "Error")
    assert first.ended < second.begun < second.ended < third.begun


def test_a_workflow_can_refer_to_a_template() -> None:
    template = workflow(pod("a", ["x"]), parameters={"x": "1"})
    template |= {"kind": "WorkflowTemplate", "metadata": {"name": "shared"}}
    tree = manifest(
        {"workflowTemplateRef": {"name": "shared"}, "arguments": {"parameters": [{"name": "x", "value": "2"}]}},
        name="w",
    )
    with FakeArgo(ok, templates=[template]) as argo:
        assert inputs_of(argo.run_to_end(tree), "a", "x") == ["2"]
        assert inputs_of(argo.submit_from("shared", {"x": "3"}).wait(), "a", "x") == ["3"]
        with pytest.raises(ManifestError, match="no WorkflowTemplate 'other'"):
            argo.submit_from("other")


def test_a_pod_gets_secrets_settings_its_name_and_its_volumes() -> None:
    env = [
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "SETTING", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": True}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    mounts = [{"name": "shard", "mountPath": "/data/0", "readOnly": True}]
    volumes = [{"name": "shard", "persistentVolumeClaim": {"claimName": "shard-{{inputs.parameters.s}}"}}]
    tree = workflow(pod("a", ["s"], {"env": env, "volumeMounts": mounts}, volumes=volumes), parameters={"s": "4"})
    seen: list[PodRun] = []
    objects = {"secrets": {"s": {"k": "hidden"}}, "configmaps": {"c": {"k": "shown"}}}
    ended(tree, recording(seen), **objects)
    assert seen[0].env == {"SECRET": "hidden", "SETTING": "shown", "POD": seen[0].name}
    assert [(mount.path, mount.claim, mount.read_only) for mount in seen[0].mounts] == [("/data/0", "shard-4", True)]
    with pytest.raises(ManifestError, match="no Secret 's' with a key 'k'"):
        ended(tree)
