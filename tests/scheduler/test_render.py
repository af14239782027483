from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import Manifest, Shard
from modelhopper_contract.ring import Stations
from modelhopper_contract.specification import Specification
from modelhopper_scheduler import render
from modelhopper_scheduler.render.plan import MOST_RUNGS, Expected, Plan
from tests.argo.tags import replaced
from tests.scheduler.planned import specification

CLAIMS = {"training": {"claims": "train-{shard}"}, "validation": {"claims": "valid-{shard}", "path": "v"}}
ONE_CLAIM = {"training": {"claim": "data"}, "validation": {"claim": "data", "path": "validation/{shard}"}}
PLACES: list[dict[str, Any]] = [{}, CLAIMS, ONE_CLAIM]
JUDGED = Expected(legs=20, hops=200, depth=3)
TRAINING = {"hop", "evaluate", "station"}


def cluster(**given: Any) -> Cluster:
    return Cluster.model_validate({"store": "s3://modelhopper/runs", **given})


def rendered(
    shape: Any = "hop",
    where: Cluster | None = None,
    bundle: str = "",
    spec: Specification | None = None,
    **numbers: Any,
) -> list[dict[str, Any]]:
    values: dict[str, Any] = {
        "convoy": 3,
        "stations": 3,
        "configurations": 12,
        "shards": 3,
        "validation_shards": 2,
        "hops": 9,
        **numbers,
    }
    plan = Plan(experiment="planned", shape=shape, **values)
    spec = spec or specification(plan.shards, plan.validation_shards)
    return render.workflows(plan, where or cluster(), spec, bundle)


def templates(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {template["name"]: template for template in document["spec"]["templates"]}


def pods(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for template in document["spec"]["templates"]:
        if "container" in template:
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template


def variables(template: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in template["container"]["env"]}


def everything() -> list[dict[str, Any]]:
    found = [
        one for data in PLACES for shape in ("hop", "convoy", "station") for one in rendered(shape, cluster(data=data))
    ]
    found += [
        one for shape in ("hop", "convoy", "station") for one in rendered(shape, cluster(data=CLAIMS), expected=JUDGED)
    ]
    found += [render.workflow_template(cluster(data=data)) for data in PLACES]
    return found + rendered("station", cluster(data=CLAIMS), stations=2) + staged(cluster(data=CLAIMS))


def staged(where: Cluster, shards: int = 3) -> list[dict[str, Any]]:
    manifest = Manifest(inputs=(), outputs=(), seed=1, rows=0, shards=(Shard(rows=0, files={}),) * shards)
    return render.staging(where, {"training": manifest}, {"training": "s3://data/train"})


@pytest.mark.parametrize("document", everything(), ids=lambda one: one["metadata"].get("generateName", one["kind"]))
def test_every_pod_is_restricted_and_cannot_write_its_root(document: dict[str, Any]) -> None:
    patch = json.loads(document["spec"]["podSpecPatch"])
    for own in [*patch["initContainers"], *patch["containers"]]:
        assert own["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = document["spec"]["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for _, template in pods(document):
        container = template["container"]["securityContext"]
        assert container["capabilities"] == {"drop": ["ALL"]}
        assert container["allowPrivilegeEscalation"] is False
        assert container["readOnlyRootFilesystem"] is True


def test_a_controller_that_restricts_its_own_containers_needs_no_patch() -> None:
    [document] = rendered(where=cluster(restrict_executor=False))
    assert "podSpecPatch" not in document["spec"]


@pytest.mark.parametrize("document", everything(), ids=lambda one: one["metadata"].get("generateName", one["kind"]))
def test_only_pods_that_train_have_a_gpu(document: dict[str, Any]) -> None:
    for component, template in pods(document):
        assert ("nvidia.com/gpu" in template["container"]["resources"]["limits"]) == (component in TRAINING)
        if component == "begin":
            assert variables(template)["CUDA_VISIBLE_DEVICES"] == "-1"


@pytest.mark.parametrize("document", everything(), ids=lambda one: one["metadata"].get("generateName", one["kind"]))
def test_pods_that_train_cannot_write_their_shards(document: dict[str, Any]) -> None:
    for component, template in pods(document):
        if component in TRAINING:
            assert all(volume["persistentVolumeClaim"]["readOnly"] for volume in template.get("volumes", []))
            data = [mount for mount in template["container"]["volumeMounts"] if mount["mountPath"].startswith("/data")]
            assert all(mount["readOnly"] for mount in data)


@pytest.mark.parametrize("document", everything(), ids=lambda one: one["metadata"].get("generateName", one["kind"]))
def test_the_yaml_is_the_object(document: dict[str, Any]) -> None:
    assert list(yaml.safe_load_all(render.to_yaml([document, document]))) == [document, document]


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 7))
def test_a_station_mounts_exactly_the_shards_that_it_can_be_given(stations: int, shards: int, validation: int) -> None:
    where = cluster(data=CLAIMS)
    [document] = rendered("station", where, stations=stations, shards=shards, validation_shards=validation)
    for station in range(stations):
        wanted = {f"train-{shard}" for shard in held(stations, shards, station)}
        wanted |= {f"valid-{shard}" for shard in held(stations, validation, station)}
        assert mounted(document, station) == wanted


def held(stations: int, shards: int, station: int) -> set[int]:
    # Enough configurations to meet every holder of a shard.
    return (
        {shard for number in range(stations) for shard in Stations(stations, shards).held(station, number)}
        if shards
        else set()
    )


def mounted(document: dict[str, Any], station: int) -> set[str]:
    found = templates(document)
    template = found.get("station") or found[f"station-{station}"]
    volumes = replaced(template["volumes"], {"inputs.parameters.station": str(station)}, "volumes")
    return {volume["persistentVolumeClaim"]["claimName"] for volume in volumes}


@given(st.integers(1, 9), st.data())
def test_a_hop_mounts_its_shard_and_the_validation_shard_of_its_station(shards: int, data: st.DataObject) -> None:
    validation, shard = data.draw(st.integers(1, shards)), data.draw(st.integers(0, shards - 1))
    [document] = rendered("hop", cluster(data=CLAIMS), shards=shards, validation_shards=validation)
    volumes = replaced(templates(document)["hop"]["volumes"], {"inputs.parameters.shard": str(shard)}, "volumes")
    wanted = {f"train-{shard}"} | {f"valid-{one}" for one in held(shards, validation, shard)}
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in volumes} == wanted


