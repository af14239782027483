"""A submitted Workflow: checked, joined with its WorkflowTemplate, its parameters decided."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.argo import fields
from tests.argo.refusals import ManifestError, Unsupported
from tests.argo.tags import replaced


@dataclass(frozen=True)
class Workflow:
    """What one run executes. `specification` is without templates and arguments, its tags replaced."""

    name: str
    scope: Mapping[str, str]
    parameters: Mapping[str, str]
    specification: Mapping[str, Any]
    templates: Mapping[str, Mapping[str, Any]]
    labels: Mapping[str, str]

    @property
    def mutexes(self) -> tuple[str, ...]:
        """The mutexes that it holds from its first node to its last."""
        return tuple(mutex["name"] for mutex in self.specification.get("synchronization", {}).get("mutexes", []))

    @property
    def priority(self) -> int:
        """Among those that wait for the same mutex, the highest goes on first."""
        return int(self.specification.get("priority", 0))

    def template(self, name: str) -> Mapping[str, Any]:
        """The template of this name."""
        if name not in self.templates:
            raise ManifestError(f"template name '{name}' undefined; there are {', '.join(sorted(self.templates))}")
        return self.templates[name]


def load(
    manifest: Mapping[str, Any],
    name: str,
    overrides: Mapping[str, str],
    workflow_templates: Mapping[str, Mapping[str, Any]],
    created: datetime,
) -> Workflow:
    """Check a Workflow's manifest and decide its parameters: `overrides` win, as `argo submit -p` does.

    `created`: when it is submitted; Kubernetes keeps whole seconds of it.
    Raises `ManifestError` for whatever Argo or the fake refuses before anything runs.
    """
    if manifest.get("kind") != "Workflow":
        raise ManifestError(f"kind is '{manifest.get('kind')}'; only a Workflow is submitted")
    fields.check(manifest)
    specification = _joined(copy.deepcopy(dict(manifest["spec"])), workflow_templates)
    parameters = _parameters(specification.pop("arguments", {}), overrides)
    templates = _by_name(specification.pop("templates", []))
    scope = _scope(manifest, name, parameters, created)
    labels = _labels(manifest, specification.pop("workflowMetadata", {}), scope)
    scope |= {f"workflow.labels.{key}": value for key, value in labels.items()}
    workflow = Workflow(name, scope, parameters, _without_pod_tags(specification, scope), templates, labels)
    for field in ("entrypoint", "onExit"):
        if field in specification or field == "entrypoint":
            workflow.template(workflow.specification.get(field, ""))
    _refuse_unknown_templates(workflow)
    return workflow


def parameter_values(arguments: Mapping[str, Any], where: str) -> dict[str, str | None]:
    """The values by name of `arguments`, None where there is none."""
    values: dict[str, str | None] = {}
    for parameter in arguments.get("parameters", []):
        if parameter["name"] in values:
            raise ManifestError(f"{where} gives the parameter '{parameter['name']}' twice")
        _check_enum(parameter, where)
        values[parameter["name"]] = parameter.get("value")
    return values


def _check_enum(parameter: Mapping[str, Any], where: str) -> None:
    # Only where it is declared: what is submitted takes the parameter's place, and Argo forgets its list.
    allowed, value = parameter.get("enum"), parameter.get("value")
    if allowed is not None and value not in allowed:
        name = f"{where}.{parameter['name']}"
        raise ManifestError(f"{name}.value should be present in {name}.enum list: '{value}' is not in {allowed}")


def _joined(specification: dict[str, Any], workflow_templates: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    reference = specification.pop("workflowTemplateRef", None)
    if reference is None:
        return specification
    if "templates" in specification:
        raise ManifestError("spec.templates and spec.workflowTemplateRef exclude each other")
    if reference["name"] not in workflow_templates:
        raise ManifestError(f"there is no WorkflowTemplate '{reference['name']}', only {sorted(workflow_templates)}")
    base = copy.deepcopy(dict(workflow_templates[reference["name"]]["spec"]))
    for field in (specification.keys() & base.keys()) - {"arguments"}:
        if not isinstance(specification[field], str | int):
            # Argo joins lists and mappings by a strategic merge patch.
            raise Unsupported(f"spec.{field} in both the Workflow and its WorkflowTemplate is not known to the fake")
    values = parameter_values(base.get("arguments", {}), "the WorkflowTemplate's arguments")
    values |= parameter_values(specification.get("arguments", {}), "spec.arguments")
    return {**base, **specification, "arguments": {"parameters": _listed(values)}}


def _listed(values: Mapping[str, str | None]) -> list[dict[str, str]]:
    return [{"name": name} | ({} if value is None else {"value": value}) for name, value in values.items()]


def _parameters(arguments: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, str]:
    declared = parameter_values(arguments, "spec.arguments")
    unknown = overrides.keys() - declared.keys()
    if unknown:
        raise ManifestError(f"-p {min(unknown)} is no parameter of the Workflow; it has {', '.join(sorted(declared))}")
    values = declared | dict(overrides)
    for name, value in values.items():
        if value is None:
            raise ManifestError(f"spec.arguments.{name}.value or spec.arguments.{name}.valueFrom is required")
    return {name: str(value) for name, value in values.items()}


def _by_name(templates: list[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for template in templates:
        if template.get("name", "") in found or not template.get("name"):
            raise ManifestError(f"a template's name is missing or there twice: '{template.get('name')}'")
        found[template["name"]] = template
    return found


def _scope(manifest: Mapping[str, Any], name: str, parameters: Mapping[str, str], created: datetime) -> dict[str, str]:
    metadata = manifest.get("metadata", {})
    scope = {"workflow.name": name, "workflow.namespace": metadata.get("namespace", "default")}
    scope["workflow.creationTimestamp.RFC3339"] = created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    scope |= {f"workflow.annotations.{key}": value for key, value in metadata.get("annotations", {}).items()}
    return scope | {f"workflow.parameters.{key}": value for key, value in parameters.items()}


def _labels(manifest: Mapping[str, Any], metadata: Mapping[str, Any], scope: Mapping[str, str]) -> dict[str, str]:
    computed = {key: f"{{{{={source['expression']}}}}}" for key, source in metadata.get("labelsFrom", {}).items()}
    added = {**metadata.get("labels", {}), **replaced(computed, scope, "spec.workflowMetadata.labelsFrom")}
    return {**manifest.get("metadata", {}).get("labels", {}), **added}


def _without_pod_tags(specification: Mapping[str, Any], scope: Mapping[str, str]) -> dict[str, Any]:
    # Volumes may name a pod's inputs; they are replaced with the pod.
    return {
        field: value if field == "volumes" else replaced(value, scope, f"spec.{field}")
        for field, value in specification.items()
    }


def _refuse_unknown_templates(workflow: Workflow) -> None:
    for template in workflow.templates.values():
        for group in template.get("steps", []):
            for step in group:
                workflow.template(step.get("template", ""))
