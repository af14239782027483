"""The JSON schema of an experiment's `search`: each method's keys, spaces with ranges, and several as a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelhopper_contract.searches import STATIC_METHODS
from modelhopper_contract.spaces import CHOICE_KEYS, COMPILE_KEYS, CONDITIONAL_KEYS

Schema = dict[str, Any]

_PARTS = ("Grid", "Explicit", "Random", "Hyperband", "Halving", "Asha", "Median", "Optuna", "Pbt", "Custom")


def with_searches(schema: Schema) -> Schema:
    """Return an experiment's schema, as pydantic makes it, with what it does not know of searches."""
    parts = {name: part for name, part in schema["$defs"].items() if name != "Several"}
    fields = parts["Compile"]["properties"] | parts["Fit"]["properties"]
    parts |= {name: _described(parts[name]) for name in _PARTS}
    parts["Grid"]["properties"]["space"] = _space(fields, {"type": "array", "minItems": 1})
    parts["Explicit"]["properties"]["configurations"]["items"] = _space(fields)
    for name in _PARTS:
        if name not in ("Grid", "Explicit"):
            parts[name]["properties"]["space"] = {"$ref": "#/$defs/Space"}
    parts["Space"] = _space(fields, {"type": "array", "minItems": 1}, {"$ref": "#/$defs/Range"})
    parts["Range"] = _RANGE
    search = {"oneOf": [*({"$ref": f"#/$defs/{name}"} for name in _PARTS), _several(parts)]}
    return {**schema, "$defs": parts, "properties": {**schema["properties"], "search": search}}


def _described(part: Schema) -> Schema:
    own = {key: {**value, **_description(key, value)} for key, value in part["properties"].items()}
    return {
        **part,
        "properties": own,
        "required": ["method", *(key for key in part.get("required", ()) if key != "method")],
    }


def _description(key: str, value: Schema) -> Schema:
    if key == "method" and value.get("type") == "string" and not value.keys() & {"const", "enum"}:
        return {"pattern": r"\.py:[A-Za-z_]\w*$", "description": "A class of your own: file.py:Class."}
    return {"description": _DESCRIPTIONS[key]} if key in _DESCRIPTIONS else {}


def _several(parts: Mapping[str, Schema]) -> Schema:
    static = [name for name in _PARTS if parts[name]["properties"]["method"].get("const") in STATIC_METHODS]
    return {
        "type": "array",
        "minItems": 1,
        "items": {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in static]},
        "description": "Searches one after another: each continues the numbering.",
    }


def _space(fields: Mapping[str, Schema], listed: Schema | None = None, ranged: Schema | None = None) -> Schema:
    """Return what may stand in a space, where lists or also ranges are given, or in one configuration."""
    each = {key: {k: v for k, v in fields[key].items() if k != "default"} for key in CHOICE_KEYS if key in fields}
    each |= {key: {"anyOf": [{"type": "string"}, _NAMED]} for key in CONDITIONAL_KEYS}
    found = {}
    for key in CHOICE_KEYS:
        forms = [form for form in (listed, ranged if key in _NUMBERS else None) if form is not None]
        what = "Keras compile" if key in COMPILE_KEYS else "a model's name" if key == "model" else "Keras fit"
        how = (
            "its value" if not forms else "one value, or a list of values" + (", or a range" if len(forms) > 1 else "")
        )
        found[key] = {**({"anyOf": [*forms, each[key]]} if forms else each[key]), "description": f"{what}: {how}"}
    return {"type": "object", "properties": found, "additionalProperties": False}


_NUMBERS = ("batch_size", "epochs")  # the keys that can be ranges themselves; the others' parameters can

_NAMED: Schema = {
    "type": "object",
    "properties": {"name": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}},
    "required": ["name"],
    "description": "Its name, and parameters: each a value, in a space also a list of values or a range.",
}

_BOUNDS: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}

_INTEGER = "Draw whole numbers; by default for batch_size, epochs, and a model's parameter where both bounds are whole."

_RANGE: Schema = {
    "type": "object",
    "properties": {
        "linear": {**_BOUNDS, "description": "[low, high]: all numbers are drawn equally often."},
        "log": {**_BOUNDS, "description": "[low, high]: all orders of magnitude are drawn equally often."},
        "log_near_one": {**_BOUNDS, "description": "[low, high]: as log, for the distance from 1."},
        "integer": {"type": "boolean", "description": _INTEGER},
    },
    "oneOf": [{"required": ["linear"]}, {"required": ["log"]}, {"required": ["log_near_one"]}],
    "additionalProperties": False,
}

# What an editor shows beside a key.
_DESCRIPTIONS = {
    "method": "How configurations are chosen.",
    "configurations": "How many; or their list.",
    "eta": "The best of every so many go on.",
    "skip_last": "Rungs at the end of each bracket that are left out.",
    "budget": "Whether a rung's iterations are those since the beginning, or on top of the rung before.",
    "rounding": "Of the brackets' sizes: up as in the paper, or down as in MADlib.",
    "first": "Iterations before the first decision.",
    "parallel": "Configurations that train at a time; by default twice as many as shards.",
    "every": "Iterations between decisions.",
    "grace": "Iterations that every configuration trains.",
    "sampler": "A class of optuna.samplers.",
    "options": "The sampler's own parameters.",
    "quantile": "The share that is replaced, and that is copied.",
    "resample": "How likely a value is drawn anew instead of being changed.",
    "factors": "By which numbers change.",
}
