"""`evaluate`: how well models do on any labelled data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelhopper.command.options import StoreUrl
from modelhopper.command.scoring_cluster import ClusterFile, DryRun, How, RenderFile, Wait, sent
from modelhopper.command.scoring_options import (
    BatchSize,
    ClassNames,
    Features,
    Metric,
    ModelReferences,
    Normalize,
    NumberOfWorkers,
    Positive,
    Threshold,
    Weights,
    classes,
    columns,
    positives,
    progressing,
)
from modelhopper.defaults import DEFAULT_STORE
from modelhopper_contract.errors import ConflictError

if TYPE_CHECKING:
    from modelhopper.scoring_results import Evaluation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(  # noqa: PLR0913 -- one parameter per option
    models: ModelReferences,
    *,
    data: Annotated[
        str | None,
        typer.Option(help="Labelled data, as for predict; by default the run's validation data.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A .json file for all of it.", show_default=False)] = None,
    threshold: Threshold = None,
    choose_threshold: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="f1, recall>=0.95 or precision>=0.9: choose one by this data."),
    ] = None,
    positive: Positive = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="Columns of the labels, where they are not called as in training.")
    ] = None,
    features: Features = None,
    class_names: ClassNames = None,
    normalize: Normalize = None,
    weights: Weights = None,
    metric: Metric = None,
    batch_size: BatchSize = 1024,
    workers: NumberOfWorkers = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    store: StoreUrl = DEFAULT_STORE,
    cluster: ClusterFile = None,
    render: RenderFile = None,
    dry_run: DryRun = False,
    wait: Wait = False,
) -> None:
    """Show loss, metrics, confusion matrix, precision and recall, and write them with the curves as JSON."""
    from modelhopper import scoring

    if out is not None and out.exists() and not overwrite:
        raise ConflictError(f"{out} exists already. Choose another name, or say --overwrite to replace it.")
    asked: dict[str, Any] = {
        "threshold": threshold,
        "choose_threshold": choose_threshold,
        "positive": positives(positive),
        "classes": classes(class_names),
        "normalize": normalize,
        "weights": weights,
        "metric": metric,
        "batch_size": batch_size,
    }
    if cluster is not None:
        how = How(cluster, render, dry_run, wait)
        done = sent(how, "evaluate", models, data, workers=workers, columns=features or labels, **asked)
        if done is not None:
            _tell(done.evaluation(), out)
        return
    asked |= {"features": columns("features", features), "labels": columns("labels", labels)}
    with progressing() as on_progress:
        found = scoring.evaluate(models, data, workers=workers, store=store, on_progress=on_progress, **asked)
    _tell(found, out)


def _tell(found: Evaluation, out: Path | None) -> None:
    import shutil

    if out is not None:
        found.save(out)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    typer.echo(found.text(width))
    if out is not None:
        typer.echo(f"\nWrote {out}.")
