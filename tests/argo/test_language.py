from __future__ import annotations

import json

import pytest

from tests.argo.manifests import (
    Tree,
    ended,
    inputs_of,
    output,
    pod,
    step,
    steps,
    workflow,
    writing,
)
from tests.argo.refusals import ManifestError, Unresolved

# --- Parameters, tags and conditions ----------------------------------------------------------------------------------


def test_parameters_go_from_the_submission_to_the_pod() -> None:
    tree = workflow(
        steps("main", [step("a", {"x": "{{workflow.parameters.x}}-{{=asInt(inputs.parameters.n) * 2 + 1}}"})]),
        pod("a", ["x"]),
        parameters={"x": "old", "n": "20"},
    )
    tree["spec"]["templates"][0]["inputs"] = {"parameters": [{"name": "n", "default": "0"}]}
    assert inputs_of(ended(tree, parameters={"x": "new"}), "a", "x") == ["new-41"]
    with pytest.raises(ManifestError, match="-p y is no parameter"):
        ended(tree, parameters={"y": "1"})


@pytest.mark.parametrize(
    ("loop", "values"),
    [
        ({"withItems": ["a", 2, True]}, ["a", "2", "true"]),
        ({"withParam": '["a", 1.5]'}, ["a", "1.5"]),
        ({"withSequence": {"count": "3"}}, ["0", "1", "2"]),
        ({"withSequence": {"count": 2, "start": 5}}, ["5", "6"]),
        ({"withSequence": {"start": "3", "end": "1", "format": "s%02d"}}, ["s03", "s02", "s01"]),
    ],
)
def test_a_loop_runs_its_step_for_every_item(loop: Tree, values: list[str]) -> None:
    run = ended(workflow(steps("main", [step("a", {"x": "{{item}}"}, **loop)]), pod("a", ["x"])))
    assert inputs_of(run, "a", "x") == values
    assert run.pods()[0].name.endswith(f"[0].a(0:{values[0]})")


def test_the_keys_of_an_item_are_tags() -> None:
    items = json.dumps([{"chain": "(3,7)", "hops": 2}])
    arguments = {"x": "{{item.chain}} {{=asInt(item.hops) % 2 == 0 ? 'even' : 'odd'}}"}
    run = ended(workflow(steps("main", [step("a", arguments, withParam=items)]), pod("a", ["x"])))
    assert inputs_of(run, "a", "x") == ["(3,7) even"]
    assert run.pods()[0].name.endswith("a(0:chain:3,7,hops:2)")


@pytest.mark.parametrize("loop", [{"withParam": "[]"}, {"withSequence": {"count": "0"}}])
def test_a_loop_over_nothing_is_skipped(loop: Tree) -> None:
    run = ended(workflow(steps("main", [step("a", **loop)]), pod("a")))
    assert (run.phase, run.node("[0].a").phase, run.count("Pod")) == ("Succeeded", "Skipped", 0)


@pytest.mark.parametrize(
    ("when", "runs"),
    [
        ("true", True),
        ("false", False),
        ("{{inputs.parameters.n}} < 10", True),
        ("{{inputs.parameters.n}} == 9 && !({{inputs.parameters.n}} > 3)", False),
        ("{{workflow.name}} == other || 'a b' != \"c\"", True),
        ("{{inputs.parameters.n}} == nine", False),
        ("{{=asInt(inputs.parameters.n) + 1 < 10}}", False),
        ("x in (x, y)", True),
    ],
)
def test_when_decides_as_argo_does(when: str, runs: bool) -> None:
    main = steps("main", [step("a", {"x": "{{steps.nowhere.status}}"} if not runs else {"x": "1"}, when=when)])
    main["inputs"] = {"parameters": [{"name": "n"}]}
    tree = workflow(main, pod("a", ["x"]), parameters={"n": "9"})
    tree["metadata"] = {"name": "plain"}
    run = ended(tree)
    assert (run.phase, run.count("Pod"), run.count("Skipped")) == ("Succeeded", int(runs), int(not runs))


