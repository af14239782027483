"""`final`: the best setting of a cross-validation, trained on all shards, as an experiment of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from modelhopper.command.deriving import EngineChoice, ExtendFlag, PlainFlag, PrintFlag, QuietFlag, carry_out
from modelhopper.command.looking import MetricName
from modelhopper.command.options import ClusterFile, Name
from modelhopper.command.steering import StoreOrCluster, run_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("final")(final)


def final(  # noqa: PLR0913 -- one parameter per option
    name: Name,
    *,
    metric: MetricName = None,
    new_name: Annotated[
        str | None, typer.Option("--name", help="Of the final experiment; by default iris-final.", show_default=False)
    ] = None,
    engine: EngineChoice = "local",
    cluster: ClusterFile = None,
    store: StoreOrCluster = None,
    extend: ExtendFlag = False,
    print_: PrintFlag = False,
    plain: PlainFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train the best setting of a cross-validated experiment on all shards."""
    run = run_of(name, store, cluster)
    found = run.final(metric, new_name)
    if print_:
        typer.echo(found.to_yaml(), nl=False)
        return
    if not quiet:
        typer.echo(f"{found.text()}\n")
    carry_out(found.experiment, run, engine=engine, cluster=cluster, extend=extend, plain=plain, quiet=quiet)
