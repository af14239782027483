from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.argo.fake_argo import FakeArgo
from tests.argo.manifests import (
    Tree,
    ended,
    failing,
    inputs_of,
    pod,
    recording,
    step,
    steps,
    waits_once,
    workflow,
)
from tests.argo.pods import PodRun
from tests.argo.runs import Run

# --- Nodes and phases -------------------------------------------------------------------------------------------------


def test_groups_run_one_after_the_other_and_their_steps_side_by_side() -> None:
    both = threading.Barrier(2)

    def runner(pod: PodRun) -> int:
        if pod.template in ("a", "b"):
            both.wait(timeout=10)
        return 0

    run = ended(workflow(steps("main", [step("a"), step("b")], [step("c")]), pod("a"), pod("b"), pod("c")), runner)
    assert run.phase == "Succeeded"
    assert run.node("[1].c").begun > max(run.node("[0].a").ended, run.node("[0].b").ended)
    kinds = [(node.name.removeprefix(run.name), node.kind) for node in run.nodes]
    assert kinds == [
        ("", "Steps"),
        ("[0]", "StepGroup"),
        ("[0].a", "Pod"),
        ("[0].b", "Pod"),
        ("[1]", "StepGroup"),
        ("[1].c", "Pod"),
    ]


def test_a_failure_lets_its_group_finish_and_ends_the_rest() -> None:
    run = ended(
        workflow(steps("main", [step("a"), step("b")], [step("c")]), pod("a"), pod("b"), pod("c")), failing("a", code=3)
    )
    assert (run.phase, run.count("Pod", "c")) == ("Failed", 0)
    assert (run.node("[0].a").phase, run.node("[0].a").exit_code, run.node("[0].b").phase) == ("Failed", 3, "Succeeded")


def test_continue_on_failed_goes_on_but_does_not_hide_the_node() -> None:
    run = ended(
        workflow(steps("main", [step("a", continueOn={"failed": True})], [step("c")]), pod("a"), pod("c")), failing("a")
    )
    assert (run.phase, run.node("[0]").phase, run.node("[0].a").phase) == ("Succeeded", "Succeeded", "Failed")


@pytest.mark.parametrize(("fail", "phase"), [((), "Succeeded"), (("a",), "Failed"), (("bye",), "Failed")])
def test_the_exit_handler_always_runs_and_sees_the_status(fail: tuple[str, ...], phase: str) -> None:
    seen = {"name": "S", "value": "{{workflow.status}}"}, {"name": "F", "value": "{{workflow.failures}}"}
    pods: list[PodRun] = []

    def runner(pod: PodRun) -> int:
        pods.append(pod)
        return 1 if pod.template in fail else 0

    tree = workflow(pod("a"), pod("bye", container={"env": list(seen)}), onExit="bye")
    assert ended(tree, runner).phase == phase
    assert pods[-1].env["S"] == ("Failed" if "a" in fail else "Succeeded")
    failures = json.loads(json.loads(pods[-1].env["F"]))
    assert (failures or [{}])[0].get("templateName") == ("a" if "a" in fail else None)


def test_recursion_deeper_than_argo_allows_is_an_error() -> None:
    run = ended(workflow(steps("main", [step("main")])))
    deepest = run.nodes[-1]
    assert (run.phase, deepest.phase, deepest.message) == ("Failed", "Error", "Maximum recursion depth exceeded")
    assert run.count("Steps") == 99


# --- Retries ----------------------------------------------------------------------------------------------------------

RETRY = {"limit": "2", "retryPolicy": "Always", "expression": "asInt(lastRetry.exitCode) in [75, 137]"}
SEEN = [{"name": "SEEN", "value": "{{retries}} {{lastRetry.exitCode}} {{pod.name}}"}]


@pytest.mark.parametrize(
    ("codes", "pods", "phase"),
    [((0,), 1, "Succeeded"), ((75, 137, 0), 3, "Succeeded"), ((75, 75, 75, 0), 3, "Failed"), ((75, 3, 0), 2, "Failed")],
)
def test_a_retry_tries_again_as_its_limit_and_expression_say(codes: tuple[int, ...], pods: int, phase: str) -> None:
    left, seen = iter(codes), []

    def runner(pod: PodRun) -> int:
        seen.append(pod)
        return next(left)

    run = ended(workflow(pod("a", container={"env": SEEN}, retryStrategy=RETRY)), runner)
    assert (run.phase, run.count("Retry"), run.count("Pod"), run.nodes[0].phase) == (phase, 1, pods, phase)
    exits = (0, *codes)
    assert [each.env["SEEN"] for each in seen] == [f"{n} {exits[n]} {each.name}" for n, each in enumerate(seen)]
    assert [node.name for node in run.pods()] == [f"{run.name}({number})" for number in range(pods)]


