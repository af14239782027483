"""`predict`: what models say of the rows of any data."""

from __future__ import annotations

from typing import Annotated, Any

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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(  # noqa: PLR0913 -- one parameter per option
    models: ModelReferences,
    *,
    data: Annotated[
        str, typer.Option(help="Packed data, CSV or Parquet: a file, folder or quoted pattern; or postgresql://...")
    ],
    out: Annotated[
        str, typer.Option(help="A .parquet or .csv file, a folder (ends in /), each also in s3://, or postgresql://...")
    ],
    id: Annotated[str | None, typer.Option(help="The column that says which row is which.")] = None,  # noqa: A002
    type: Annotated[  # noqa: A002
        str | None, typer.Option(help="response: the best class (the default); prob: every class with its rank.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="The so many best classes.", show_default=False)] = None,
    threshold: Threshold = None,
    positive: Positive = None,
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
    """Write what models say of every row: with --threshold, only classes strictly above it, or which of two it is."""
    from modelhopper import scoring
    from modelhopper.display.words import count, duration

    asked: dict[str, Any] = {
        "id": id,
        "type": type,
        "top": top,
        "threshold": threshold,
        "positive": positives(positive),
        "classes": classes(class_names),
        "normalize": normalize,
        "weights": weights,
        "metric": metric,
        "batch_size": batch_size,
        "overwrite": overwrite,
    }
    if cluster is not None:
        how = How(cluster, render, dry_run, wait)
        sent(how, "predict", models, data, workers=workers, columns=features, out=out, **asked)
        return
    own = columns("features", features)
    with progressing() as on_progress:
        found = scoring.predict(
            models, data, out, features=own, workers=workers, store=store, on_progress=on_progress, **asked
        )
    typer.echo(f"{count(found.rows, 'row')} in {duration(found.seconds)}. Wrote {found.out}.")
