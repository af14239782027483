"""`cancel` and `resume`: stopping a run and going on with it, here or on a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelhopper.command.options import ClusterFile, Name
from modelhopper.command.training import tell_end, trained
from modelhopper.defaults import DEFAULT_STORE
from modelhopper_contract.addresses import STORE_VARIABLE

if TYPE_CHECKING:
    from modelhopper.display.shown import Form
    from modelhopper.results import Run

StoreOrCluster = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Where results are; by default what the cluster's file says, else runs.",
        envvar=STORE_VARIABLE,
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("cancel")(cancel)
    app.command("resume")(resume)


def cancel(
    name: Name,
    reason: Annotated[str, typer.Option(help="For whoever looks at it later.", show_default=False)] = "",
    cluster: ClusterFile = None,
    store: StoreOrCluster = None,
) -> None:
    """Stop a run, wherever it is going on. Nothing that was done is lost, and `resume` goes on."""
    from modelhopper.steering import cancel_run, cancelled

    # First of all, and whatever the store says: a Workflow may wait that has not told it yet.
    stopped = [] if cluster is None else _stop_workflows(name, cluster)
    run = run_of(name, store, cluster, is_known=bool(stopped))
    was_cancelled = run.reader.is_cancelled()
    if not cancel_run(run.reader, reason):
        typer.echo(f"{run.name} is complete; there is nothing {'more ' if stopped else ''}to cancel.")
        return
    again = f"{run.name} was cancelled before. " if was_cancelled else ""
    typer.echo(again + cancelled(run.reader.store, run.name))


def resume(
    name: Name,
    engine: Annotated[
        Literal["local", "inline"], typer.Option(help="local: a process per GPU or core. inline: in this process.")
    ] = "local",
    stations: Annotated[
        int | None, typer.Option(min=1, help="How many train at once; by default as before.", show_default=False)
    ] = None,
    cluster: ClusterFile = None,
    store: StoreOrCluster = None,
    *,
    plain: Annotated[bool, typer.Option("--plain", help="Lines for a log, even in a terminal.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what goes wrong.")] = False,
) -> None:
    """Go on with a run that was cancelled or interrupted: on this machine, or with --cluster there."""
    from modelhopper.steering import is_complete, make_resumable

    run = run_of(name, store, cluster)
    if cluster is not None:
        if is_complete(run.reader):
            typer.echo(f"{run.name} is complete; there is nothing to go on with.")
            return
        from modelhopper.display.sentences import target
        from modelhopper.submitting import resubmit

        names = resubmit(run.name, run.reader.store, cluster)
        followed = target(run.reader.store.url, run.name)
        typer.echo(f"Submitted {', '.join(names)}. `modelhopper watch {followed}` follows it.")
        return
    form: Form | None = "quiet" if quiet else "plain" if plain else None
    job = make_resumable(run.reader, engine, stations)
    tell_end(job.store, run.name, trained(job, form), quiet=quiet)


def run_of(name: str, store: str | None, cluster: Path | None, *, is_known: bool = False) -> Run:
    """Return the run; one that is known to be there, although the store may not have heard of it, without a look."""
    from modelhopper.results import Run, find_run
    from modelhopper_contract.stores import open_store

    if store is None and cluster is not None:
        from modelhopper.documents import load_cluster

        store = load_cluster(cluster).store
    url = store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
    return Run(open_store(url), name) if is_known and "/" not in name else find_run(name, url)


def _stop_workflows(name: str, file: Path) -> list[str]:
    from modelhopper.documents import load_cluster
    from modelhopper_scheduler.workflow_api import stop

    experiment = name.rstrip("/").rpartition("/")[2]  # it may be given with its place
    stopped = stop(load_cluster(file), experiment)
    typer.echo(f"Stopped {', '.join(stopped)}." if stopped else f"No Workflow of {experiment} is going on.")
    return stopped