@pytest.mark.parametrize("when", ["1", "1 <", "a < 1", "a-b == c", "x = 1"])
def test_a_bad_when_is_an_error_of_its_group(when: str) -> None:
    run = ended(workflow(steps("main", [step("a", when=when)]), pod("a")))
    assert (run.phase, run.node("[0]").phase, run.count("Pod")) == ("Failed", "Error", 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("asInt('7') % 3", "1"),
        ("7 / 2", "3.5"),
        ("6 / 2", "3"),
        ("-7 % 3", "-1"),
        ("2 + 3 * 4 == 14 && !(1 > 2)", "true"),
        ("workflow.parameters.x in ['a', 'b']", "true"),
        ("workflow['parameters']['x'] + string(1)", "a1"),
        ("workflow.parameters.none ?? 'fallback'", "fallback"),
        ("false ? 1 : true ? 2 : 3", "2"),
        ("[1, 'a']", '[1,"a"]'),
    ],
)
def test_an_expression_tag_is_computed(text: str, value: str) -> None:
    tree = workflow(steps("main", [step("a", {"x": f"{{{{={text}}}}}"})]), pod("a", ["x"]), parameters={"x": "a"})
    assert inputs_of(ended(tree), "a", "x") == [value]


@pytest.mark.parametrize(
    "text",
    [
        "{{inputs.parameters.y}}",
        "{{item}}",
        "{{steps.later.outputs.parameters.x}}",
        "{{retries}}",
        "{{workflow.status}}",
        "{{=asInt(inputs.parameters.y)}}",
        "{{=asInt('x')}}",
        "{{='1' + 1}}",
        "{{=sprig.trim('x')}}",
        "{{=1 +}}",
        "{{open",
    ],
)
def test_a_tag_that_stands_for_nothing_breaks_the_run(text: str) -> None:
    with pytest.raises(Unresolved):
        ended(workflow(steps("main", [step("a", {"x": text}, continueOn={"failed": True})]), pod("a", ["x"])))


# --- Outputs ----------------------------------------------------------------------------------------------------------


def test_an_output_feeds_a_later_loop() -> None:
    loop = step("b", {"x": "{{item.n}}"}, withParam="{{steps.a.outputs.parameters.list}}")
    tree = workflow(steps("main", [step("a")], [loop]), pod("a", outputs=output("list")), pod("b", ["x"]))
    assert inputs_of(ended(tree, writing('[{"n": 1}, {"n": 2}]\n')), "b", "x") == ["1", "2"]


def test_a_loop_collects_its_outputs_as_json() -> None:
    tree = workflow(
        steps("main", [step("a", withItems=["1", "2"])], [step("b", {"x": "{{steps.a.outputs.parameters.o}}"})]),
        pod("a", outputs=output("o")),
        pod("b", ["x"]),
    )
    assert inputs_of(ended(tree, writing("v")), "b", "x") == ['["v","v"]']


def test_an_output_that_was_not_written_is_an_error_unless_it_has_a_default() -> None:
    run = ended(workflow(pod("a", outputs=output("o"))))
    assert (run.phase, run.nodes[0].phase) == ("Error", "Error")
    run = ended(workflow(pod("a", outputs=output("o", default="d"))))
    assert (run.phase, run.nodes[0].outputs) == ("Succeeded", {"o": "d"})


@pytest.mark.parametrize(
    ("more", "text", "phase"),
    [
        ({}, "{{steps.a.outputs.parameters.o}}", "Failed"),
        ({"default": "d"}, "{{steps.a.outputs.parameters.o}}", "Succeeded"),
        ({}, "{{=steps.a.outputs.parameters.o ?? 'd'}}", "Succeeded"),
        ({}, "{{=steps.a.outputs.parameters.o + 'd'}}", "Failed"),
    ],
)
def test_the_output_of_a_skipped_step_needs_a_default(more: dict[str, str], text: str, phase: str) -> None:
    main = steps("main", [step("a", when="false")], [step("b", {"x": text})])
    run = ended(workflow(main, pod("a", outputs=output("o", **more)), pod("b", ["x"])))
    assert run.phase == phase
    assert inputs_of(run, "b", "x") == (["d"] if phase == "Succeeded" else [])
