"""What commands share that make an experiment from another one's results, and train it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from modelhopper.display.shown import Form
    from modelhopper.experiment import Experiment
    from modelhopper.results import Run

EngineChoice = Annotated[
    Literal["local", "inline"], typer.Option(help="local: a process per GPU or core. inline: in this process.")
]
ExtendFlag = Annotated[bool, typer.Option("--extend", help="Go on with one that had fewer iterations.")]
PrintFlag = Annotated[bool, typer.Option("--print", help="Print the experiment's file, and train nothing.")]
PlainFlag = Annotated[bool, typer.Option("--plain", help="Lines for a log, even in a terminal.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", help="Say only what goes wrong.")]


def carry_out(
    experiment: Experiment,
    origin: Run,
    *,
    engine: Literal["local", "inline"],
    cluster: Path | None,
    extend: bool = False,
    plain: bool = False,
    quiet: bool = False,
) -> None:
    """Train an experiment in the store of the run that it comes from, here or on a cluster, and tell how it ended."""
    if cluster is not None:
        _submit(experiment, cluster, extend=extend)
        return
    from modelhopper.command.training import tell_end, trained
    from modelhopper.running import make_ready

    form: Form | None = "quiet" if quiet else "plain" if plain else None
    job = make_ready(experiment, experiment.folder, engine=engine, store=origin.reader.store, extend=extend)
    tell_end(job.store, experiment.name, trained(job, form), quiet=quiet)


def _submit(experiment: Experiment, file: Path, *, extend: bool) -> None:
    from modelhopper import submitting
    from modelhopper.display.sentences import target
    from modelhopper.documents import load_cluster
    from modelhopper.proposing import propose

    cluster = load_cluster(file)
    proposal = propose(experiment, experiment.folder, cluster, extend=extend)
    typer.echo(f"{proposal.text()}\n", err=True)
    names = submitting.submit(proposal)
    typer.echo(f"Submitted to namespace {cluster.namespace}: {', '.join(names)}")
    typer.echo(f"Next: modelhopper watch {target(cluster.store, experiment.name)}")
