"""`continue`: longer training of one configuration, as an experiment of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelhopper.command.options import Name, StoreUrl
from modelhopper.command.training import tell_end, trained
from modelhopper.defaults import DEFAULT_STORE

if TYPE_CHECKING:
    from modelhopper.display.shown import Form

Number = Annotated[int | None, typer.Argument(help="The configuration; by default the best.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("continue")(continue_)


def continue_(  # noqa: PLR0913 -- one parameter per option
    name: Name,
    number: Number = None,
    *,
    iterations: Annotated[int, typer.Option(min=1, help="How many more.", show_default=False)],
    new_name: Annotated[
        str | None, typer.Option("--name", help="Of the new experiment; by default as in iris-5.", show_default=False)
    ] = None,
    engine: Annotated[
        Literal["local", "inline"], typer.Option(help="local: a process per GPU or core. inline: in this process.")
    ] = "local",
    store: StoreUrl = DEFAULT_STORE,
    extend: Annotated[bool, typer.Option("--extend", help="Go on with one that had fewer iterations.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines for a log, even in a terminal.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what goes wrong.")] = False,
) -> None:
    """Train one configuration of an experiment longer, from its result on; the same command goes on with that."""
    from modelhopper.results import open_run
    from modelhopper.running import make_ready

    form: Form | None = "quiet" if quiet else "plain" if plain else None
    run = open_run(name, store)
    candidate = run.best() if number is None else run.configuration(number)
    experiment = candidate.continued(iterations, new_name)
    job = make_ready(experiment, experiment.folder, engine=engine, store=run.reader.store, extend=extend)
    tell_end(job.store, experiment.name, trained(job, form), quiet=quiet)
