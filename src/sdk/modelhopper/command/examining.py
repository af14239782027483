"""`doctor`: what this machine is, what a run would do on it, and how an experiment is best compiled here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelhopper.command.options import StoreUrl
from modelhopper.defaults import DEFAULT_STORE

if TYPE_CHECKING:
    from modelhopper.diagnosis import Diagnosis
    from modelhopper.documents import Document
    from modelhopper.examining import Examination
    from modelhopper_contract import experiment as contract


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="[EXPERIMENT.yaml]", help="Also time every way to compile its configurations.", show_default=False
        ),
    ] = None,
    *,
    store: StoreUrl = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this machine is and what a run would do on it, and why. Changes nothing."""
    from modelhopper.diagnosis import diagnose
    from modelhopper.documents import locating, read_document, read_experiment
    from modelhopper.machine import look
    from modelhopper.store_trial import try_store

    document = None if experiment is None else read_document(experiment)
    given = None if document is None else read_experiment(document)
    found = diagnose(look(), try_store(_store(store, given, document)))
    examined = None
    if not as_json:
        typer.echo(_text(found, store))
    if document is not None and given is not None and found.machine.sight is not None:
        with locating(document):
            examined = _examined(given, document.folder, is_told=not as_json)
    if as_json:
        typer.echo(json.dumps(_record(found, examined), indent=2))
    raise typer.Exit(found.exit_code)


def _store(store: str, experiment: contract.Experiment | None, document: Document | None) -> str:
    """Return the store that a run would use."""
    if experiment is None or document is None or experiment.store is None or store != DEFAULT_STORE:
        return store
    return experiment.store if ":" in experiment.store else str(document.folder / experiment.store)


def _text(found: Diagnosis, store: str) -> str:
    from modelhopper.display.doctor_table import text

    return text(found, store_was_given=store != DEFAULT_STORE)


def _examined(experiment: contract.Experiment, folder: Path, *, is_told: bool) -> Examination:
    from modelhopper.display.doctor_table import experiment_text
    from modelhopper.examining import examine

    if is_told:
        typer.echo("\nTiming every way to compile its configurations; this takes some seconds for each kind ...\n")
    found = examine(experiment, folder)
    if is_told:
        typer.echo(experiment_text(found))
    return found


def _record(found: Diagnosis, examined: Examination | None) -> dict[str, Any]:
    return found.record() | ({} if examined is None else {"experiment": examined.record()})
