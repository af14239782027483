"""`compare`: one configuration trained by every method on the same shards, side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from modelhopper.command.deriving import EngineChoice, QuietFlag
from modelhopper.command.experiments import File
from modelhopper_contract.addresses import STORE_VARIABLE


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    experiment: File,
    *,
    methods: Annotated[str, typer.Option(help="Which, with commas between them.")] = "hop,average,easgd,ensemble,alone",
    alpha: Annotated[float, typer.Option(help="Of EASGD: how much of its own end a replica keeps.")] = 0.001,
    beta: Annotated[float, typer.Option(help="Of EASGD: how far the common state moves to the mean.")] = 0.9,
    engine: EngineChoice = "local",
    store: Annotated[
        str | None,
        typer.Option(
            help="A folder or s3://bucket/prefix; by default what the file says, else runs.",
            envvar=STORE_VARIABLE,
            show_default=False,
        ),
    ] = None,
    quiet: QuietFlag = False,
) -> None:
    """Train one configuration by hopping, averaging, EASGD, as an ensemble and alone, and compare them."""
    from modelhopper.documents import load_experiment, locating, read_document

    read, chosen = load_experiment(experiment), [one.strip() for one in methods.split(",") if one.strip()]
    with locating(read_document(experiment)):
        found = read.compare(chosen, alpha=alpha, beta=beta, engine=engine, store=store, progress=not quiet)
    typer.echo(f"\n{found.text()}")
