"""The exit handler: it writes the report, and says by its exit code whether the experiment succeeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelhopper.results import Run
from modelhopper.status import Status
from modelhopper.steering import cancelled
from modelhopper_contract.decisions import read_turns
from modelhopper_contract.errors import ExitCode, UserError
from modelhopper_contract.names import Names
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store


@dataclass(frozen=True)
class Ending:
    """What a Workflow tells its exit handler."""

    experiment: str
    window: int = 1  # which of the Workflows that follow each other this one is, from 1
    windows: int = 1


def report_pod(store: Store, ending: Ending, say: Callable[[str], None]) -> ExitCode:
    """Write the report, and return DONE when the experiment succeeded as far as this Workflow goes.

    It succeeded when every configuration has ended and not all failed; what others failed of is in the report. A
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
    if status.is_complete and _search_is_over(store, names):  # also where somebody cancelled it too late
        return ExitCode.DONE if status.finished or status.stopped else ExitCode.SOME_FAILED
    if status.is_cancelled:
        say(cancelled(store, ending.experiment))
        return ExitCode.INTERRUPTED
    return _unfinished(ending, say)


def _search_is_over(store: Store, names: Names) -> bool:
    """Say whether no configuration will be added: all were chosen before, or the log of the search has ended."""
    specification = Specification.from_json(store.get(names.specification()), names.specification())
    if not specification.is_judged:
        return True
    turns = read_turns(store, names)
    return bool(turns) and turns[-1].is_last


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
        board = run.results()
    except UserError:  # the objective is not recorded yet
        board = run.results("loss")
    parts = [f"# {run.name}", status.text(), "```", board.text(), "```"]
    outcomes = run.reader.outcomes()
    labels = {one.number: one.name for one in run.reader.configurations}
    stopped = {number: one for number, one in sorted(outcomes.items()) if one.state == "stopped"}
    if stopped:
        lines = [f"- configuration {number} ({labels[number]}): {one.reason}" for number, one in stopped.items()]
        parts += ["## Stopped", "\n".join(lines)]
    failures = {number: one.failure for number, one in outcomes.items() if one.failure is not None}
    if failures:
        lines = [
            f"- configuration {number} ({labels[number]}) at hop {failure.hop}: {failure.reason}"
            for number, failure in sorted(failures.items())
        ]
        parts += ["## Failed", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"
