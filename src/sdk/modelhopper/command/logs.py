"""`logs`: why a configuration failed, what happened to one, and what stations and pods printed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from modelhopper.command.options import Name, StoreUrl
from modelhopper.defaults import DEFAULT_STORE
from modelhopper_contract.errors import UserError
from modelhopper_contract.log_lines import last_lines
from modelhopper_contract.nearest import did_you_mean

if TYPE_CHECKING:
    from modelhopper.candidate import Candidate
    from modelhopper.results import Run
    from modelhopper_contract.messages import Started
    from modelhopper_contract.records import Failure, Stay
    from modelhopper_contract.store import Entry

_LAST_LINES = 20  # of each log
_MOST_LOGS = 16  # whose ends are shown: a cluster leaves one for every pod
_MOST_NAMES = 8  # of logs in a message


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs")(logs)


def logs(
    name: Name,
    number: Annotated[int | None, typer.Argument(help="A configuration's number.")] = None,
    station: Annotated[int | None, typer.Option(help="Only what this station did or printed.")] = None,
    file: Annotated[str | None, typer.Option(help="All of one log, such as station-0.log.")] = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Show why a configuration failed, what happened to one, or what stations and pods printed last."""
    from modelhopper.results import find_run, open_run

    if number is None:  # a beginning that went wrong has logs, too
        run = find_run(name, store)
        typer.echo(_whole(run, file) if file is not None else _ends_of_logs(run, station))
        return
    run = open_run(name, store)
    candidate = run.configuration(number)
    if candidate.failure is not None:
        typer.echo(failure_text(candidate, candidate.failure))
        return
    stays = [stay for stay in run.reader.stays(number) if station in (None, stay.station)]
    due = run.reader.work_of(number, run.reader.specification().ring.shards)
    now = [due_text(one) for one in due if station in (None, one.station)]
    typer.echo("\n".join([repr(candidate), *map(stay_text, stays), *now]))


def failure_text(candidate: Candidate, failure: Failure) -> str:
    """Return why a configuration failed: where, the traceback, and what was printed last."""
    where = [f"at hop {failure.hop}"]
    where += [f"on shard {failure.shard}"] if failure.shard is not None else []
    where += [f"at station {failure.station}"] if failure.station is not None else []
    parts = [f"configuration {candidate.number} ({candidate.label}) failed {', '.join(where)}: {failure.reason}"]
    parts += [f"\n{failure.traceback.rstrip()}"] if failure.traceback else []
    parts += [f"\nThe last lines printed:\n{failure.output.rstrip()}"] if failure.output else []
    return "\n".join(parts)


def stay_text(stay: Stay) -> str:
    """Return one line of a configuration's journal in words. Times of day are UTC."""
    from modelhopper.display.words import duration

    began = datetime.fromtimestamp(stay.started_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    last = stay.end_hop - 1
    hops = f"hop {last}" if stay.first_hop == last else f"hops {stay.first_hop} to {last}"
    took = f"{duration(stay.train_s)} of training, {duration(stay.overhead_s)} of moving"
    return f"  {began}  {hops:<16}  station {stay.station}  {took}"


def due_text(work: Started) -> str:
    """Return in words what a configuration waits for, or what is being done with it."""
    what = "evaluation after" if work.action == "evaluate" else "training from"
    hop = work.hop - 1 if work.action == "evaluate" else work.hop
    return f"  due now: {what} hop {hop}, at station {work.station}"


def _whole(run: Run, file: str) -> str:
    entries = {_file(entry): entry for entry in run.reader.log_entries()}
    if file not in entries:
        raise UserError(
            f"{run.name} has no log {file}: there are {_names(list(entries))}.{did_you_mean(file, entries)}"
        )
    return run.reader.log(entries[file]).rstrip("\n")


def _ends_of_logs(run: Run, station: int | None) -> str:
    entries = run.reader.log_entries()
    chosen = [entry for entry in entries if station is None or _file(entry) == f"station-{station}.log"]
    if station is not None and not chosen:
        known = _names([_file(entry) for entry in entries])
        raise UserError(f"{run.name} has no log of station {station}: there are {known}.")
    if not chosen:
        pods = (
            " Hop pods that go well leave none; kubectl logs shows those that run."
            if run.reader.was_submitted()
            else ""
        )
        return f"{run.url} has no logs: its stations printed nothing, or ran in the process that started them.{pods}"
    newest = sorted(chosen, key=lambda entry: entry.modified_s)[-_MOST_LOGS:]
    shown = sorted(newest, key=_file)
    texts = [f"{_file(entry)}\n{_end(run.reader.log(entry))}" for entry in shown]
    hidden = len(chosen) - len(shown)
    if hidden:
        texts.append(f"and {hidden:,} older logs; --file shows all of one")
    return "\n".join(texts)


def _file(entry: Entry) -> str:
    return entry.name.rpartition("/")[2]


def _names(files: Sequence[str]) -> str:
    more = f" and {len(files) - _MOST_NAMES:,} more" if len(files) > _MOST_NAMES else ""
    return (", ".join(files[:_MOST_NAMES]) or "none") + more


def _end(text: str) -> str:
    lines = last_lines(text, _LAST_LINES) or ["(empty)"]
    return "\n".join(f"  {line}" for line in lines)