def test_workflows_that_follow_each_other_do_so_in_order_and_after_nobody_elses() -> None:
    priorities = [document["spec"]["priority"] for document in rendered(configurations=300, hops=9)]
    assert priorities == [0, -1, -2]


def test_workflows_that_follow_each_other_differ_by_their_number_only() -> None:
    first, second, *_ = rendered(configurations=300, hops=9)
    assert first["spec"].pop("priority") > second["spec"].pop("priority")
    assert first["metadata"].pop("generateName") == "planned-1-"
    assert second["metadata"].pop("generateName") == "planned-2-"
    assert first["metadata"].pop("annotations")["modelhopper.io/window"] == "1/3"
    second["metadata"].pop("annotations")
    assert first["spec"].pop("arguments") != second["spec"].pop("arguments")
    assert first == second


def test_workflows_of_one_experiment_exclude_each_other_whoever_submits_them() -> None:
    [document] = rendered()
    assert document["spec"]["synchronization"] == {"mutexes": [{"name": "modelhopper-planned"}]}
    installed = render.workflow_template(cluster())["spec"]["synchronization"]
    assert replaced(installed, {"workflow.parameters.experiment": "planned"}, "") == document["spec"]["synchronization"]


def test_a_chain_goes_around_the_ring_and_then_into_its_own_template() -> None:
    [document] = rendered(hops=30, configurations=1)
    scope = {f"inputs.parameters.{name}": value for name, value in {"shard": "2", "hops": "25", "shards": "3"}.items()}
    scope["inputs.parameters.configurations"] = "1"
    steps = [replaced(step, scope, "leg") for [step] in templates(document)["leg"]["steps"]]
    shards = [one["value"] for step in steps for one in step["arguments"]["parameters"] if one["name"] == "shard"]
    assert shards == [str((2 + hop) % 3) for hop in range(len(steps))]
    assert (steps[-1]["template"], steps[-1]["when"]) == ("leg", "true")


