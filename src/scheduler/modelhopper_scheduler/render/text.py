"""Rendered objects as YAML, for people to read and for `kubectl create -f` and `argo submit`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

# What Kubernetes' reader takes for a boolean or a number, and PyYAML writes without quotes: n, 1e3, 08, 0o17.
_NOT_TEXT = re.compile(r"[yYnN]|[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|[-+]?0o[0-7_]+")


def to_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return the objects as YAML documents, in block style and without folded lines."""
    return _comment(documents) + "---\n".join(
        yaml.dump(dict(one), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=float("inf"))
        for one in documents
    )


def _comment(documents: Sequence[Mapping[str, Any]]) -> str:
    first = documents[0]
    metadata, namespace = first["metadata"], first["metadata"].get("namespace", "default")
    if first["kind"] == "WorkflowTemplate":
        return (
            "# Runs any experiment that `modelhopper upload` put into the store. Made by `modelhopper render`.\n"
            f"# Install: kubectl apply -n {namespace} -f FILE\n"
            f"# Run: argo submit -n {namespace} --from workflowtemplate/{metadata['name']} -p experiment=NAME\n"
        )
    what = metadata["labels"].get("modelhopper.io/experiment")
    order = "which follow each other" if what else "side by side"
    count = f"{len(documents)} Workflows, {order}" if len(documents) > 1 else "one Workflow"
    shape = metadata.get("annotations", {}).get("modelhopper.io/shape")
    title = f"The experiment {what} as pods of the shape `{shape}`" if what else "Fills volumes with packed data"
    if what and shape is None:
        title = "Scores packed data, with a pod for each shard"
    return f"# {title}: {count}.\n# Submit: kubectl create -n {namespace} -f FILE, or argo submit -n {namespace} FILE\n"


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, and writes no anchors."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        # The signature is PyYAML's.
        super().increase_indent(flow, False)  # noqa: FBT003


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _NOT_TEXT.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)
