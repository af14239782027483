"""Options that `predict` and `evaluate` share, and how what is typed is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelhopper.command.notices import in_words
from modelhopper_contract.errors import ExitCode, UserError

if TYPE_CHECKING:
    from modelhopper.scoring_job import OnProgress, Progress

ModelReferences = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="iris (the best of a run), iris/3, iris/3,5, iris/3@5 (after iteration 5), a .keras file, or Keras JSON.",
    ),
]
Metric = Annotated[
    str | None, typer.Option("--metric", help='What the best of a run is best by, such as "validation accuracy".')
]
Features = Annotated[
    list[str] | None,
    typer.Option(help="Columns, where the model has no card or they are renamed: a,b,c or pixel_*, or image=pixel_*."),
]
ClassNames = Annotated[
    list[str] | None,
    typer.Option("--classes", help="Of a model without a card, in the order of its units: a,b,c, or kind=a,b,c."),
]
Normalize = Annotated[
    float | None, typer.Option(help="Of a model without a card: divide the inputs by this.", show_default=False)
]
Weights = Annotated[
    Path | None, typer.Option(help="Of a model that is JSON: its .weights.h5 file.", show_default=False)
]
Threshold = Annotated[
    str | None,
    typer.Option(
        metavar="P|FILE", help="A number, or what evaluate --choose-threshold --out wrote.", show_default=False
    ),
]
Positive = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS", help="The class that a threshold decides on; by default the second.", show_default=False
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows that the model takes at a time.")]
NumberOfWorkers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="By default one per GPU, or per CPU core.", show_default=False),
]


def columns(option: str, given: Sequence[str] | None) -> list[str] | dict[str, list[str]] | None:
    """Return `a,b` as a list, and `name=a,b` as a mapping."""
    if given is None:
        return None
    pairs = [value.partition("=") for value in given]
    named = {name.strip(): _listed(value) for name, sign, value in pairs if sign}
    plain = [column for name, sign, _ in pairs if not sign for column in _listed(name)]
    if named and plain:
        raise UserError(f"--{option} is `{plain[0]}` and also named ({', '.join(named)}=...): name all, or none.")
    return named or plain


def classes(given: Sequence[str] | None) -> Any:
    """Return classes as they are meant: numbers, where all of them are."""
    found = columns("classes", given)
    return {name: _meant(each) for name, each in found.items()} if isinstance(found, dict) else found and _meant(found)


def positives(given: Sequence[str] | None) -> Any:
    """Return one class, or classes by output."""
    found = columns("positive", given)
    if isinstance(found, dict):
        return {name: each[0] for name, each in found.items()}
    return found[0] if found else None


@contextmanager
def progressing() -> Iterator[OnProgress]:
    """Show how far a job is, where somebody looks at a terminal; and end in one line when it is stopped."""
    from modelhopper.command.stopping import Stopped, stoppable
    from modelhopper.scoring_job import unheard

    try:
        with in_words(), stoppable(lambda: None):
            if not sys.stderr.isatty():
                yield unheard
                return
            with _bar() as on_progress:
                yield on_progress
    except Stopped as stopped:
        typer.echo("Stopped; what was done is safe. Run the same command to go on.", err=True)
        raise typer.Exit(stopped.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None, said="")

        def tell(progress: Progress) -> None:
            said = f"{progress.rows:,} of {progress.all_rows:,} rows" if progress.all_rows else ""
            total = progress.all_rows if progress.step == "scoring" else None
            bar.update(task, description=progress.step, total=total, completed=progress.rows, said=said)

        yield tell


def _listed(text: str) -> list[str]:
    return [column.strip() for column in text.split(",") if column.strip()]


def _meant(texts: Sequence[str]) -> list[Any]:
    from modelhopper_trainer.packing.labels import key, typed

    meant = typed({key(text): text for text in texts}, like=())
    return [meant[key(text)] for text in texts]
