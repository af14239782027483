"""The exit handler: it writes the report, and says by its exit code whether the experiment succeeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelhopper.results import Run
from modelhopper.status import Status
from modelhopper.steering import cancelled
from modelhopper_contract.errors import ExitCode, UserError
from modelhopper_contract.names import Names
from modelhopper_contract.store import Store


@dataclass(frozen=True)
class Ending:
    """What a Workflow tells its exit handler."""

    experiment: str
    window: int = 1  # which of the Workflows that follow each other this one is, from 1
    windows: int = 1


def report_pod(store: Store, ending: Ending, say: Callable[[str], None]) -> ExitCode:
    """Write the report, and return DONE when the experiment succeeded as far as this Workflow goes.

    It succeeded when every configuration has ended and one finished; what others failed of is in the report. A
    Workflow with others behind it leaves to them what is missing.
    """
    run = Run(store, ending.experiment)
    names = Names(ending.experiment)
    if not store.list(names.specification()):
        say(f"{ending.experiment} has not begun. The log of the pod `begin` says why.")
        return ExitCode.PERMANENT
    status = run.status()
    text = _text(run, status)
    store.put(names.report(), text.encode())
    say(text)
    if status.is_complete:  # also where somebody cancelled it too late
        return ExitCode.DONE if status.finished else ExitCode.SOME_FAILED
    if status.is_cancelled:
        say(cancelled(store, ending.experiment))
        return ExitCode.INTERRUPTED
    return _unfinished(ending, say)


def _unfinished(ending: Ending, say: Callable[[str], None]) -> ExitCode:
    following = ending.windows - ending.window
    if following > 0:
        say(f"The next of {following} more Workflows goes on.")
        return ExitCode.DONE
    say(
        "Not every configuration has ended: pods gave up, or not all hops had room in this Workflow. Submit again to "
        "go on; nothing that was done is lost."
    )
    return ExitCode.PERMANENT


def _text(run: Run, status: Status) -> str:
    try:
        board = run.leaderboard()
    except UserError:  # the objective is not recorded yet
        board = run.leaderboard("loss")
    parts = [f"# {run.name}", status.text(), "```", board.text(), "```"]
    failures = {one.configuration: one.failure for one in run.reader.outcomes().values() if one.failure is not None}
    if failures:
        labels = {one.number: one.name for one in run.reader.configurations}
        lines = [
            f"- configuration {number} ({labels[number]}) at hop {failure.hop}: {failure.reason}"
            for number, failure in sorted(failures.items())
        ]
        parts += ["## Failed", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"
