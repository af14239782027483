"""All commands joined into one application."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelhopper.command import (
    beginning,
    clusters,
    comparing,
    continuing,
    copying,
    ensembling,
    evaluating,
    examining,
    experiments,
    explaining,
    finishing,
    logs,
    looking,
    packing,
    predicting,
    refining,
    simulating,
    steering,
    watching,
)


def application() -> Any:
    """Return the application, ready to be called with arguments."""
    app = typer.Typer(
        help="Train many Keras configurations at once over data that stays where it is.",
        epilog="--debug, anywhere, shows the traceback of what goes wrong.",
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: short, quick, and the same in a pipe
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_options)
    for commands in (
        beginning,
        examining,
        packing,
        copying,
        experiments,
        continuing,
        refining,
        finishing,
        comparing,
        simulating,
        clusters,
        watching,
        steering,
        looking,
        explaining,
        ensembling,
        predicting,
        evaluating,
        logs,
    ):
        commands.register(app)
    return typer.main.get_command(app)


def _say_version(wanted: bool) -> None:  # noqa: FBT001 -- typer gives an option's value by position
    if wanted:
        from modelhopper import __version__

        typer.echo(f"modelhopper {__version__}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Take what stands before a command."""