@pytest.mark.parametrize(
    ("strategy", "pods"),
    [
        ({"limit": 3}, 4),
        ({"limit": 3, "retryPolicy": "OnError"}, 1),
        ({"limit": 3, "expression": "lastRetry.status == 'Error'"}, 1),
        ({"limit": 9, "backoff": {"duration": "5s", "factor": 2, "cap": "5m"}}, 10),
        ({"limit": 9, "backoff": {"duration": "5s", "factor": 2, "maxDuration": "1m"}}, 4),
    ],
)
def test_retry_policies_and_backoffs(strategy: Tree, pods: int) -> None:
    assert ended(workflow(pod("a", retryStrategy=strategy)), failing("a")).count("Pod") == pods


def test_argo_3_6_leaves_the_last_exit_code_as_it_is() -> None:
    seen: list[PodRun] = []
    env = [{"name": "X", "value": "{{retries}} {{lastRetry.exitCode}}"}]
    tree = workflow(pod("a", container={"env": env}, retryStrategy={"limit": 1}))
    ended(tree, recording(seen), last_retry_in_pods=False)
    assert [each.env["X"] for each in seen] == ["0 {{lastRetry.exitCode}}"]


# --- Chaos ------------------------------------------------------------------------------------------------------------


def test_a_deleted_pod_is_an_error_and_is_tried_again() -> None:
    retry = {"limit": 1, "retryPolicy": "Always", "expression": "lastRetry.status == 'Error'"}
    with FakeArgo(waits_once()) as argo:
        run = argo.submit(workflow(pod("a", retryStrategy=retry)))
        run.delete_pod(run.wait_until(Run.running)[0].pod_name)
        run.wait(20)
    assert [(node.phase, node.exit_code) for node in run.pods()] == [("Error", None), ("Succeeded", 0)]
    assert (run.phase, run.pods()[0].message) == ("Succeeded", "pod deleted")


@pytest.mark.parametrize(("how", "handlers"), [(Run.terminate, 0), (Run.stop, 1)])
def test_a_workflow_that_is_ended_from_outside_is_failed(how: Callable[[Run], None], handlers: int) -> None:
    retry = {"limit": 5, "retryPolicy": "Always"}
    tree = workflow(
        steps("main", [step("a")], [step("b")]), pod("a", retryStrategy=retry), pod("b"), pod("bye"), onExit="bye"
    )
    with FakeArgo(waits_once()) as argo:
        run = argo.submit(tree)
        run.wait_until(Run.running)
        how(run)
        run.wait(20)
    assert (run.phase, run.count("Pod", "a"), run.count("Pod", "b")) == ("Failed", 1, 0)
    assert run.count("Pod", "bye") == handlers


def test_what_breaks_one_pod_ends_the_others() -> None:
    def runner(pod: PodRun) -> int:
        if pod.template == "b":
            raise ValueError("a mistake of the runner")
        pod.deletion.wait(timeout_s=20)
        return 0

    with pytest.raises(ValueError, match="a mistake of the runner"):
        ended(workflow(steps("main", [step("a"), step("b")]), pod("a"), pod("b")), runner)


# --- The shape of a chain ---------------------------------------------------------------------------------------------


def leg(width: int) -> Tree:
    """A template of `width` conditional hops that calls itself while hops are left."""

    def position(index: int) -> str:
        return f"{{{{=asInt(inputs.parameters.hop) + {index}}}}}"

    hops = [
        [step("hop", {"n": position(b)}, name=f"hop-{b}", when=f"{position(b)} < {{{{inputs.parameters.hops}}}}")]
        for b in range(width)
    ]
    again = step("leg", {"hop": position(width), "hops": "{{inputs.parameters.hops}}"})
    again["when"] = f"{position(width)} < {{{{inputs.parameters.hops}}}}"
    return steps("leg", *hops, [again], inputs=["hop", "hops"])


@given(hops=st.integers(0, 30), width=st.integers(1, 7))
def test_a_recursive_leg_runs_every_hop_once_and_in_order(hops: int, width: int) -> None:
    run = ended(workflow(leg(width), pod("hop", ["n"]), parameters={"hop": "0", "hops": str(hops)}))
    assert run.phase == "Succeeded"
    assert inputs_of(run, "hop", "n") == [str(n) for n in range(hops)]


def test_chains_do_not_wait_for_each_other_and_one_failure_ends_one_chain() -> None:
    chains = json.dumps([{"name": "good", "hops": 4}, {"name": "bad", "hops": 4}])
    fan = {"name": "chain", "template": "leg", "withParam": chains, "continueOn": {"failed": True}}
    fan["arguments"] = {"parameters": [{"name": "hop", "value": "0"}, {"name": "hops", "value": "{{item.hops}}"}]}

    def runner(pod: PodRun) -> int:
        return 3 if "name:bad" in pod.node and pod.inputs["n"] == "1" else 0

    run = ended(workflow(steps("main", [fan], [step("last")]), leg(2), pod("hop", ["n"]), pod("last")), runner)
    assert (run.phase, run.count("Pod", "hop"), run.count("Pod", "last")) == ("Succeeded", 6, 1)