@pytest.mark.parametrize("hops", [1, 12, 13, 900, 1000])
def test_a_chain_stays_above_argos_limit_of_recursion(hops: int) -> None:
    [document] = rendered(hops=hops, configurations=1, most_pods=1010)
    length = len(templates(document)["leg"]["steps"]) - 1
    assert -(-hops // length) <= 90


@pytest.mark.parametrize("hops", [1, 12, 13, 900, 1000])
def test_chains_that_follow_from_each_other_stay_above_argos_limit_of_recursion(hops: int) -> None:
    [document] = rendered(hops=hops, configurations=1, most_pods=1010, expected=JUDGED)
    length = len(templates(document)["leg"]["steps"]) - 1
    # The experiment, the rungs in each other, the legs in each other, a hop.
    assert 1 + MOST_RUNGS + -(-hops // length) + 1 < 100
    judge = templates(document)["judge"]["container"]["args"]
    assert judge[judge.index("--most-rungs") + 1] == str(MOST_RUNGS)


def test_one_judge_of_an_experiment_works_at_a_time_and_none_waits_for_another_experiment() -> None:
    [document] = rendered(expected=JUDGED)
    lock = templates(document)["judge"]["synchronization"]
    assert lock == {"mutexes": [{"name": "modelhopper-planned.judge"}]}
    installed = templates(render.workflow_template(cluster()))["judge"]["synchronization"]
    assert replaced(installed, {"workflow.parameters.experiment": "planned"}, "") == lock


@pytest.mark.parametrize("stations", [2, 3])
def test_a_judge_stays_beside_the_stations(stations: int) -> None:
    [document] = rendered("station", cluster(data=CLAIMS), stations=stations, expected=JUDGED)
    beside = templates(document)["experiment"]["steps"][1]
    judge = next(step for step in beside if step["template"] == "judge")
    assert judge["arguments"]["parameters"] == [{"name": "stations", "value": str(stations)}]
    assert "mutexes" not in json.dumps(templates(document)["judge"])


def test_an_experiment_of_which_all_is_known_has_no_judge() -> None:
    for shape in ("hop", "convoy", "station"):
        assert "judge" not in json.dumps(rendered(shape))


def test_pods_of_cpus_ask_for_no_gpu_and_hide_those_that_are_there() -> None:
    spec = specification(devices={"kind": "cpu", "threads": 2})
    [document] = rendered(spec=spec)
    hop = templates(document)["hop"]
    assert hop["container"]["resources"]["limits"] == {"memory": "2Gi"}
    assert (variables(hop)["CUDA_VISIBLE_DEVICES"], variables(hop)["OMP_NUM_THREADS"]) == ("-1", "2")
    assert hop["container"]["image"].endswith("-cpu")
    assert "tolerations" not in document["spec"]


def test_the_vendors_taint_is_tolerated_once() -> None:
    own = {"key": "nvidia.com/gpu", "operator": "Exists"}
    [document] = rendered(where=cluster(placement={"tolerations": [own]}, resources={"gpu": "nvidia.com/mig-1g.10gb"}))
    assert document["spec"]["tolerations"] == [own]
    [document] = rendered(where=cluster(resources={"gpu": "amd.com/gpu"}))
    assert [one["key"] for one in document["spec"]["tolerations"]] == ["amd.com/gpu"]


def test_queues_label_only_pods_that_train() -> None:
    label = {"kueue.x-k8s.io/queue-name": "research"}
    [document] = rendered(where=cluster(placement={"labels": label}))
    for component, template in pods(document):
        assert (label.items() <= template["metadata"]["labels"].items()) == (component in TRAINING)


def test_secrets_are_named_and_never_written() -> None:
    [document] = rendered()
    for _, template in pods(document):
        secret = [one for one in template["container"]["env"] if one["name"] == "AWS_SECRET_ACCESS_KEY"]
        assert secret == [
            {
                "name": "AWS_SECRET_ACCESS_KEY",
                "valueFrom": {"secretKeyRef": {"name": "modelhopper-store", "key": "secretKey"}},
            }
        ]
    [document] = rendered(where=cluster(credentials=None))
    assert "secret" not in json.dumps(document).lower()


def test_retries_use_nothing_that_argo_3_6_does_not_know() -> None:
    for document in everything():
        for component, template in pods(document):
            strategy = template["retryStrategy"]
            assert strategy["backoff"].keys() == {"duration", "factor"}
            assert "affinity" not in strategy
            stays = component == "station" or "preside" in template["container"]["args"]
            assert strategy["limit"] == ("50" if stays else "5")


# Go's reader of YAML, which kubectl and Argo have, takes more for numbers than PyYAML does.
@pytest.mark.parametrize("name", ["n", "08", "1e3", "12e-3", "0o17", "42"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(name: str) -> None:
    text = render.to_yaml(
        [{"kind": "Workflow", "metadata": {"labels": {"modelhopper.io/experiment": name}}, "spec": {}}]
    )
    assert f"modelhopper.io/experiment: '{name}'" in text


@pytest.mark.parametrize(("shape", "count"), [("hop", "most-hops"), ("convoy", "--convoy"), ("station", "--stations")])
def test_begin_is_told_the_shape(shape: str, count: str) -> None:
    [document] = rendered(shape)
    assert count.removeprefix("--") in " ".join(templates(document)["begin"]["container"]["args"])


def test_the_template_has_a_parameter_for_each_name_of_a_claim() -> None:
    document = render.workflow_template(cluster(data=CLAIMS))
    values = {one["name"]: one.get("value") for one in document["spec"]["arguments"]["parameters"]}
    assert (values["training-claims"], values["validation-claims"]) == ("train-", "valid-")
    scope = {f"workflow.parameters.{name}": value for name, value in values.items()} | {"inputs.parameters.shard": "2"}
    scope["workflow.parameters['validation-shards']"] = "2"
    claim = templates(document)["hop"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert replaced(claim, scope, "") == "train-2"


def test_staging_writes_what_training_reads() -> None:
    for data in (CLAIMS, ONE_CLAIM):
        [document] = staged(cluster(data=data))
        fill = templates(document)["fill"]
        assert "readOnly" not in fill["volumes"][0]["persistentVolumeClaim"]
        assert templates(document)["stage"]["steps"][0][0]["withSequence"] == {"start": "0", "count": "3"}


def test_many_shards_are_staged_by_several_workflows() -> None:
    sequences = [
        templates(one)["stage"]["steps"][0][0]["withSequence"] for one in staged(cluster(data=CLAIMS), shards=1500)
    ]
    assert sequences == [{"start": "0", "count": "1000"}, {"start": "1000", "count": "500"}]


def test_what_pods_fetch_needs_no_staging() -> None:
    with pytest.raises(UserError, match="nothing to stage"):
        staged(cluster())


def test_data_without_an_address_cannot_be_staged() -> None:
    manifest = Manifest(inputs=(), outputs=(), seed=1, rows=0, shards=())
    with pytest.raises(UserError, match="the training data is to be staged, and its address"):
        render.staging(cluster(data=CLAIMS), {"training": manifest}, {})


def test_a_bundle_that_is_too_large_is_to_be_uploaded_first() -> None:
    assert render.fits("x" * 64_000)
    with pytest.raises(UserError, match=r"64,001 characters.*modelhopper upload.*--uploaded"):
        rendered(bundle="x" * 64_001)


def test_a_workflow_that_is_too_large_is_refused() -> None:
    with pytest.raises(UserError, match="may have 512,000"):
        rendered("station", cluster(data=CLAIMS), stations=900, shards=1800)


def test_a_claim_for_each_of_more_validation_shards_than_pods_is_refused() -> None:
    with pytest.raises(UserError, match=r"5 validation shards with a claim each, and 3 training shards.*`station`"):
        rendered(where=cluster(data=CLAIMS), validation_shards=5)
    assert rendered(where=cluster(data=ONE_CLAIM), validation_shards=5)


def test_an_experiment_that_asks_for_gpus_needs_a_cluster_with_some() -> None:
    with pytest.raises(UserError, match="asks for GPUs"):
        rendered(where=cluster(resources={"gpu": None}), spec=specification(devices={"kind": "gpu"}))


def test_a_mistake_in_kubernetes_words_names_its_place() -> None:
    with pytest.raises(UserError, match=r"placement\.tolerations\.0\.operator"):
        rendered(where=cluster(placement={"tolerations": [{"operator": 3}]}))


def test_without_hera_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hera", None)
    with pytest.raises(UserError, match=r"needs hera: pip install 'modelhopper\[cluster\]'"):
        rendered()


def test_planning_needs_no_hera() -> None:
    program = "import sys, modelhopper_scheduler.render.plan; sys.exit('hera' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_heras_own_configuration_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from hera.shared import global_config

    before = rendered()
    monkeypatch.setattr(global_config, "image", "python:3")
    monkeypatch.setattr(global_config, "namespace", "elsewhere")
    assert rendered() == before
