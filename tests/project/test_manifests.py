"""Helm and Kustomize install the same objects, which ask for as little as they can."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml

from modelhopper_contract.cluster import Cluster
from tests.project import installation, tree
from tests.project.installation import CHART, Manifest

NAMESPACED = {
    *("ConfigMap", "Deployment", "NetworkPolicy", "Pod", "Role", "RoleBinding", "Service", "ServiceAccount"),
    "WorkflowTemplate",
}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
# The quick-start's store, which the base says, too.
STORE = "store=s3://modelhopper/experiments,endpoint=http://minio:9000,existingSecret=modelhopper-store"

everything = pytest.mark.parametrize("source", [*installation.VARIANTS, "quick-start"])


def test_helm_and_kustomize_make_the_same_objects() -> None:
    from_chart = [one for one in installation.chart("--set", STORE) if not is_test(one)]
    assert by_name(from_chart) == by_name(installation.kustomized(installation.BASE))


def test_the_committed_workflow_template_is_the_rendered_one() -> None:
    """`make golden` renders it again."""
    assert installation.WORKFLOW_TEMPLATE.read_text(encoding="utf-8") == installation.rendered_text()


@pytest.mark.parametrize("variant", installation.VARIANTS)
def test_what_values_make_of_the_workflow_template_is_what_modelhopper_renders(variant: str) -> None:
    given = values(variant)
    own = given.pop("labels", {})
    from_chart = installation.only(installation.variant(variant), "WorkflowTemplate")
    rendered = installation.rendered(cluster(given))
    rendered["metadata"]["labels"] |= own
    rendered["spec"]["podMetadata"]["labels"] |= own
    assert read(normal(from_chart)) == read(normal(rendered))


@everything
def test_every_object_is_namespaced_and_none_holds_a_secret(source: str) -> None:
    manifests = made(source)
    assert {one["kind"] for one in manifests} <= NAMESPACED
    assert all("namespace" not in one["metadata"] for one in manifests)


@everything
def test_the_executor_may_only_report(source: str) -> None:
    rules = installation.only(made(source), "Role")["rules"]
    expected = {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
    assert rules == [expected]


@everything
def test_every_pod_passes_the_profile_restricted(source: str) -> None:
    found = {name: list(complaints(pod)) for one in made(source) for name, pod in installation.pods(one)}
    assert found, "no pods"
    assert not {name: said for name, said in found.items() if said}


@everything
def test_argos_own_containers_pass_it(source: str) -> None:
    patch = json.loads(installation.only(made(source), "WorkflowTemplate")["spec"]["podSpecPatch"])
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert patch == {
        "initContainers": [{"name": "init", "securityContext": context}],
        "containers": [{"name": "wait", "securityContext": context}],
    }


def test_argos_own_containers_are_left_alone_where_values_say_so() -> None:
    manifests = installation.chart("--set", f"{STORE},restrictExecutor=false")
    assert "podSpecPatch" not in installation.only(manifests, "WorkflowTemplate")["spec"]


@everything
def test_the_network_policy_is_for_every_pod_of_a_workflow(source: str) -> None:
    manifests = made(source)
    selected = installation.only(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    spec = installation.only(manifests, "WorkflowTemplate")["spec"]
    for template in (one for one in spec["templates"] if "container" in one):
        labels = labels_of(spec, "podMetadata") | labels_of(template, "metadata")
        assert selected.items() <= labels.items(), template["name"]


@pytest.mark.parametrize(
    ("settings", "port"),
    [
        ("endpoint=http://minio:9000", 9000),
        ("endpoint=http://minio", 80),
        ("endpoint=https://minio/", 443),
        ("endpoint=https://[fd00::1]:9443", 9443),
        ("region=eu-central-1", 443),
        ("endpoint=http://minio,networkPolicy.store.ports={9000}", 9000),
    ],
)
def test_pods_reach_the_endpoints_port(settings: str, port: int) -> None:
    manifests = installation.chart("--set", f"store=s3://a/b,existingSecret=c,{settings}")
    egress = installation.only(manifests, "NetworkPolicy")["spec"]["egress"]
    assert egress[1] == {"ports": [{"protocol": "TCP", "port": port}]}


def test_minio_admits_only_pods_of_modelhopper() -> None:
    policy = installation.only(installation.kustomized(installation.QUICK_START), "NetworkPolicy", "minio")["spec"]
    peer = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "modelhopper"}}}
    assert policy["ingress"] == [{"from": [peer], "ports": [{"protocol": "TCP", "port": 9000}]}]
    assert policy["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "No store is given"),
        (["--set", "store=s3://a/b"], "--set existingSecret=modelhopper-store"),
        (["--set", "store=s3://a/b,existingSecret=c,podIdentity=true"], "by one of the two"),
        (["--set", "store=minio/b"], "'minio/b' does not match pattern"),
        (["--set", "stroe=s3://a/b"], "additional properties 'stroe' not allowed"),
        (["--set", "images.pullPolicy=always"], "images/pullPolicy"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(arguments: list[str], said: str) -> None:
    result = installation.helm("template", "modelhopper", ".", *installation.CLUSTER, *arguments)
    assert result.returncode != 0
    assert said in result.stderr


def test_a_cluster_without_argo_is_refused() -> None:
    result = installation.helm("template", "modelhopper", ".", *installation.CLUSTER[:2], "--set", STORE)
    assert result.returncode != 0
    assert "Argo Workflows is not installed" in result.stderr


@pytest.mark.parametrize("values", ["../values.yaml", *installation.VARIANTS])
def test_helm_lint_has_nothing_to_say(values: str) -> None:
    result = installation.helm(
        "lint", ".", "--strict", "--quiet", "--kube-version", "1.34.0", "--values", f"ci/{values}"
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_chart_has_the_projects_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    version = tree.project()["version"]
    assert (about["version"], about["appVersion"]) == (version, version)


def test_the_readme_lists_every_value_with_its_default_and_what_it_is_for() -> None:
    listed = {row[0].strip("`"): row[1:] for row in table()}
    assert listed == {key: [f"`{json.dumps(value)}`", comment(key)] for key, value in leaves(defaults())}


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    known = {key for key, _ in leaves(defaults())}
    described = {path if path in known else path.rpartition(".")[0] or path for path in allowed(schema, schema)}
    assert described == known | {"global"}


@pytest.mark.cluster
@everything
def test_the_api_server_takes_every_object(source: str) -> None:
    # A pod is refused while its service account is not there.
    text = yaml.safe_dump_all(one for one in made(source) if one["kind"] != "Pod")
    command = ["kubectl", "apply", "--dry-run=server", "--validate=strict", "-f", "-"]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr


def made(source: str) -> list[Manifest]:
    if source == "quick-start":
        return installation.kustomized(installation.QUICK_START)
    return installation.variant(source)


def values(variant: str) -> dict[str, Any]:
    """Return the defaults with a variant's values in their places."""
    return merged(defaults(), yaml.safe_load((CHART / "ci" / variant).read_text(encoding="utf-8")))


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {key: merged(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(below[key], dict)}
    return below | above | both


def cluster(given: dict[str, Any]) -> Cluster:
    """Return the cluster.yaml that says what the chart's values say."""
    images, resources, placement = given["images"], given["resources"], given["placement"]
    assert given["cache"]["size"].endswith("M")
    return Cluster.model_validate(
        {
            "store": given["store"],
            "endpoint": given["endpoint"] or None,
            "region": given["region"] or None,
            "credentials": given["existingSecret"] or None,
            "ca_config_map": given["caConfigMap"] or None,
            "service_account": given["serviceAccount"]["name"],
            "images": {
                "trainer": images["trainer"] or None,
                "scheduler": images["scheduler"] or None,
                "pull_policy": images["pullPolicy"],
                "pull_secrets": images["pullSecrets"],
            },
            "data": {
                "cache_gb": float(given["cache"]["size"][:-1]) / 1000,
                "cache_claim": given["cache"]["claim"] or None,
            },
            "resources": resources | {"gpu": resources["gpu"] or None},
            "placement": {
                "node_selector": placement["nodeSelector"],
                "tolerations": placement["tolerations"],
                "affinity": placement["affinity"] or None,
                "runtime_class": placement["runtimeClassName"] or None,
                "priority_class": placement["priorityClassName"] or None,
                "scheduler": placement["schedulerName"] or None,
                "labels": placement["labels"],
                "annotations": placement["annotations"],
            },
        }
    )


def read(template: Manifest) -> Manifest:
    """Return a WorkflowTemplate whose patch of pods is an object, since two writers of JSON differ in their spaces."""
    for parameter in template["spec"]["arguments"]["parameters"]:
        if parameter["name"] == "pod":
            parameter["value"] = json.loads(parameter["value"])
    return template


def is_test(manifest: Manifest) -> bool:
    annotations: dict[str, str] = manifest["metadata"].get("annotations", {})
    return annotations.get("helm.sh/hook") == "test"


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(one["kind"], one["metadata"]["name"]): normal(one) for one in manifests}


