"""The commands that look: status, results, best, export. They read the store and change nothing in it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelhopper.command.notices import in_words
from modelhopper.command.options import Name, StoreUrl
from modelhopper.defaults import DEFAULT_STORE
from modelhopper_contract.addresses import STORE_VARIABLE
from modelhopper_contract.errors import UserError
from modelhopper_contract.nearest import did_you_mean

if TYPE_CHECKING:
    from modelhopper.cross_validation import CrossValidation
    from modelhopper.history import RunHistory
    from modelhopper.leaderboard import Leaderboard

_FORMATS = ("table", "csv", "json")

MetricName = Annotated[str | None, typer.Option("--metric", help='Such as "validation accuracy" or "training loss".')]


def register(app: typer.Typer) -> None:
    """Add the commands that look."""
    for command in (status, results, best, export):
        app.command()(command)


def status(
    name: Annotated[str | None, typer.Argument(help="The experiment; by default all of them.")] = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Show how far an experiment is, or every experiment in one line."""
    from modelhopper.reading import experiment_names
    from modelhopper.results import Run, open_run
    from modelhopper_contract.stores import open_store

    if name is not None:
        _say(open_run(name, store).status().text())
        return
    opened = open_store(store)
    found = experiment_names(opened)
    for one in found:
        _say(Run(opened, one).status().line())
    if not found:
        _say(
            f"{opened.url} holds no experiments. `modelhopper run experiment.yaml` makes one; --store looks elsewhere."
        )


def results(
    name: Name,
    metric: MetricName = None,
    history: Annotated[bool, typer.Option("--history", help="Every evaluated iteration, not only the last.")] = False,  # noqa: FBT002 -- a flag
    configuration: Annotated[int | None, typer.Option(help="Only this configuration's history.")] = None,
    each_fold: Annotated[bool, typer.Option("--each-fold", help="Every configuration, not means over folds.")] = False,  # noqa: FBT002 -- a flag
    format: Annotated[str, typer.Option(help="table, csv or json.")] = "table",  # noqa: A002
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Show all configurations, the best first."""
    from modelhopper.results import open_run

    if format not in _FORMATS:
        raise UserError(f"`{format}` is not a format: use {', '.join(_FORMATS)}.{did_you_mean(format, _FORMATS)}")
    run = open_run(name, store)
    if history or configuration is not None:
        _show(run.history(configuration), format)
    else:
        _show(run.leaderboard(metric) if each_fold else run.results(metric), format)


def best(
    name: Name,
    metric: MetricName = None,
    export: Annotated[Path | None, typer.Option(help="Save its model as this .keras file.")] = None,
    group: Annotated[
        str | None, typer.Option(help='Of a run with `groups`: of which one, such as "country DE".', show_default=False)
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Show the best configuration, and save its model."""
    from modelhopper.results import open_run
    from modelhopper.tables import number

    found = open_run(name, store).best(metric, group=group)
    _say(f"configuration {found.number}: {found.label}")
    for key, value in found.metrics.items():
        _say(f"  {key:<24}  {number(value)}")
    if export is not None:
        with in_words():
            found.save(export)
        _say(f'Saved in {export}. In Python: keras.models.load_model("{export}")')
        return
    # The words that were given, so that the next command finds the same configuration.
    given = [f'--metric "{metric}"'] if metric else []
    given += [f"--group {shlex.quote(group)}"] if group else []
    given += [f"--store {store}"] if store not in (DEFAULT_STORE, os.environ.get(STORE_VARIABLE)) else []
    _say(f"Next: {' '.join(['modelhopper best', shlex.quote(name), *given, '--export best.keras'])}")


def export(
    name: Name,
    out: Annotated[Path, typer.Option(help="A file that ends in .csv, .json or .parquet.")],
    what: Annotated[str, typer.Option(help="leaderboard or history.")] = "leaderboard",
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Write the leaderboard or the history to a file, for other programs."""
    from modelhopper.results import open_run

    open_run(name, store).export(out, what)
    _say(f"Wrote {out}.")


def _show(found: Leaderboard | CrossValidation | RunHistory, form: str) -> None:
    from modelhopper.export import encode

    if form != "table":
        _say(encode(found.records(), form).decode().rstrip("\n"))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(found)
    else:
        _say(found.text())


def _say(text: str) -> None:
    typer.echo(text)
