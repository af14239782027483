"""Rendering: what is sent to a cluster with Argo Workflows, as plain dictionaries or as YAML.

What lives here: pure functions; the same plan gives the same text. What never happens here: reading the cluster, the
store, a clock, or hera's global configuration. Only the modules of this package import hera, and `plan` does not.
"""

# Each function imports what it needs when it is called: hera takes most of a second, and is an extra.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.records import Split
from modelhopper_contract.scoring_request import ScoringBundle
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.render.plan import Plan

# An environment variable may have 131,072 characters (Linux), and Argo writes a pod's template, with this in it, into
# one; the rest of a template, and its escapes, have ample room in what is left.
MOST_BUNDLE = 64_000

__all__ = ["MOST_BUNDLE", "Plan", "fits", "scoring_workflow", "staging", "to_yaml", "workflow_template", "workflows"]


def fits(bundle: str) -> bool:
    """Say whether a bundle can travel inside a Workflow."""
    return len(bundle) <= MOST_BUNDLE


def workflows(plan: Plan, cluster: Cluster, specification: Specification, bundle: str) -> list[dict[str, Any]]:
    """Return the Workflows of an experiment, in the order in which they follow each other.

    `bundle`: what `Bundle.encode()` returns, or "" when the store has it. Raises UserError without hera, for what
    cannot work on this cluster, and for what an API server would refuse.
    """
    if not fits(bundle):
        raise UserError(
            f"the files of {plan.experiment} make a bundle of {len(bundle):,} characters, and a Workflow takes at most "
            f"{MOST_BUNDLE:,}. Upload it first with `modelhopper upload`, then render with --uploaded."
        )
    _check_for_hera()
    from modelhopper_scheduler.render.manifests import render

    return render(plan, cluster, specification, bundle)


def workflow_template(cluster: Cluster) -> dict[str, Any]:
    """Return the WorkflowTemplate `modelhopper`, which runs any experiment that was uploaded to the store.

    How shards reach the pods (claims, one claim, fetched) is fixed by `cluster.data`, since the volumes of a template
    are; the names of the claims are parameters. Raises UserError without hera.
    """
    _check_for_hera()
    from modelhopper_scheduler.render.installation import render

    return render(cluster)


def staging(cluster: Cluster, manifests: Mapping[Split, Manifest], urls: Mapping[Split, str]) -> list[dict[str, Any]]:
    """Return the Workflows that fill the volumes of `cluster.data` with packed data sets, once.

    `urls`: where each data set is, s3://bucket/prefix. Raises UserError without hera, and when pods fetch everything.
    """
    _check_for_hera()
    from modelhopper_scheduler.render.stage import render

    return render(cluster, {split: len(manifest.shards) for split, manifest in manifests.items()}, urls)


def scoring_workflow(cluster: Cluster, bundle: ScoringBundle) -> dict[str, Any]:
    """Return the Workflow that scores a packed data set, one pod for each shard.

    Raises UserError without hera, and for files that are too large to travel.
    """
    _check_for_hera()
    from modelhopper_scheduler.render.scoring import check_bundle, render

    text = bundle.encode()
    check_bundle(text, MOST_BUNDLE)
    return render(cluster, bundle.request, text)


def to_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return rendered objects as one YAML text, beginning with a comment that says how to submit it."""
    from modelhopper_scheduler.render.text import to_yaml as text

    return text(documents)


def _check_for_hera() -> None:
    import importlib.util

    if importlib.util.find_spec("hera") is None:
        raise UserError("rendering needs hera: pip install 'modelhopper[cluster]'")