def normal(manifest: Manifest) -> Manifest:
    """Return an object without what only Helm says: its labels, and the namespace, which kubectl adds."""
    labels = manifest["metadata"]["labels"]
    own = {key: labels[key] for key in labels if key not in {"helm.sh/chart", "app.kubernetes.io/managed-by"}}
    subjects = [
        {key: value for key, value in one.items() if key != "namespace"} for one in manifest.get("subjects", [])
    ]
    return manifest | {"metadata": manifest["metadata"] | {"labels": own}, "subjects": subjects}


def labels_of(manifest: Manifest, key: str) -> dict[str, str]:
    labels: dict[str, str] = manifest.get(key, {}).get("labels", {})
    return labels


def complaints(pod: Manifest) -> list[str]:
    """Say what Pod Security's profile `restricted` would refuse, and what we ask beyond it."""
    of_pod = pod.get("securityContext", {})
    found = [f"{key} is on" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    found += [f"volume {one['name']}" for one in pod.get("volumes", []) if not one.keys() - {"name"} <= VOLUMES]
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        both = of_pod | own
        demands = {
            "runs as root": both.get("runAsNonRoot") is True and both.get("runAsUser") != 0,
            "seccomp": both.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
            "escalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "privileged": not own.get("privileged"),
            "host ports": all("hostPort" not in port for port in container.get("ports", [])),
            "its root can be written": own.get("readOnlyRootFilesystem") is True,
            "no memory limit": "memory" in container.get("resources", {}).get("limits", {}),
        }
        found += [f"{container.get('name')}: {what}" for what, met in demands.items() if not met]
    return found


def defaults() -> Manifest:
    values: Manifest = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return values


def leaves(values: Manifest, above: str = "") -> list[tuple[str, Any]]:
    """Return each value that has none below, by its path; an empty mapping is a value."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        path = f"{above}{key}"
        found += leaves(value, f"{path}.") if isinstance(value, dict) and value else [(path, value)]
    return found


def comment(path: str) -> str:
    """Return the comment above a value in values.yaml."""
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    at = -1
    for depth, key in enumerate(path.split(".")):
        at = next(n for n in range(at + 1, len(lines)) if lines[n].startswith(f"{'  ' * depth}{key}:"))
    above = lines[at - 1].strip()
    assert above.startswith("# "), f"values.yaml says nothing about {path}"
    return above.removeprefix("# ")


def table() -> list[list[str]]:
    """Return the rows of the README's table."""
    lines = (CHART / "README.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")]


def allowed(schema: Manifest, part: Manifest, above: str = "") -> list[str]:
    """Return the paths of what a schema describes, as far as it names keys."""
    if "$ref" in part:
        part = schema["definitions"][part["$ref"].rpartition("/")[2]]
    if "properties" not in part:
        return [above]
    assert part["additionalProperties"] is False, f"{above or 'the schema'} takes keys that it does not know"
    prefix = f"{above}." if above else ""
    return [path for key, value in part["properties"].items() for path in allowed(schema, value, prefix + key)]
