"""`watch`: following a run that somebody else started, here or on a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from modelhopper.command.options import Name, StoreUrl
from modelhopper.command.stopping import Stopped, stoppable
from modelhopper.command.training import tell_end
from modelhopper.defaults import DEFAULT_STORE


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch")(watch)


def watch(
    name: Name,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between looks at the store.")] = 2.0,
    store: StoreUrl = DEFAULT_STORE,
    *,
    plain: Annotated[bool, typer.Option("--plain", help="Lines for a log, even in a terminal.")] = False,
) -> None:
    """Follow a run, wherever it is going on, until every configuration has ended. Ctrl-C only stops watching."""
    from modelhopper.following import follow
    from modelhopper.results import find_run

    reader = find_run(name, store).reader
    try:
        with stoppable(_nothing):
            display = follow(reader, "plain" if plain else None, interval_s=interval)
    except Stopped as stopped:
        typer.echo(f"Stopped watching; {reader.names.experiment} is not touched.", err=True)
        raise typer.Exit(stopped.exit_code) from None
    tell_end(reader.store, reader.names.experiment, display)


def _nothing() -> None:
    return None
