"""`run` and `configs`: an experiment's file, trained or only looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelhopper.command.training import tell_end, trained
from modelhopper.defaults import STORE_VARIABLE
from modelhopper_contract.errors import DataError, UserError

if TYPE_CHECKING:
    from modelhopper.display.shown import Form
    from modelhopper.documents import Document
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
    from modelhopper_scheduler.searches.configurations import configurations

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
        str | None,
        typer.Option(
            help="A folder or s3://bucket/prefix; by default what the file says, else runs.",
            envvar=STORE_VARIABLE,
            show_default=False,
        ),
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
        display = trained(job, form)
    tell_end(job.store, job.specification.experiment.name, display, quiet=quiet)


def _with_stations(experiment: Experiment, stations: int | None) -> Experiment:
    if stations is None:
        return experiment
    return experiment.model_copy(update={"devices": experiment.devices.model_copy(update={"stations": stations})})


def _frame(experiment: Experiment, found: list[Configuration], document: Document) -> str:
    from modelhopper.display.sentences import frame
    from modelhopper.display.words import count
    from modelhopper.specify import specify

    try:
        shards = specify(experiment, document.folder).shards
    except (DataError, UserError) as error:
        return f"{count(len(found), 'configuration')}; the hops are not known yet: {error}"
    return frame(experiment.name, len(found), experiment.iterations, shards)
