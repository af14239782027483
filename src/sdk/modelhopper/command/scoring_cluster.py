"""`predict` and `evaluate` with `--cluster`: what is sent, instead of done here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelhopper_contract.errors import UserError

if TYPE_CHECKING:
    from modelhopper.scoring_clusters import ScoringWorkflow
    from modelhopper_contract.scoring import Action
    from modelhopper_scheduler.workflow_api import WorkflowState

ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        help="What the cluster is like: score there, with a pod per shard of data in S3.",
        show_default=False,
    ),
]
RenderFile = Annotated[
    Path | None,
    typer.Option(
        "--render", help="With --cluster: write the Workflow to this file, and send nothing.", show_default=False
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="With --cluster: print it, let the API server check it, send nothing.")
]
Wait = Annotated[
    bool, typer.Option("--wait", help="With --cluster: return when it is done; evaluate shows the result.")
]


@dataclass(frozen=True)
class How:
    """What becomes of the Workflow."""

    cluster: Path
    render: Path | None
    dry_run: bool
    wait: bool


def sent(
    how: How,
    action: Action,
    models: list[str],
    data: str | None,
    *,
    workers: int | None,
    columns: list[str] | None,
    **options: Any,
) -> ScoringWorkflow | None:
    """Render, check or send the Workflow; return it when it was waited for, and has succeeded."""
    from modelhopper.documents import load_cluster
    from modelhopper.scoring_clusters import requested, send
    from modelhopper_scheduler.render import to_yaml

    _refuse(workers, columns)
    proposal = requested(load_cluster(how.cluster), action, models, data, **options)
    if how.render is not None:
        how.render.write_text(to_yaml([proposal.document]), encoding="utf-8")
        typer.echo(f"Wrote {how.render}.", err=True)
        return None
    if how.dry_run:
        typer.echo(to_yaml([proposal.document]), nl=False)
        send(proposal, dry_run=True)
        typer.echo("Nothing was sent.", err=True)
        return None
    found = send(proposal)
    typer.echo(f"Submitted to namespace {found.cluster.namespace}: {found.workflow}", err=True)
    if not how.wait:
        typer.echo(f"Next: kubectl get workflow {found.workflow} -n {found.cluster.namespace} --watch")
        return None
    found.wait(_say_phase)
    if action == "predict":
        typer.echo(f"Wrote {found.request.out}.")
    return found


def _refuse(workers: int | None, columns: list[str] | None) -> None:
    if workers is not None:
        raise UserError("On a cluster one pod scores each shard: leave out --workers.")
    if columns is not None:
        raise UserError("Packed data has its inputs and labels settled: leave out --features and --labels.")


def _say_phase(one: WorkflowState) -> None:
    typer.echo(f"{one.name}: {one.phase or 'waiting'} {one.message}".rstrip(), err=True)
