"""`run` and `configs`: an experiment's file, trained or only looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelhopper.command.training import tell_end, trained
from modelhopper_contract.addresses import STORE_VARIABLE
from modelhopper_contract.errors import DataError, UserError

if TYPE_CHECKING:
    from modelhopper.display.shown import Form
    from modelhopper.documents import Document
    from modelhopper_contract.experiment import Experiment

File = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment's file.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("configs")(configs)
    app.command("run")(run)


def configs(experiment: File) -> None:
    """List the configurations of an experiment, before anything runs."""
    from modelhopper.documents import locating, read_document, read_experiment
    from modelhopper_contract.searches import Static

    document = read_document(experiment)
    read = read_experiment(document)
    with locating(document):
        lines = _chosen(read, document) if isinstance(read.search, Static) else _begun(read, document)
    typer.echo("\n".join(lines))


def _chosen(experiment: Experiment, document: Document) -> list[str]:
    """List all configurations of a search that answers before anything runs."""
    from modelhopper.command.listing import listing
    from modelhopper_scheduler.searches.configurations import chosen, configurations

    found, all_of_them = configurations(experiment), chosen(experiment)
    same = all_of_them - len(found)
    left_out = [f"{same} of {all_of_them:,} say the same as others, and are left out"] if same else []
    noun = "setting" if experiment.folds is not None or experiment.groups else "configuration"
    return [listing(found, noun), "", *left_out, _cost(experiment, len(found), document)]


def _begun(experiment: Experiment, document: Document) -> list[str]:
    """List the configurations with which a search begins that decides while it runs, and say what it will cost."""
    from modelhopper.command.listing import listing
    from modelhopper.display.sentences import judged_frame
    from modelhopper.specify import specify
    from modelhopper_scheduler.searches.making import planned, search_of
    from modelhopper_scheduler.searches.rehearsal import rehearsed

    specification = specify(experiment, document.folder)
    search = search_of(specification)
    first, rehearsal = planned(specification, search), rehearsed(specification, search)
    assert rehearsal is not None  # noqa: S101 -- for the type; it is no static search
    later = rehearsal.configurations - len(first)
    about = "" if rehearsal.is_counted else "about "
    follow = [f"{about}{later} more follow, as the search decides"] if later > 0 else []
    return [listing(first), "", *follow, judged_frame(experiment.name, rehearsal, specification.shards)]


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
    extend: Annotated[
        bool, typer.Option("--extend", help="Go on with a run that had fewer iterations or searches.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines for a log, even in a terminal.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what goes wrong.")] = False,
) -> None:
    """Train every configuration of an experiment on this machine; the same command goes on after an interruption."""
    from modelhopper.ahead import stations_ahead
    from modelhopper.documents import locating, read_document, read_experiment

    form: Form | None = "quiet" if quiet else "plain" if plain else None
    document = read_document(experiment)
    chosen = _with_stations(read_experiment(document), stations)
    with locating(document), stations_ahead(chosen.devices, engine) as ahead:
        from modelhopper.running import make_ready  # while TensorFlow starts

        job = make_ready(chosen, document.folder, engine=engine, store=store, extend=extend)
        display = trained(replace(job, standby=ahead), form)
    tell_end(job.store, job.specification.experiment.name, display, quiet=quiet)


def _with_stations(experiment: Experiment, stations: int | None) -> Experiment:
    if stations is None:
        return experiment
    return experiment.model_copy(update={"devices": experiment.devices.model_copy(update={"stations": stations})})


def _cost(experiment: Experiment, configurations: int, document: Document) -> str:
    """Return what training would take: hops, and iterations of all configurations together."""
    from modelhopper.display.sentences import framed
    from modelhopper.display.words import count
    from modelhopper.specify import specify

    iterations = count(configurations * experiment.iterations, "model-iteration")
    try:
        specification = specify(experiment, document.folder)
    except (DataError, UserError) as error:
        return f"{count(configurations, 'configuration')}, {iterations}; the hops are not known yet: {error}"
    iterations = count(configurations * specification.parts * experiment.iterations, "model-iteration")
    return f"{framed(specification, configurations * specification.parts)}, {iterations}"
