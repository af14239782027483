"""`refine`: a second stage with the best few of an experiment, as an experiment of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from modelhopper.command.deriving import EngineChoice, ExtendFlag, PlainFlag, PrintFlag, QuietFlag, carry_out
from modelhopper.command.looking import MetricName
from modelhopper.command.options import ClusterFile, Name
from modelhopper.command.steering import StoreOrCluster, run_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("refine")(refine)


def refine(  # noqa: PLR0913 -- one parameter per option
    name: Name,
    *,
    top: Annotated[int, typer.Option(min=1, help="How many go on.", show_default=False)],
    iterations: Annotated[int, typer.Option(min=1, help="How many more each trains.", show_default=False)],
    metric: MetricName = None,
    max_gap: Annotated[
        float | None,
        typer.Option(help="How much worse the metric may be on validation than on training data.", show_default=False),
    ] = None,
    new_name: Annotated[
        str | None, typer.Option("--name", help="Of the second stage; by default iris-refined.", show_default=False)
    ] = None,
    engine: EngineChoice = "local",
    cluster: ClusterFile = None,
    store: StoreOrCluster = None,
    extend: ExtendFlag = False,
    print_: PrintFlag = False,
    plain: PlainFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train the best few of an experiment longer, from where they are; the same command goes on with that."""
    from modelhopper.refining import refinement

    run = run_of(name, store, cluster)
    selection = run.select(top, metric=metric, max_gap=max_gap)
    found = refinement(run, selection, iterations, new_name)
    if print_:
        typer.echo(found.to_yaml(), nl=False)
        return
    if not quiet:
        typer.echo(f"{selection.text()}\n")
    experiment = found.experiment
    carry_out(experiment, run, engine=engine, cluster=cluster, extend=extend, plain=plain, quiet=quiet)
