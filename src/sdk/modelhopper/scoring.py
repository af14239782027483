"""Predicting and evaluating at scale: with models of runs, ensembles and files, on data of any size."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelhopper.candidate import Candidate
from modelhopper.defaults import DEFAULT_STORE
from modelhopper.scoring_job import EngineName, How, OnProgress, ScoringRun, unheard
from modelhopper.scoring_models import Classes, Models, Outside, Reference, find, made
from modelhopper.scoring_options import Threshold, answer_of, check_choosable, positives_of
from modelhopper.trained import BATCH_ROWS, Trained
from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import MANIFEST_NAME, Manifest
from modelhopper_contract.scoring import Action, Answer, Job
from modelhopper_contract.store import Store

if TYPE_CHECKING:
    from modelhopper.scoring_results import Evaluation
    from modelhopper_trainer.scoring.fitting import Columns

Names = str | Sequence[str] | Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Predicted:
    """Predictions that were written."""

    out: str
    rows: int  # of the data
    seconds: float

    def table(self) -> Any:
        """Return them as a pyarrow table. They must fit into memory."""
        import pyarrow.csv
        import pyarrow.parquet

        read = pyarrow.csv.read_csv if self.out.endswith(".csv") else pyarrow.parquet.read_table
        return read(self.out)

    def to_pandas(self) -> Any:
        """Return them as a pandas DataFrame. They must fit into memory."""
        return self.table().to_pandas()

    def __repr__(self) -> str:
        return f"predictions for {self.rows:,} rows in {self.out}"


def predict(  # noqa: PLR0913 -- one parameter per option of the command
    models: Reference | Sequence[Reference],
    data: str | Path,
    out: str | Path,
    *,
    id: str | None = None,  # noqa: A002 -- as the command's option
    type: str | None = None,  # noqa: A002
    top: int | None = None,
    threshold: Threshold = None,
    positive: Any = None,
    features: Names | None = None,
    classes: Classes | None = None,
    normalize: float | None = None,
    weights: str | Path | None = None,
    metric: str | None = None,
    batch_size: int = BATCH_ROWS,
    workers: int | None = None,
    engine: EngineName = "local",
    overwrite: bool = False,
    store: str | Store = DEFAULT_STORE,
    on_progress: OnProgress = unheard,
) -> Predicted:
    """Write what models say of every row of `data` to `out`, and return where it is.

    `models`: one or several of "iris" (the best of a run, by `metric`), "iris/3", "iris/3@5" (after iteration 5), a
    configuration, an ensemble, a `.keras` file, or Keras JSON with `weights`. `data`: a packed data set, a CSV or
    Parquet file, a folder or pattern of them, or a postgresql:// address. `out`: a `.parquet` or `.csv` file, a folder
    (ends in /), each also in s3://, or a table of a database; all of it or nothing, and nothing there is replaced
    without `overwrite`.

    `type`: "response" is the best class of each row with its probability; "prob" is every class with its rank; the
    first `top` of them; those strictly above a `threshold`. With "response", a threshold decides between two classes:
    the `positive` one (by default the second) where its probability is strictly above it. A threshold can be the file,
    or the result, of an `evaluate` that chose one. Numbers come as they are.

    `id` names the column that says which row is which. `features`, `classes` and `normalize` are for models without a
    card. Rows come in the order of the data; those of a packed data set with ids in the order of the ids. The same call
    goes on with what was interrupted. Neither workers nor batch size change a result, but for last bits.
    """
    from modelhopper_trainer.scoring.destination import destination
    from modelhopper_trainer.scoring.fitting import Columns

    began_s = time.monotonic()
    place = destination(str(out), overwrite=overwrite)
    said = Columns(id, _listed(features))
    outside = Outside(_path(weights), classes, None, normalize, _manifest(str(data)))
    found = made(find(_all(models), store, metric), outside)
    card = found.scored[0].card
    answer = answer_of(type, top, threshold, card)
    job = _job("predict", found, str(data), said, answer, batch_size)
    job = job.model_copy(update={"positive": positives_of(positive, threshold, card)})
    with ScoringRun(job, found, str(data), store) as run:
        rows = run.predict(place, How(workers, engine, on_progress))
    return Predicted(place.shown, rows, time.monotonic() - began_s)


def evaluate(  # noqa: PLR0913
    models: Reference | Sequence[Reference],
    data: str | Path | None = None,
    *,
    threshold: Threshold = None,
    choose_threshold: str | None = None,
    positive: Any = None,
    features: Names | None = None,
    labels: Names | None = None,
    classes: Classes | None = None,
    normalize: float | None = None,
    weights: str | Path | None = None,
    metric: str | None = None,
    batch_size: int = BATCH_ROWS,
    workers: int | None = None,
    engine: EngineName = "local",
    store: str | Store = DEFAULT_STORE,
    on_progress: OnProgress = unheard,
) -> Evaluation:
    """Return loss, metrics and, for classes, the confusion matrix, precision, recall, F1 and curves, on labelled data.

    For `models` and `data` see `predict`; by default it is the validation data of the run. All numbers are merged
    exactly from parts: the same for any number of shards and workers. `threshold` decides between two classes, as in
    `predict`; `choose_threshold` ("f1", "recall>=0.95", "precision>=0.9") chooses one by this data, which `predict`
    then takes. `labels` name the columns of the labels, where the data is a table and they are not called as in
    training.
    """
    from modelhopper.scoring_results import evaluation_of
    from modelhopper_trainer.scoring.curves import check_rule
    from modelhopper_trainer.scoring.fitting import Columns

    if choose_threshold is not None:
        check_rule(choose_threshold)  # before anything is looked for
    said = Columns(None, _listed(features), _listed(labels))
    given = find(_all(models), store, metric)
    address = str(data) if data is not None else _validation(given)
    found = made(given, Outside(_path(weights), classes, _listed(labels), normalize, _manifest(address)))
    card = found.scored[0].card
    answer = answer_of("response", None, threshold, card)
    if choose_threshold is not None:
        check_choosable(card)
    job = _job("evaluate", found, address, said, answer, batch_size)
    job = job.model_copy(update={"positive": positives_of(positive, threshold, card)})
    with ScoringRun(job, found, address, store) as run:
        merged = run.evaluate(How(workers, engine, on_progress))
        shown = run.job.data.name if run.job.data.kind == "spooled" else address
        return evaluation_of(run.job, merged, shown, choose_threshold)


def _job(action: Action, models: Models, source: str, said: Columns, answer: Answer, batch_size: int) -> Job:
    from modelhopper_trainer.scoring.planning import is_table, survey

    if isinstance(batch_size, bool) or batch_size < 1:
        raise UserError(f"batch_size is {batch_size}: give at least 1.")
    card = models.scored[0].card
    if is_table(source):
        from modelhopper_trainer.scoring.spooling import survey_table

        ground = survey_table(source, card, action, said)
    else:
        ground = survey(source, card, action, said)
    return Job(
        action=action,
        models=models.scored,
        data=ground.data,
        columns=ground.columns,
        labels=ground.labels,
        id=ground.id,
        answer=answer,
        batch_size=batch_size,
        parts=(),
    )


def _all(models: Reference | Sequence[Reference]) -> list[Reference]:
    return [models] if isinstance(models, str | Path | Trained) else list(models)


def _listed(names: Names | None) -> list[str] | dict[str, list[str]] | None:
    if names is None or isinstance(names, Mapping):
        return (
            None
            if names is None
            else {key: [value] if isinstance(value, str) else list(value) for key, value in names.items()}
        )
    return [names] if isinstance(names, str) else list(names)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given).expanduser()


def _manifest(address: str) -> Manifest | None:
    """Return the manifest of packed data, from which a model without a card learns what its inputs are."""
    path = Path(address).expanduser() / MANIFEST_NAME
    return Manifest.from_json(path.read_bytes(), str(path)) if path.is_file() else None


def _validation(models: Sequence[Candidate | Path]) -> str:
    for one in models:
        if isinstance(one, Candidate):
            written = one.specification.experiment.data.validation
            if written is not None:
                return one.specification.address(str(written))
    if any(isinstance(one, Candidate) and one.specification.experiment.folds is not None for one in models):
        raise UserError(
            "the models were validated on folds of their training data, and there is no other validation data: say "
            "which data, such as --data data/iris-test."
        )
    raise UserError("there is no validation data to evaluate on: say which data, such as --data data/iris-test.")
