"""`simulate`: what an experiment would take, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from modelhopper.command.options import StoreUrl
from modelhopper.defaults import DEFAULT_STORE
from modelhopper_contract.errors import UserError

File = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment's file.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(  # noqa: PLR0913 -- one parameter per option
    experiment: File,
    stations: Annotated[
        str, typer.Option(help="How many train at once; several for a row each: 4,8,16.", show_default=False)
    ],
    *,
    hop_time: Annotated[
        float | None,
        typer.Option(help="Seconds of a hop; by default as measured in the run of --curves.", show_default=False),
    ] = None,
    jitter: Annotated[float, typer.Option(help="How much hops vary: standard deviation by mean, such as 0.2.")] = 0.0,
    evaluation_time: Annotated[float, typer.Option(help="Seconds to evaluate a configuration on one shard.")] = 0.0,
    shards: Annotated[
        int | None, typer.Option(help="Of the training data; by default as it is packed.", show_default=False)
    ] = None,
    curves: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Take the values of this run, such as runs/iris.", show_default=False),
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    one_by_one: Annotated[
        bool, typer.Option("--one-by-one", help="Begin each bracket of a search when the one before has ended.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what an experiment would take with so many stations, search and all, without training anything."""
    from modelhopper.documents import locating, read_document, read_experiment
    from modelhopper.simulating import Assumptions, simulated

    assumptions = Assumptions(
        hop_s=hop_time,
        jitter=jitter,
        evaluation_s=evaluation_time,
        shards=shards,
        curves=curves,
        store=store,
        one_by_one=one_by_one,
    )
    counts = _counts(stations)
    document = read_document(experiment)
    with locating(document):
        found = simulated(read_experiment(document), document.folder, counts, assumptions)
    typer.echo(json.dumps(found.record(), indent=2) if as_json else found.text())


def _counts(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"`{text}` is not a number of stations: give 1 or more, or several such as 4,8,16.")
    return [int(part) for part in parts]
