"""Scoring on a cluster: what is asked for, sent as one Workflow, and its result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from modelhopper.candidate import Candidate
from modelhopper.scoring_models import saved
from modelhopper.scoring_options import chosen_thresholds
from modelhopper.trained import Trained
from modelhopper_contract.addresses import is_url
from modelhopper_contract.cluster import Cluster
from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import ModelhopperError, ObjectNotFound, UserError
from modelhopper_contract.model_card import card_path
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.scoring import Action
from modelhopper_contract.scoring_request import ScoringBundle, ScoringRequest
from modelhopper_contract.stores import open_store

if TYPE_CHECKING:
    from modelhopper.scoring_results import Evaluation
    from modelhopper_scheduler.workflow_api import WorkflowState

_FILES = (".keras", ".json")
_THRESHOLDS = "thresholds.json"
_MOST_FILE_BYTES = 4 << 20  # what larger ones come to is not tried
_NOT_PACKED = (".csv", ".parquet", ".gz", "/*")


@dataclass(frozen=True)
class ScoringProposal:
    """What would be sent. Making one changes nothing anywhere."""

    cluster: Cluster
    bundle: ScoringBundle

    @property
    def name(self) -> str:
        """What it is called in the store and on the cluster."""
        return self.bundle.request.name

    @property
    def document(self) -> dict[str, Any]:
        """The Workflow."""
        from modelhopper_scheduler.render import scoring_workflow

        return scoring_workflow(self.cluster, self.bundle)


@dataclass(frozen=True)
class ScoringWorkflow:
    """A scoring job on a cluster."""

    cluster: Cluster
    request: ScoringRequest
    workflow: str  # its name there

    def wait(self, on_change: Callable[[WorkflowState], None] = lambda _: None) -> None:
        """Return when the Workflow has succeeded; raise ModelhopperError when it failed or was deleted."""
        from modelhopper_scheduler.workflow_api import wait

        for one in wait(self.cluster, self.request.name, [self.workflow], on_change):
            if one.phase == "Succeeded":
                return
            said = f" {one.message.rstrip('.')}." if one.message else ""
            raise ModelhopperError(
                f"the Workflow {one.name} ended as {one.phase}.{said} `kubectl logs -c main -l "
                f"workflows.argoproj.io/workflow={one.name}` says why. Every part that was done is kept: the same "
                "command goes on."
            )
        raise ModelhopperError(f"the Workflow {self.workflow} was deleted. The same command goes on.")

    def evaluation(self) -> Evaluation:
        """Return what was found, from the store; raise UserError before it is there."""
        return evaluation_of_request(self.cluster, self.request)


def requested(
    cluster: Cluster,
    action: Action,
    models: Any,
    data: str | Path | None,
    *,
    out: str | None = None,
    threshold: Any = None,
    weights: str | Path | None = None,
    **options: Any,
) -> ScoringProposal:
    """Return what would be sent; raise UserError for what pods cannot reach, before anything is.

    `options`: the other keys of a `ScoringRequest`, such as `top`.
    """
    contents: dict[str, bytes] = {}
    values = {
        "action": action,
        "models": tuple(_model(one, cluster, contents) for one in _listed(models)),
        "data": None if data is None else _packed(str(data)),
        "out": None if out is None else _reachable(str(out)),
        "threshold": _threshold(threshold, contents),
        "weights": None if weights is None else _file(str(weights), contents),
        **{key: value for key, value in options.items() if value is not None},
    }
    values["files"] = {name: digest_bytes(content) for name, content in contents.items()}
    return ScoringProposal(cluster, ScoringBundle(_request(values), contents))


def send(proposal: ScoringProposal, *, dry_run: bool = False) -> ScoringWorkflow:
    """Create the Workflow through the Kubernetes API. `dry_run`: the API server checks it, and nothing is made."""
    from modelhopper_scheduler.workflow_api import create

    (name,) = create(proposal.cluster, [proposal.document], dry_run=dry_run)
    return ScoringWorkflow(proposal.cluster, proposal.bundle.request, name)


def evaluation_of_request(cluster: Cluster, request: ScoringRequest) -> Evaluation:
    """Return what an evaluation on a cluster found, from its store; raise UserError before it is there."""
    from modelhopper.scoring_results import Evaluation

    store = open_store(cluster.store)
    try:
        data = store.get(request.evaluation)
    except ObjectNotFound as error:
        raise UserError(f"{store.url} has no {request.evaluation}: that evaluation is not done.") from error
    return Evaluation.from_records(json.loads(data))


def _request(values: Mapping[str, Any]) -> ScoringRequest:
    try:
        return ScoringRequest.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key, allowed = str(first["loc"][0]), ScoringRequest.model_fields
        raise UserError(f"`{key}` is {first['input']!r}: {first['msg']}.{did_you_mean(key, allowed)}") from error


def _listed(models: Any) -> list[Any]:
    return [models] if isinstance(models, str | Path | Trained) else list(models)


def _model(given: Any, cluster: Cluster, contents: dict[str, bytes]) -> str:
    """Return what a pod calls a model: a configuration of the cluster's store, an address, or a file that travels."""
    if isinstance(given, Candidate):
        own, there = given.reader.store.url.rstrip("/"), cluster.store.rstrip("/")
        if own != there:
            raise UserError(
                f"configuration {given.number} is in {own}, and pods read {there}: export it, and give the file."
            )
        return f"{given.run_name}/{given.number}" + ("" if given.snapshot is None else f"@{given.snapshot}")
    if isinstance(given, Trained):
        return _file(str(saved(given)), contents)
    text = str(given)
    if not text.endswith(_FILES):
        return text
    return _file(text, contents)


