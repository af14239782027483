from __future__ import annotations

from datetime import datetime, timedelta, timezone

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


def test_of_those_that_wait_for_a_mutex_the_highest_priority_goes_on_first() -> None:
    def tree(priority: int) -> Tree:
        return workflow(pod("a"), synchronization={"mutexes": [{"name": "m"}]}, priority=priority)

    with FakeArgo(waits_once()) as argo:
        first = argo.submit(tree(-9))
        first.wait_until(Run.running)
        last, second = argo.submit(tree(-2)), argo.submit(tree(-1))
        first.delete_pod(first.running()[0].pod_name)
        last.wait(20)
    assert first.ended < second.begun < second.ended < last.begun


def test_a_template_with_a_mutex_runs_once_at_a_time() -> None:
    locked = pod("a") | {"synchronization": {"mutexes": [{"name": "m-{{workflow.name}}"}]}}
    with FakeArgo(ok, max_pods=8) as argo:
        run = argo.run_to_end(workflow(steps("main", [step("a", withSequence={"count": "5"})]), locked))
        assert run.count("Pod", phase="Succeeded") == 5
        assert argo.most_at_once() == 1


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


def test_a_workflow_may_take_labels_from_its_parameters() -> None:
    template = workflow(
        pod("a", container={"env": [{"name": "L", "value": "{{workflow.labels.what}}"}]}),
        parameters={"x": "1"},
        workflowMetadata={"labels": {"plain": "p"}, "labelsFrom": {"what": {"expression": "workflow.parameters.x"}}},
    )
    template |= {"kind": "WorkflowTemplate", "metadata": {"name": "shared"}}
    seen: list[PodRun] = []
    with FakeArgo(recording(seen), templates=[template]) as argo:
        run = argo.submit_from("shared", {"x": "new"}).wait()
    assert run.workflow.labels == {"plain": "p", "what": "new"}
    assert seen[0].env == {"L": "new"}


def test_a_pod_may_know_when_its_workflow_was_made() -> None:
    env = [{"name": "T", "value": "{{workflow.creationTimestamp.RFC3339}}"}]
    seen: list[PodRun] = []
    made = datetime(2031, 5, 17, 11, 30, 59, 900_000, timezone(timedelta(hours=2)))
    ended(workflow(pod("a", container={"env": env})), recording(seen), now=lambda: made)
    assert seen[0].env == {"T": "2031-05-17T09:30:59Z"}


def test_a_list_of_values_binds_who_declares_it_and_not_who_submits() -> None:
    tree = workflow(pod("a", ["x"]))
    tree["spec"]["arguments"] = {"parameters": [{"name": "x", "value": "b", "enum": ["a", "b"]}]}
    assert inputs_of(ended(tree, parameters={"x": "c"}), "a", "x") == ["c"]
    tree["spec"]["arguments"]["parameters"][0]["value"] = "c"
    with pytest.raises(ManifestError, match=r"x\.value should be present in .*x\.enum list"):
        ended(tree)


def test_the_grace_of_a_pod_is_what_the_last_patch_says() -> None:
    tree = workflow(
        pod("a", podSpecPatch="{{workflow.parameters.pod}}"),
        pod("b"),
        parameters={"pod": '{"terminationGracePeriodSeconds": 60, "nodeSelector": {"zone": "a"}}'},
        podSpecPatch="{terminationGracePeriodSeconds: 20, initContainers: [{name: init}], containers: [{name: wait}]}",
        onExit="b",
    )
    seen: list[PodRun] = []
    ended(tree, recording(seen))
    assert [one.grace_s for one in seen] == [60, 20]


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("[1]", "podSpecPatch is no mapping"),
        ("{", "podSpecPatch cannot be read"),
        ("{hostNetwork: true}", "podSpecPatch of hostNetwork"),
        ("{containers: [{name: main, image: other}]}", r"podSpecPatch of containers \['main'\]"),
    ],
)
def test_a_patch_that_would_change_what_runs_is_refused(patch: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        ended(workflow(pod("a", podSpecPatch=patch)))


def test_a_pod_gets_secrets_settings_its_name_and_its_volumes() -> None:
    env = [
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "SETTING", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": True}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    mounts = [
        {"name": "shard", "mountPath": "/data/0", "readOnly": True},
        {"name": "ca", "mountPath": "/etc/ca", "readOnly": True},
    ]
    volumes = [
        {"name": "shard", "persistentVolumeClaim": {"claimName": "shard-{{inputs.parameters.s}}"}},
        {"name": "ca", "configMap": {"name": "c"}},
    ]
    tree = workflow(pod("a", ["s"], {"env": env, "volumeMounts": mounts}, volumes=volumes), parameters={"s": "4"})
    seen: list[PodRun] = []
    objects = {"secrets": {"s": {"k": "hidden"}}, "configmaps": {"c": {"k": "shown"}}}
    ended(tree, recording(seen), **objects)
    assert seen[0].env == {"SECRET": "hidden", "SETTING": "shown", "POD": seen[0].name}
    shard, ca = seen[0].mounts
    assert (shard.path, shard.claim, shard.files, shard.read_only) == ("/data/0", "shard-4", None, True)
    assert (ca.path, ca.claim, ca.files) == ("/etc/ca", None, {"k": "shown"})
    with pytest.raises(ManifestError, match="no Secret 's' with a key 'k'"):
        ended(tree)
    env.clear()
    with pytest.raises(ManifestError, match="no ConfigMap 'c' for the volume 'ca'"):
        ended(tree)
