"""Argo's objects: hera's models of them, and the dictionaries that they become."""

from __future__ import annotations

from typing import Any

import pydantic
from hera.workflows import models

from modelhopper_contract.errors import UserError

API_VERSION = "argoproj.io/v1alpha1"

# The order in which a person reads an object; other keys follow by name.
_READING_ORDER = (
    *("apiVersion", "kind", "name", "generateName", "namespace", "metadata", "spec"),
    *("entrypoint", "onExit", "template", "when", "withParam", "withSequence", "arguments"),
    *("inputs", "outputs", "steps", "image", "command", "args", "env", "container"),
)
_LAST = ("templates",)


def plain(model: pydantic.BaseModel) -> dict[str, Any]:
    """Return a model as a dictionary in the order in which people read, without what is not given."""
    found: dict[str, Any] = _ordered(model.model_dump(exclude_none=True, by_alias=True, mode="json"))
    return found


def parameters(values: dict[str, str]) -> models.Arguments:
    """Return arguments, by name."""
    return models.Arguments(parameters=[models.Parameter(name=name, value=value) for name, value in values.items()])


def inputs(*names: str) -> models.Inputs:
    """Return the declaration of a template's inputs."""
    return models.Inputs(parameters=[models.Parameter(name=name) for name in names])


def integer(value: str | int) -> models.IntOrString:
    """Return a number as text, which Argo takes in its place, and which can be a tag."""
    return models.IntOrString(root=str(value))


def tag(name: str) -> str:
    """Return what Argo replaces by a parameter's value."""
    return f"{{{{{name}}}}}"


def computed(expression: str) -> str:
    """Return what Argo replaces by an expression's value."""
    return f"{{{{={expression}}}}}"


def checked(kind: type[pydantic.BaseModel], value: object, where: str) -> Any:
    """Return what the user wrote in Kubernetes' words as a model; raise UserError when it is not such a thing."""
    try:
        return kind.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join([where, *(str(part) for part in first["loc"])])
        raise UserError(f"{key} of the cluster's file: {first['msg']}, but {first['input']!r} was given.") from error


def _ordered(value: Any) -> Any:
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=_place)}
    return value


def _place(key: str) -> tuple[int, str]:
    if key in _LAST:
        return len(_READING_ORDER) + 1, key
    return (_READING_ORDER.index(key), "") if key in _READING_ORDER else (len(_READING_ORDER), key)
