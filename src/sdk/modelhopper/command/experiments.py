"""`run` and `configs`: an experiment's file, trained or only looked at."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelhopper.command.stopping import Stopped, stoppable
from modelhopper_contract.errors import DataError, ExitCode, StoreUnavailable, UserError

if TYPE_CHECKING:
    from modelhopper.display.shown import Display, Form
    from modelhopper.documents import Document
    from modelhopper.running import Job
    from modelhopper_contract.experiment import Experiment
    from modelhopper_contract.records import Configuration

File = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment's file.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("configs")(configs)
    app.command("run")(run)


def configs(experiment: File) -> None:
    """List the configurations of an experiment, before anything runs."""
    from modelhopper.command.listing import listing
    from modelhopper.documents import locating, read_document, read_experiment
    from modelhopper_scheduler.search import configurations

    document = read_document(experiment)
    read = read_experiment(document)
    with locating(document):
        found = configurations(read)
    typer.echo(listing(found))
    typer.echo("")
    typer.echo(_frame(read, found, document))


def run(
    experiment: File,
    engine: Annotated[
        Literal["local", "inline"], typer.Option(help="local: a process per GPU or core. inline: in this process.")
    ] = "local",
    store: Annotated[
        str | None, typer.Option(help="A folder or s3://bucket/prefix; by default runs.", show_default=False)
    ] = None,
    stations: Annotated[
        int | None,
        typer.Option(min=1, help="How many train at once; by default one per GPU, or per core.", show_default=False),
    ] = None,
    *,
    extend: Annotated[bool, typer.Option("--extend", help="Go on with a run that had fewer iterations.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines for a log, even in a terminal.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what goes wrong.")] = False,
) -> None:
    """Train every configuration of an experiment on this machine; the same command goes on after an interruption."""
    from modelhopper.documents import locating, read_document, read_experiment
    from modelhopper.running import make_ready

    form: Form | None = "quiet" if quiet else "plain" if plain else None
    document = read_document(experiment)
    chosen = _with_stations(read_experiment(document), stations)
    with locating(document):
        job = make_ready(chosen, document.folder, engine=engine, store=store, extend=extend)
        display = _run(job, form)
    if not quiet:
        _tell(job, display)
    if display.progress.failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _with_stations(experiment: Experiment, stations: int | None) -> Experiment:
    if stations is None:
        return experiment
    return experiment.model_copy(update={"devices": experiment.devices.model_copy(update={"stations": stations})})


def _run(job: Job, form: Form | None) -> Display:
    from modelhopper.display.shown import display_of
    from modelhopper.running import run_job

    if job.engine == "inline":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as in a station's process; before TensorFlow is imported
    display = display_of(job, form)
    if len(display.progress.outcomes) == len(job.configurations):
        return display
    try:
        with stoppable(display.stopping), display:
            run_job(job, display.heard)
    except Stopped as stopped:
        typer.echo(f"Stopped; {_safe(_hops_in(job))}", err=True)
        raise typer.Exit(stopped.exit_code) from None
    except StoreUnavailable as error:
        safe = _safe(display.progress.hops_done)
        raise StoreUnavailable(f"{error} {safe[0].upper()}{safe[1:]}") from error
    return display


def _hops_in(job: Job) -> int:
    """Return how many hops the store holds: stations do what they began before they stop."""
    from modelhopper.reading import Reader

    return sum(Reader(job.store, job.specification.experiment.name).hops().values())


def _safe(hops: int) -> str:
    if hops == 0:
        return "no hop was done yet. Run the same command to begin again."
    return f"everything up to hop {hops:,} is safe. Run the same command to go on."


def _tell(job: Job, display: Display) -> None:
    import sys

    from rich.console import Console

    from modelhopper.display.sentences import home, summary
    from modelhopper.results import open_run

    name = job.specification.experiment.name
    board = open_run(name, job.store).leaderboard()
    typer.echo("")
    if sys.stdout.isatty():
        Console().print(board)
    else:
        typer.echo(board.text())
    typer.echo("")
    typer.echo(f"{summary(display.progress)}. Results in {home(job)}")
    typer.echo(_next(job, display))


def _next(job: Job, display: Display) -> str:
    from modelhopper.display.sentences import home
    from modelhopper.running import DEFAULT_STORE

    name, where = job.specification.experiment.name, home(job)
    target = shlex.quote(name if where == f"{DEFAULT_STORE}/{name}" else where)
    if display.progress.finished:
        return f"Next: modelhopper best {target} --export best.keras"
    return f"Next: modelhopper logs {target} {display.progress.failed[0].configuration}"


def _frame(experiment: Experiment, found: list[Configuration], document: Document) -> str:
    from modelhopper.display.sentences import frame
    from modelhopper.display.words import count
    from modelhopper.specify import specify

    try:
        shards = specify(experiment, document.folder).shards
    except (DataError, UserError) as error:
        return f"{count(len(found), 'configuration')}; the hops are not known yet: {error}"
    return frame(experiment.name, len(found), experiment.iterations, shards)
