"""The pods around those that score: one settles what is to be done, and one writes the result where it belongs.

A job is in the store from its record on, `scoring.json`. `published` says that its result is being written: what is at
the result's place from then on is its own. The record goes first when all is done, so that without it nothing is left
to do but to clear away.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modelhopper.candidate import Candidate
from modelhopper.scoring_models import Models, Outside, find, made
from modelhopper.scoring_options import answer_of, check_choosable, positives_of
from modelhopper_contract.addresses import is_url
from modelhopper_contract.errors import ModelhopperError, ObjectNotFound, UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.model_card import card_path
from modelhopper_contract.scoring import Job, Merged, ScoringNames
from modelhopper_contract.scoring_request import ScoringBundle, ScoringRequest
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.files import download, upload
from modelhopper_trainer.fetching import stored_manifest

if TYPE_CHECKING:
    from modelhopper.scoring_results import Evaluation
    from modelhopper_trainer.scoring.destination import Destination

Say = Callable[[str], None]


def begin_scoring_pod(store: Store, bundle: str, *, most_shards: int, outputs: Path, say: Say) -> None:
    """Settle what is to be done, or go on with it, and write the output parameters as files into `outputs`.

    `job` is the job's name, and `shards` are those of which parts are left. Raises UserError for a mistake in the
    request, and ConflictError when something is at the place of the result that may not be replaced.
    """
    whole = ScoringBundle.decode(bundle)
    request = whole.request
    with tempfile.TemporaryDirectory(prefix="modelhopper-") as folder:
        job, models = _planned(request, _placed(whole, Path(folder)), store)
        names = ScoringNames(request.job(job.name("")[-12:]))
        _refuse_existing(store, names, request)
        _remove_others(store, request, names)
        if not store.list(names.record()):
            _begin(store, request, names, job, models)
    done = {entry.name for entry in store.list(names.parts())}
    left = [part for part in job.parts if names.part(part.number) not in done]
    shards = sorted({part.unit for part in left})
    if len(shards) > most_shards:
        raise UserError(f"{len(shards):,} shards are more pods than a Workflow has here: {most_shards:,} (most_pods).")
    _write(outputs, {"job": names.job, "shards": json.dumps(shards)})
    rows = sum(part.rows for part in left)
    say(f"{names.job}: {rows:,} of {job.rows:,} rows are left, in {len(left)} parts of {len(shards)} shards")


def merge_scoring_pod(store: Store, request_name: str, job_name: str, say: Say) -> None:
    """Write what all parts say to where it belongs, and remove the job. May be done again, wherever it was killed."""
    if not job_name:  # what Argo takes for it where that pod was deleted before it could be read
        raise ModelhopperError("the pod `begin` was lost before it could say what is to be done. Submit again.")
    names = ScoringNames(job_name)
    record = f"{request_name}/request.json"
    request = ScoringRequest.from_json(store.get(record), record)
    try:
        job = Job.from_json(store.get(names.record()), names.record())
    except ObjectNotFound:
        say("All was done before.")
    else:
        say(_published(store, request, names, job))
    _remove(store, names)


def _published(store: Store, request: ScoringRequest, names: ScoringNames, job: Job) -> str:
    _refuse_existing(store, names, request)
    store.put(names.published(), b"")
    if request.out is None:
        found = _evaluated(store, request, names, job)
        store.put(request.evaluation, json.dumps(found.records()).encode())
        return found.text()
    from modelhopper_trainer.scoring.merging import merged

    with merged(store, names.job, job) as (schema, batches):
        _place(request, overwrite=True).write(schema, batches, names.job[-12:], lambda: None)
    return f"Wrote {job.rows:,} rows to {request.out}."


def _evaluated(store: Store, request: ScoringRequest, names: ScoringNames, job: Job) -> Evaluation:
    from modelhopper.scoring_results import evaluation_of
    from modelhopper.trained import trainer

    trainer()
    from modelhopper_trainer.scoring.work import Work

    work = Work(store, names.job)
    work.merge()
    work.close()
    merged = Merged.from_json(store.get(names.evaluation()), names.evaluation())
    return evaluation_of(job, merged, _address_of(job), request.choose_threshold)


def _planned(request: ScoringRequest, paths: Mapping[str, Path], store: Store) -> tuple[Job, Models]:
    """Return what the words of a request mean now."""
    from modelhopper_trainer.scoring.fitting import Columns
    from modelhopper_trainer.scoring.planning import cut, rows_of_a_part, survey

    found = find([paths.get(one, one) for one in request.models], store, request.metric)
    source = request.data or _validation(found)
    models = made(found, _outside(request, paths, source))
    card = models.scored[0].card
    threshold = paths.get(request.threshold) if isinstance(request.threshold, str) else request.threshold
    if request.choose_threshold is not None:
        check_choosable(card)
    ground = survey(source, card, request.action, Columns(request.id))
    answer = answer_of(request.type, request.top, threshold, card)
    return (
        Job(
            action=request.action,
            models=models.scored,
            data=ground.data,
            id=ground.id,
            answer=answer,
            positive=positives_of(request.positive, threshold, card),
            batch_size=request.batch_size,
            parts=cut(ground.data, rows_of_a_part(card, answer, len(models.scored))),
        ),
        models,
    )


def _outside(request: ScoringRequest, paths: Mapping[str, Path], source: str) -> Outside:
    weights = None if request.weights is None else paths[request.weights]
    return Outside(weights, request.classes, None, request.normalize, _manifest(source))


def _manifest(source: str) -> Manifest:
    return stored_manifest(open_store(source))


def _validation(found: list[Candidate | Path]) -> str:
    for one in found:
        if isinstance(one, Candidate):
            written = one.specification.experiment.data.validation
            if written is not None and is_url(written):
                return written
            where = f"in {written}, which pods cannot read" if written else "not given"
            raise UserError(
                f"the validation data of {one.run_name} is {where}: say which data, --data s3://bucket/prefix."
            )
    raise UserError("there is no validation data to evaluate on: say which data, --data s3://bucket/prefix.")


def _placed(whole: ScoringBundle, folder: Path) -> dict[str, Path]:
    """Return the files of a request by name, also those that are in S3."""
    found = {}
    for name, data in whole.contents.items():
        found[name] = folder / name
        found[name].write_bytes(data)
    asked = [*whole.request.models, *([whole.request.weights] if whole.request.weights else [])]
    return found | {url: _fetched(url, folder) for url in asked if is_url(url)}


def _fetched(url: str, folder: Path) -> Path:
    above, _, name = url.rpartition("/")
    bucket, path = open_store(above), folder / name
    try:
        download(bucket, name, path)
    except ObjectNotFound as error:
        raise UserError(f"{url} does not exist: there is no such model.") from error
    card = card_path(path)
    if bucket.list(card.name):
        download(bucket, card.name, card)
    return path


def _begin(store: Store, request: ScoringRequest, names: ScoringNames, job: Job, models: Models) -> None:
    """Put everything into the store; the record of the job last, so that what it names is there."""
    store.delete(names.published())  # left by one that was done, and not quite cleared away
    store.put(request.record, request.to_json())
    for sha256, path in models.files.items():
        upload(store, names.model(sha256), path)
    store.put(names.record(), job.to_json())


def _refuse_existing(store: Store, names: ScoringNames, request: ScoringRequest) -> None:
    is_its_own = bool(store.list(names.record())) and bool(store.list(names.published()))
    if request.out is not None and not is_its_own:
        _place(request, overwrite=request.overwrite).refuse_existing()


def _place(request: ScoringRequest, *, overwrite: bool) -> Destination:
    from modelhopper_trainer.scoring.destination import destination

    return destination(request.out or "", overwrite=overwrite)


def _remove_others(store: Store, request: ScoringRequest, names: ScoringNames) -> None:
    """Remove jobs that the same words meant before, such as with a model that was the best one then."""
    kept = (request.record, request.evaluation)
    for entry in store.list(f"{request.name}/"):
        if entry.name not in kept and not entry.name.startswith(names.root()):
            store.delete(entry.name)


def _remove(store: Store, names: ScoringNames) -> None:
    store.delete(names.record())
    store.delete(names.published())
    for entry in store.list(names.root()):
        store.delete(entry.name)


def _address_of(job: Job) -> str:
    return str(getattr(job.data, "address", ""))


def _write(outputs: Path, texts: Mapping[str, str]) -> None:
    outputs.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (outputs / name).write_text(text, encoding="utf-8")