def _file(written: str, contents: dict[str, bytes]) -> str:
    """Return the name of a file that travels, with its card; or its address in S3, from where a pod takes it."""
    if is_url(written):
        return written
    path = Path(written).expanduser()
    if not path.is_file():
        raise UserError(f"{path} does not exist: there is no such model.")
    size_bytes = path.stat().st_size
    if size_bytes > _MOST_FILE_BYTES:
        raise UserError(
            f"{path} has {size_bytes / 1e6:,.1f} MB, too much to travel inside a Workflow. Put it into S3, with its "
            f"{card_path(path).name} beside it, and give its address, s3://bucket/{path.name}."
        )
    if path.name in contents:
        raise UserError(f"two files are named {path.name}, and pods tell them by their names: rename one.")
    contents[path.name] = path.read_bytes()
    card = card_path(path)
    if card.is_file():
        contents[card.name] = card.read_bytes()
    return path.name


def _threshold(given: Any, contents: dict[str, bytes]) -> float | dict[str, float] | str | None:
    if given is None or isinstance(given, int | float):
        return given
    if isinstance(given, Mapping):
        return dict(given)
    try:
        return float(given)
    except (TypeError, ValueError):
        # Only what was chosen: the points of its curves would be too much to travel.
        outputs = {name: {"threshold": one} for name, one in chosen_thresholds(given).items()}
        contents[_THRESHOLDS] = json.dumps({"models": [{"outputs": outputs}]}, sort_keys=True).encode()
        return _THRESHOLDS


def _packed(data: str) -> str:
    if not data.lower().startswith("s3://") or data.lower().endswith(_NOT_PACKED):
        raise UserError(
            f"{data} is nothing that pods can score: on a cluster, give a packed data set in S3, s3://bucket/prefix. "
            "`modelhopper pack` makes one, and `modelhopper copy FOLDER s3://bucket/prefix` puts it there."
        )
    return data


def _reachable(out: str) -> str:
    from modelhopper_trainer.scoring.destination import destination

    if not out.lower().startswith("s3://"):
        raise UserError(
            f"pods cannot write to {out}: give s3://bucket/name.parquet, .csv, or a folder, which ends in /."
        )
    destination(out, overwrite=False)  # its form
    return out
