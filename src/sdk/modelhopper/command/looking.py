"""The commands that look: status, results, best, logs, export. They read the store and change nothing in it."""

from __future__ import annotations

import shlex
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelhopper_contract.errors import UserError
from modelhopper_contract.log_lines import last_lines
from modelhopper_contract.nearest import did_you_mean

if TYPE_CHECKING:
    from modelhopper.candidate import Candidate
    from modelhopper.history import RunHistory
    from modelhopper.leaderboard import Leaderboard
    from modelhopper.results import Run
    from modelhopper_contract.records import Failure, Stay

_DEFAULT_STORE = "runs"
_LAST_LINES = 20  # of each station's log
_FORMATS = ("table", "csv", "json")

Name = Annotated[str, typer.Argument(help="The experiment: its name, or a path such as runs/iris.")]
StoreUrl = Annotated[str, typer.Option("--store", help="Where results are: a folder, or s3://bucket/prefix.")]
MetricName = Annotated[str | None, typer.Option("--metric", help='Such as "validation accuracy" or "training loss".')]


def register(app: typer.Typer) -> None:
    """Add the commands that look."""
    for command in (status, results, best, logs, export):
        app.command()(command)


def status(
    name: Annotated[str | None, typer.Argument(help="The experiment; by default all of them.")] = None,
    store: StoreUrl = _DEFAULT_STORE,
) -> None:
    """Show how far an experiment is, or every experiment in one line."""
    from modelhopper.reading import experiment_names
    from modelhopper.results import Run, open_run
    from modelhopper_contract.stores import open_store

    if name is not None:
        _say(open_run(name, store).status().text())
        return
    opened = open_store(store)
    found = experiment_names(opened)
    for one in found:
        _say(Run(opened, one).status().line())
    if not found:
        _say(
            f"{opened.url} holds no experiments. `modelhopper run experiment.yaml` makes one; --store looks elsewhere."
        )


def results(
    name: Name,
    metric: MetricName = None,
    history: Annotated[bool, typer.Option("--history", help="Every evaluated iteration, not only the last.")] = False,  # noqa: FBT002 -- a flag
    configuration: Annotated[int | None, typer.Option(help="Only this configuration's history.")] = None,
    format: Annotated[str, typer.Option(help="table, csv or json.")] = "table",  # noqa: A002
    store: StoreUrl = _DEFAULT_STORE,
) -> None:
    """Show all configurations, the best first."""
    from modelhopper.results import open_run

    if format not in _FORMATS:
        raise UserError(f"`{format}` is not a format: use {', '.join(_FORMATS)}.{did_you_mean(format, _FORMATS)}")
    run = open_run(name, store)
    if history or configuration is not None:
        _show(run.history(configuration), format)
    else:
        _show(run.leaderboard(metric), format)


def best(
    name: Name,
    metric: MetricName = None,
    export: Annotated[Path | None, typer.Option(help="Save its model as this .keras file.")] = None,
    store: StoreUrl = _DEFAULT_STORE,
) -> None:
    """Show the best configuration, and save its model."""
    from modelhopper.results import open_run
    from modelhopper.tables import number

    found = open_run(name, store).best(metric)
    _say(f"configuration {found.number}: {found.label}")
    for key, value in found.metrics.items():
        _say(f"  {key:<24}  {number(value)}")
    if export is not None:
        _save(found, export)
        _say(f'Saved in {export}. In Python: keras.models.load_model("{export}")')
        return
    # The words that were given, so that the next command finds the same configuration.
    given = [f'--metric "{metric}"'] if metric else []
    given += [f"--store {store}"] if store != _DEFAULT_STORE else []
    _say(f"Next: {' '.join(['modelhopper best', shlex.quote(name), *given, '--export best.keras'])}")


def logs(
    name: Name,
    number: Annotated[int | None, typer.Argument(help="A configuration's number.")] = None,
    station: Annotated[int | None, typer.Option(help="Only what this station did or printed.")] = None,
    store: StoreUrl = _DEFAULT_STORE,
) -> None:
    """Show why a configuration failed, what happened to one, or what the stations printed last."""
    from modelhopper.results import open_run

    run = open_run(name, store)
    if number is None:
        _say(_ends_of_logs(run, station))
        return
    candidate = run.configuration(number)
    if candidate.failure is not None:
        _say(failure_text(candidate, candidate.failure))
        return
    stays = [stay for stay in run.reader.stays(number) if station in (None, stay.station)]
    _say("\n".join([repr(candidate), *map(stay_text, stays)]))


def export(
    name: Name,
    out: Annotated[Path, typer.Option(help="A file that ends in .csv, .json or .parquet.")],
    what: Annotated[str, typer.Option(help="leaderboard or history.")] = "leaderboard",
    store: StoreUrl = _DEFAULT_STORE,
) -> None:
    """Write the leaderboard or the history to a file, for other programs."""
    from modelhopper.results import open_run

    open_run(name, store).export(out, what)
    _say(f"Wrote {out}.")


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


def _save(candidate: Candidate, path: Path) -> None:
    from modelhopper.candidate import RunChanged

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UserWarning)
        candidate.save(path)
    for warning in heard:
        if issubclass(warning.category, RunChanged):
            typer.echo(f"Warning: {warning.message}", err=True)


def _ends_of_logs(run: Run, station: int | None) -> str:
    found = run.reader.logs()
    if station is not None:
        file = f"station-{station}.log"
        if file not in found:
            known = ", ".join(found) or "none"
            raise UserError(f"{run.name} has no log of station {station}: there are {known}.")
        found = {file: found[file]}
    if not found:
        return f"{run.url} has no logs: its stations printed nothing, or ran in the process that started them."
    return "\n".join(f"{file}\n{_end(text)}" for file, text in found.items())


def _end(text: str) -> str:
    lines = last_lines(text, _LAST_LINES) or ["(empty)"]
    return "\n".join(f"  {line}" for line in lines)


def _show(found: Leaderboard | RunHistory, form: str) -> None:
    from modelhopper.export import encode

    if form != "table":
        _say(encode(found.records(), form).decode().rstrip("\n"))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(found)
    else:
        _say(found.text())


def _say(text: str) -> None:
    typer.echo(text)
