"""The JSON schemas of the two files: pydantic's, with the short forms that are read before pydantic checks."""

from __future__ import annotations

from typing import Any

from modelhopper.command.search_schema import with_searches
from modelhopper_contract.cluster import Cluster
from modelhopper_contract.experiment import Experiment

Schema = dict[str, Any]


def experiment_schema() -> Schema:
    """Return the schema. What it accepts, the reader of the file reads; what it refuses, the reader refuses."""
    schema = with_searches(_cleaned(Experiment.model_json_schema()))
    parts = schema["$defs"]
    parts["Model"] = _model(parts["Model"])
    model = {"$ref": "#/$defs/Model"}
    several = schema["properties"]["models"]
    schema["properties"]["models"] = {"anyOf": [several, {"type": "string"}], "description": _DESCRIPTIONS["models"]}
    several["additionalProperties"] = model
    parts["WarmStart"] = {"anyOf": [{"type": "string", "description": "an experiment's name"}, parts["WarmStart"]]}
    parts["EarlyStopping"] = {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, parts["EarlyStopping"]]}
    parts["Folds"] = {"anyOf": [{"type": "integer", "minimum": 2}, parts["Folds"]]}
    parts["Method"] = {"anyOf": [{"enum": ["hop", "average"]}, parts["Method"]]}
    for key, text in _DESCRIPTIONS.items():
        schema["properties"][key]["description"] = text
    return {"$schema": _DIALECT, "title": "modelhopper experiment", **schema}


def cluster_schema() -> Schema:
    """Return the schema of the cluster's file, which has no short forms."""
    schema: Schema = _cleaned(Cluster.model_json_schema())
    for key, text in _CLUSTER_DESCRIPTIONS.items():
        schema["properties"][key]["description"] = text
    return {"$schema": _DIALECT, "title": "modelhopper cluster", **schema}


_DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What an editor shows beside a key.
_DESCRIPTIONS = {
    "name": "Results are kept under this name: lower-case letters, digits and -.",
    "data": "Folders made by `modelhopper pack`, or s3://bucket/prefix.",
    "models": "Models by name: `file.py:function`, or `{build: file.py:function, layers: 3}`, .json, or .keras.",
    "compile": "Keras compile parameters that are the same for all configurations.",
    "fit": "Keras fit parameters of one hop that are the same for all configurations.",
    "search": "How configurations are chosen, and what varies; a list of searches for several, one after another.",
    "iterations": "Passes over all training data.",
    "evaluate_every": "Iterations between evaluations; by default only the last, with early stopping all.",
    "early_stopping": "When to end a configuration that does not get better; a number alone is the patience.",
    "objective": "What ranks configurations, such as `validation accuracy`.",
    "folds": "Cross-validation: into how many folds of shards the data is cut; or `{count: 10, stratified: true}`.",
    "groups": "Models of its own for each group of data that was packed with --group-by; `shards`: for each shard.",
    "method": "How shards train a configuration: `hop`, `average`, or `{name: easgd, alpha: 0.001, beta: 0.9}`.",
    "warm_start": "An earlier experiment in the same store; configurations begin with its results, by their numbers.",
    "seed": "The same seed gives the same results.",
    "fuse": "How many configurations of a kind train side by side in one compiled step; `auto`: what is fastest here.",
    "devices": "What stations run on; never changes a result, but for `threads`.",
    "store": "A folder or s3://bucket/prefix for everything that a run keeps.",
    "keep_checkpoints": "`last`, or one per iteration.",
}

_CLUSTER_DESCRIPTIONS = {
    "namespace": "Where Workflows are made.",
    "store": "s3://bucket/prefix for everything that a run keeps, as pods reach it.",
    "endpoint": "The S3 server's address, as pods reach it; left out: AWS.",
    "region": "The S3 region.",
    "credentials": "A Secret with accessKey and secretKey; null: the pods' own identity.",
    "ca_config_map": "A ConfigMap with ca.crt, for a server with a certificate of one's own.",
    "service_account": "What pods run as; Argo's executor needs it.",
    "images": "The container images, and how they are pulled.",
    "data": "How shards reach the pods: claims, one claim, or fetched.",
    "resources": "What a pod that trains asks for.",
    "placement": "Where pods may run, in Kubernetes' own words.",
    "stations": "How many pods train at once; by default one per shard.",
    "shape": "hop, convoy or station; by default chosen by predicted time.",
    "convoy": "Configurations that travel together, in the shape convoy.",
    "hop_s": "Seconds that one hop trains, for the prediction.",
    "pod_s": "Seconds that a pod costs beside its training, for the prediction.",
    "most_pods": "Of one Workflow; larger runs are several, one after another.",
    "restrict_executor": "Let Argo's own containers pass Pod Security's profile restricted.",
    "retries": "Of a pod that was lost, killed, or could not reach the store.",
    "keep_s": "For how long Argo keeps a Workflow that has ended.",
}


def _cleaned(schema: Any) -> Any:
    """Leave out pydantic's titles, which repeat the keys, and its discriminator, which is OpenAPI's."""
    if isinstance(schema, list):
        return [_cleaned(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = {"title", "discriminator"} if not _is_properties(schema) else set()
    return {key: _cleaned(value) for key, value in schema.items() if key not in dropped}


def _is_properties(schema: Schema) -> bool:
    # A field may be called `title`; then its value is a schema, not a text.
    return isinstance(schema.get("title"), dict)


def _model(long: Schema) -> Schema:
    short = {"type": "string", "description": "file.py:function, a .json or a .keras file"}
    return {"anyOf": [short, {**long, "additionalProperties": True}]}
