"""Stopping a run and going on with it, wherever it runs: both are said in the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelhopper.display.sentences import target
from modelhopper.reading import Reader
from modelhopper_contract.addresses import is_url
from modelhopper_contract.cancellation import cancel, cancellation
from modelhopper_contract.errors import ConflictError, UserError
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store

if TYPE_CHECKING:
    from modelhopper.running import EngineName, Job


def cancelled(store: Store, name: str) -> str:
    """Return in words what there is of a run that was cancelled, and how it goes on."""
    reader = Reader(store, name)
    stage = reader.stage()
    found = cancellation(store, name)
    why = f" ({found.reason.rstrip('.')})" if found and found.reason else ""
    hops = sum(reader.hops().values()) if stage == "begun" else 0
    there = " --cluster cluster.yaml" if reader.was_submitted() else ""  # without it, it goes on where the user is
    again = f"modelhopper resume {target(store.url, name)}{there}"
    if hops:
        return f"Cancelled{why}; everything up to hop {hops:,} is safe. {again} goes on."
    if stage in ("begun", "submitted"):
        return f"Cancelled{why}; no hop was done yet. {again} begins again."
    return f"Cancelled{why} before it began. Run its file again to begin."


def is_complete(reader: Reader) -> bool:
    """Say whether every configuration has ended, and no longer run of the same was handed to a cluster."""
    if reader.stage() != "begun" or not reader.is_complete():
        return False
    if not reader.was_submitted():
        return True
    asked = reader.submission()[0].specification.experiment
    return asked.iterations <= reader.specification().experiment.iterations


def cancel_run(reader: Reader, reason: str = "") -> bool:
    """Ask everyone who works on a run to stop; return False, and change nothing, when it is complete."""
    if is_complete(reader):
        return False
    cancel(reader.store, reader.names.experiment, reason)
    return True


def make_resumable(reader: Reader, engine: EngineName = "local", stations: int | None = None) -> Job:
    """Make ready to go on with a run from what the store says of it.

    Raises UserError when the files or the data that it reads are not on this machine, or are not what they were.
    """
    from modelhopper.running import make_ready

    specification = stored(reader)
    _refuse_absent(specification, reader)
    experiment = specification.experiment
    if stations is not None:
        devices = experiment.devices.model_copy(update={"stations": stations})
        experiment = experiment.model_copy(update={"devices": devices})
    try:
        return make_ready(experiment, Path(specification.folder), engine=engine, store=reader.store)
    except ConflictError as error:
        raise ConflictError(
            f"{experiment.name} cannot go on from {specification.folder}, because what it reads is not what it was: "
            f"{error}"
        ) from error


def stored(reader: Reader) -> Specification:
    """Return what the store says that an experiment is; raise UserError when it does not say."""
    stage = reader.stage()
    if stage == "begun":
        return reader.specification()
    if stage == "submitted":
        return reader.submission()[0].specification
    raise UserError(
        f"{reader.names.experiment} has not begun, and the store does not say what it is. Run its file again: "
        "modelhopper run experiment.yaml"
    )


def _refuse_absent(specification: Specification, reader: Reader) -> None:
    written = [one for one in specification.digests if not is_url(one)]
    absent = sorted(one for one in written if not Path(specification.address(one)).exists())
    if absent:
        raise UserError(
            f"{specification.experiment.name} was run from {specification.folder}, and {', '.join(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} not there on this machine. Run its file where they are: "
            f"modelhopper run experiment.yaml --store {reader.store.url}"
        )
