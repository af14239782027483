"""Training with a display, and how that ends: finished, stopped, cancelled. Shared by the commands that train."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import typer

from modelhopper.command.stopping import Stopped, stoppable
from modelhopper_contract.errors import ExitCode, StoreUnavailable

if TYPE_CHECKING:
    from modelhopper.display.shown import Display, Form
    from modelhopper.running import Job
    from modelhopper_contract.store import Store


def trained(job: Job, form: Form | None) -> Display:
    """Run a job; return the display, which knows how it ended. Leaves the command when it is stopped."""
    from modelhopper.display.shown import display_of
    from modelhopper.running import run_job

    if job.engine == "inline":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as in a station's process; before TensorFlow is imported
    display = display_of(job, form)
    if display.progress.is_complete and not job.extend:  # one that is extended was complete
        return display
    try:
        with stoppable(display.stopping), display:
            run_job(job, display.heard)
    except Stopped as stopped:
        typer.echo(f"Stopped; {_safe(_hops_in(job))}", err=True)
        raise typer.Exit(stopped.exit_code) from None
    except StoreUnavailable as error:
        done = display.progress.hops_done
        is_told = "run the same command again" in str(error)
        safe = f"everything up to hop {done:,} is safe." if done and is_told else _safe(done)
        raise StoreUnavailable(f"{error} {safe[0].upper()}{safe[1:]}") from error
    return display


def tell_end(store: Store, name: str, display: Display, *, quiet: bool = False) -> None:
    """Show the results of a run that is complete and what to do next; leave with 3 when configurations failed."""
    if not quiet:
        _tell(store, name, display)
    if display.progress.failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _hops_in(job: Job) -> int:
    """Return how many hops the store holds: stations do what they began before they stop."""
    from modelhopper.reading import Reader

    reader = Reader(job.store, job.specification.experiment.name)
    copied = sum(one.first_hop for one in reader.configurations)  # that went on from a copy did not do those before it
    return sum(reader.hops(specification=job.specification).values()) - copied


def _safe(hops: int) -> str:
    if hops == 0:
        return "no hop was done yet. Run the same command to begin again."
    return f"everything up to hop {hops:,} is safe. Run the same command to go on."


def _tell(store: Store, name: str, display: Display) -> None:
    from rich.console import Console

    from modelhopper.display.sentences import home, summary
    from modelhopper.results import open_run

    board = open_run(name, store).results()
    typer.echo("")
    if sys.stdout.isatty():
        Console().print(board)
    else:
        typer.echo(board.text())
    typer.echo("")
    typer.echo(f"{summary(display.progress)}. Results in {home(store.url, name)}")
    typer.echo(_next(store, name, display))


def _next(store: Store, name: str, display: Display) -> str:
    from modelhopper.display.sentences import target
    from modelhopper.reading import Reader

    place = target(store.url, name)
    if display.progress.finished or display.progress.stopped:
        folds = Reader(store, name).specification().experiment.folds
        return f"Next: modelhopper {f'best {place} --export best.keras' if folds is None else f'final {place}'}"
    return f"Next: modelhopper logs {place} {display.progress.failed[0].configuration}"
