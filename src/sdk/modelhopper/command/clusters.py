"""`render`, `submit`, `upload` and `stage`: an experiment on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from modelhopper_contract.errors import UserError

if TYPE_CHECKING:
    from modelhopper.proposing import Proposal
    from modelhopper_contract.cluster import Cluster
    from modelhopper_scheduler.workflow_api import WorkflowState

File = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment's file.", show_default=False)]
ClusterFile = Annotated[Path, typer.Option("--cluster", help="What the cluster is like.")]
ShapeName = Annotated[
    Literal["hop", "convoy", "station"] | None,
    typer.Option(help="A pod per hop, per hop of several configurations, or per station for the whole run."),
]
Convoy = Annotated[int | None, typer.Option(min=1, help="Configurations that travel together in the shape convoy.")]
HopSeconds = Annotated[
    float | None, typer.Option(help="The seconds that one hop trains, for the prediction.", show_default=False)
]
Measure = Annotated[bool, typer.Option("--measure", help="Measure a hop on this machine, for the prediction.")]
Extend = Annotated[bool, typer.Option("--extend", help="Go on with a run that had fewer iterations.")]
Out = Annotated[Path | None, typer.Option(help="Write to this file.", show_default=False)]

_DEFAULT_CLUSTER = Path("cluster.yaml")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (render, submit, upload, stage):
        app.command()(command)


def render(  # noqa: PLR0913 -- one parameter per option
    experiment: Annotated[
        Path | None, typer.Argument(metavar="[EXPERIMENT.yaml]", help="The experiment's file.", show_default=False)
    ] = None,
    cluster: ClusterFile = _DEFAULT_CLUSTER,
    shape: ShapeName = None,
    convoy: Convoy = None,
    hop_seconds: HopSeconds = None,
    out: Out = None,
    *,
    extend: Extend = False,
    uploaded: Annotated[
        bool, typer.Option("--uploaded", help="Leave the files out: `modelhopper upload` has put them into the store.")
    ] = False,
    template: Annotated[
        bool, typer.Option("--template", help="Render the WorkflowTemplate `modelhopper` instead, for any experiment.")
    ] = False,
) -> None:
    """Print the Argo workflow of an experiment; the same input gives the same text, and nothing is sent anywhere.

    What it will take is said on standard error. Submit it with: argo submit FILE, or: kubectl create -f FILE
    """
    from modelhopper_scheduler.render import to_yaml, workflow_template

    if template:
        from modelhopper.documents import load_cluster

        _write(to_yaml([workflow_template(load_cluster(cluster))]), out)
        return
    if experiment is None:
        raise UserError("Give the experiment's file, or --template for a WorkflowTemplate that runs any.")
    chosen = _cluster(cluster, shape, convoy, hop_seconds)
    proposal = _proposal(experiment, chosen, extend=extend, measure=False)
    _tell(proposal)
    _write(to_yaml((proposal.uploaded() if uploaded else proposal).documents), out)


def submit(  # noqa: PLR0913 -- one parameter per option
    experiment: File,
    cluster: ClusterFile = _DEFAULT_CLUSTER,
    shape: ShapeName = None,
    convoy: Convoy = None,
    hop_seconds: HopSeconds = None,
    *,
    measure: Measure = False,
    extend: Extend = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print exactly what would be sent, let the API server check it, send nothing."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the Workflows are over; fail if one did.")] = False,
) -> None:
    """Send an experiment to a cluster through the Kubernetes API; the same command goes on with one that stopped."""
    from modelhopper import submitting
    from modelhopper_scheduler.render import to_yaml

    chosen = _cluster(cluster, shape, convoy, hop_seconds)
    proposal = _proposal(experiment, chosen, extend=extend, measure=measure)
    _tell(proposal)
    if dry_run:
        typer.echo(to_yaml(proposal.documents), nl=False)
        submitting.submit(proposal, dry_run=True)
        typer.echo("Nothing was sent.", err=True)
        return
    names = submitting.submit(proposal)
    typer.echo(f"Submitted to namespace {chosen.namespace}: {', '.join(names)}")
    if wait:
        submitting.wait_for(chosen, proposal.name, names, _say_phase)
        return
    typer.echo(f"Next: modelhopper watch {proposal.name} --store {chosen.store}")


def upload(experiment: File, cluster: ClusterFile = _DEFAULT_CLUSTER, *, extend: Extend = False) -> None:
    """Put an experiment into the cluster's store, to be run by the installed WorkflowTemplate."""
    from modelhopper import submitting

    chosen = _cluster(cluster, None, None, None)
    proposal = _proposal(experiment, chosen, extend=extend, measure=False)
    submitting.upload(proposal)
    typer.echo(f"Put {proposal.name} into {chosen.store}.")
    argo = f"argo submit -n {chosen.namespace} --from workflowtemplate/modelhopper"
    typer.echo(f"Next: {argo} -p experiment={proposal.name}")


def stage(
    experiment: File,
    cluster: ClusterFile = _DEFAULT_CLUSTER,
    out: Out = None,
    *,
    submit: Annotated[bool, typer.Option("--submit", help="Send it, instead of printing it.")] = False,
) -> None:
    """Print the workflow that fills the volumes of the cluster's file with an experiment's shards, once."""
    from modelhopper.proposing import stage as staged
    from modelhopper_scheduler.render import to_yaml

    chosen = _cluster(cluster, None, None, None)
    documents = _located(experiment, lambda read, folder: staged(read, folder, chosen))
    if not submit:
        _write(to_yaml(documents), out)
        return
    from modelhopper_scheduler.workflow_api import create

    typer.echo(f"Submitted to namespace {chosen.namespace}: {', '.join(create(chosen, documents))}")


def _cluster(file: Path, shape: Any, convoy: int | None, hop_s: float | None) -> Cluster:
    from modelhopper.documents import load_cluster
    from modelhopper.submitting import with_choices

    return with_choices(load_cluster(file), shape=shape, convoy=convoy, hop_s=hop_s)


def _proposal(file: Path, cluster: Cluster, *, extend: bool, measure: bool) -> Proposal:
    from modelhopper.proposing import propose

    def made(read: Any, folder: Path) -> Proposal:
        return propose(read, folder, cluster, extend=extend, measure=measure)

    found: Proposal = _located(file, made)
    return found


def _located(file: Path, use: Any) -> Any:
    from modelhopper.documents import locating, read_document, read_experiment

    document = read_document(file)
    with locating(document):
        return use(read_experiment(document), document.folder)


def _tell(proposal: Proposal) -> None:
    typer.echo(f"{proposal.text()}\n", err=True)


def _say_phase(one: WorkflowState) -> None:
    typer.echo(f"{one.name}: {one.phase or 'waiting'} {one.message}".rstrip())


def _write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {out}.", err=True)
