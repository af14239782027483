"""`ensemble`: several trained models joined into one, with what that is worth."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from modelhopper.command.looking import MetricName
from modelhopper.command.notices import in_words
from modelhopper.command.options import StoreUrl
from modelhopper.defaults import DEFAULT_STORE
from modelhopper_contract.errors import UserError

if TYPE_CHECKING:
    from modelhopper.candidate import Candidate
    from modelhopper.ensembles import Combine, Ensemble, Weights
    from modelhopper.members import Choice


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ensemble")(ensemble)


def ensemble(  # noqa: PLR0913 -- one parameter per option
    models: Annotated[
        list[str],
        typer.Argument(metavar="EXPERIMENT|MODEL", help="An experiment, or models: iris/3, iris/3,5, iris/3@5."),
    ],
    *,
    best: Annotated[
        int | None, typer.Option(min=1, help="How many of the best configurations; by default 5.", show_default=False)
    ] = None,
    metric: MetricName = None,
    snapshots: Annotated[
        int | None, typer.Option(min=2, help="Of each, so many of its last kept iterations.", show_default=False)
    ] = None,
    combine: Annotated[
        str, typer.Option(help="How predictions become one: average, logits, vote or stack.")
    ] = "average",
    weights: Annotated[
        str | None, typer.Option(help="One number for each member: 3,1,1; or `metric`.", show_default=False)
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Packed data that stacking learns from; by default the validation data.")
    ] = None,
    holdout: Annotated[
        float | None, typer.Option(help="The share of it that stacking leaves out, and all are evaluated on.")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Save it as this .keras file, with a card beside it.")] = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Join several models into one, show what it is worth, and save it as one Keras model.

    Example: modelhopper ensemble iris --best 5 --combine average --export ensemble.keras
    """
    from modelhopper.ensembles import make

    choice = _choice(models, store, best, metric, snapshots)
    with in_words():
        found = make(choice, cast("Combine", combine), weights=_weights(weights), data=data, holdout=holdout)
        typer.echo(found.text())
        if export is not None:
            found.save(export)
    _say_next(found, export)


def _choice(
    models: Sequence[str],
    store: str,
    best: int | None,
    metric: str | None,
    snapshots: int | None,
) -> Choice:
    from modelhopper.ensembles import of_run, ranking
    from modelhopper.members import choice_of, read_reference, snapshots_of
    from modelhopper.results import open_run

    name, number, _ = read_reference(models[0])
    if len(models) == 1 and number is None and not models[0].endswith(".keras") and "," not in models[0]:
        return of_run(open_run(name, store), best, snapshots=snapshots, metric=metric)
    for option, given in (("--best", best), ("--metric", metric)):
        if given is not None:
            raise UserError(f"{option} chooses among the configurations of one experiment, and models were named.")
    named = _candidates(models, store)
    found = choice_of(named, ranking(named[0]))
    return found if snapshots is None else snapshots_of(found, snapshots)


def _candidates(models: Sequence[str], store: str) -> list[Candidate]:
    from modelhopper.candidate import Candidate
    from modelhopper.scoring_models import find

    found: list[Candidate] = []
    for one in find(models, store):
        if not isinstance(one, Candidate):
            raise UserError(f"{one} is a file, and an ensemble joins configurations of runs: name them, as in iris/3.")
        found.append(one)
    return found


def _weights(written: str | None) -> Weights:
    if written is None:
        return None
    if written == "metric":
        return "metric"
    try:
        return [float(one) for one in written.split(",")]
    except ValueError as error:
        raise UserError(f"`{written}` are no weights: give numbers, as in --weights 3,1,1, or `metric`.") from error


def _say_next(found: Ensemble, export: Path | None) -> None:
    if export is not None:
        typer.echo(f"\nSaved in {export}, {len(found.members)} models in one. In Python: keras.models.load_model(...)")
        typer.echo(f"Next: modelhopper evaluate {shlex.quote(str(export))} --data DATA")
        return
    typer.echo("\nNext: the same command with --export ensemble.keras")
