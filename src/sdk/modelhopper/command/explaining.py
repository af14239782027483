"""The command that says why a configuration is where it is."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from modelhopper.command.options import Name, StoreUrl
from modelhopper.defaults import DEFAULT_STORE


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    name: Name,
    configuration: Annotated[int, typer.Argument(help="Its number, as in the results.")],
    as_json: Annotated[bool, typer.Option("--json", help="The same for programs.")] = False,  # noqa: FBT002 -- a flag
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Tell a configuration's whole life: parameters, hops, places, metrics, decisions, failures."""
    from modelhopper.results import open_run

    found = open_run(name, store).explain(configuration)
    typer.echo(json.dumps(found.record(), indent=2) if as_json else found.text())
