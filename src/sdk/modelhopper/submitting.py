"""Sending an experiment to a cluster, following it there, and sending it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelhopper.documents import load_cluster
from modelhopper.pods.judging import search_here
from modelhopper.proposing import Proposal, proposal
from modelhopper.results import Run
from modelhopper.status import Status
from modelhopper_contract.addresses import is_url
from modelhopper_contract.cancellation import go_on
from modelhopper_contract.cluster import Cluster, Shape
from modelhopper_contract.errors import ConflictError, ModelhopperError
from modelhopper_contract.experiment import validated
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.submission import read_submission

if TYPE_CHECKING:
    from modelhopper.scoring_clusters import ScoringWorkflow
    from modelhopper_scheduler.workflow_api import WorkflowState


# What larger files come to is not tried: encoding given weights of 500 MB would take a minute and 3 GB of memory.
_MOST_ENCODED_BYTES = 4 << 20


class Argo:
    """A cluster with Argo Workflows, as an engine: `experiment.submit(Argo("cluster.yaml"))`.

    `cluster`: its file, or the same keys as a mapping. `shape`: hop, convoy or station, where the prediction is not to
    choose. `hop_s`: the seconds that a hop trains, where they are known.
    """

    def __init__(
        self,
        cluster: str | Path | Mapping[str, Any] | Cluster,
        *,
        shape: Shape | None = None,
        hop_s: float | None = None,
    ) -> None:
        self.cluster = with_choices(_cluster(cluster), shape=shape, hop_s=hop_s)

    def predict(self, models: Any, data: str, out: str, **options: Any) -> ScoringWorkflow:
        """Send a Workflow that writes what models say of packed data in S3 to `out`, in S3; a pod for each shard.

        `models` and `options` are those of `modelhopper.predict`, but for workers, engine and store.
        """
        from modelhopper.scoring_clusters import requested, send

        return send(requested(self.cluster, "predict", models, data, out=out, **options))

    def evaluate(self, models: Any, data: str | None = None, **options: Any) -> ScoringWorkflow:
        """Send a Workflow that evaluates models on packed data in S3, by default the validation data of their run.

        `models` and `options` are those of `modelhopper.evaluate`, but for workers, engine and store.
        """
        from modelhopper.scoring_clusters import requested, send

        return send(requested(self.cluster, "evaluate", models, data, **options))


def with_choices(
    cluster: Cluster, *, shape: Shape | None = None, convoy: int | None = None, hop_s: float | None = None
) -> Cluster:
    """Return a cluster with what a command line says in place of what its file says."""
    given = {"shape": shape, "convoy": convoy, "hop_s": hop_s}
    return cluster.model_copy(update={key: value for key, value in given.items() if value is not None})


def submit(proposed: Proposal, *, dry_run: bool = False) -> list[str]:
    """Create the Workflows through the Kubernetes API, and return their names.

    The experiment's files travel inside the Workflow where they fit, so that this machine need not reach the store;
    larger ones are put there first. `dry_run`: the API server checks the Workflows, and nothing is made. Raises
    ConflictError when the store is known to hold another experiment of this name.
    """
    from modelhopper_scheduler.render import fits
    from modelhopper_scheduler.workflow_api import create

    contents = proposed.contents
    if contents is not None and not (contents.size_bytes <= _MOST_ENCODED_BYTES and fits(contents.encode())):
        if not dry_run:
            upload(proposed)
        proposed = proposed.uploaded()
    elif not dry_run:
        _announce(proposed)
    return create(proposed.cluster, proposed.documents, dry_run=dry_run)


def _announce(proposed: Proposal) -> None:
    """Leave the submission in the store, so that the run can be watched and cancelled before its first pod starts.

    Only where this machine has just read the data from S3: elsewhere the store need not be in reach.
    """
    if not is_url(proposed.specification.experiment.data.train):
        return
    try:
        upload(proposed)
    except ConflictError:
        raise
    except ModelhopperError:  # the first pod does it, from the Workflow
        return


def upload(proposed: Proposal, store: Store | None = None) -> None:
    """Put an experiment into the cluster's store, for `argo submit --from workflowtemplate/modelhopper`.

    Raises ConflictError when the store holds another experiment of this name.
    """
    from modelhopper_scheduler.conduct import begun

    if proposed.contents is None:
        return
    opened = store or open_store(proposed.cluster.store)
    begun(proposed.specification, opened, extend=proposed.contents.submission.extend)
    proposed.contents.put(opened)


def resubmit(name: str, store: str | Store, cluster: str | Path | Mapping[str, Any] | Cluster) -> list[str]:
    """Send an experiment again that the store knows; what was done stays done. Return the Workflows' names.

    Raises ObjectNotFound when it was never submitted.
    """
    opened = open_store(store) if isinstance(store, str) else store
    found = _cluster(cluster)
    submission = read_submission(opened, name)
    go_on(opened, name)
    with search_here(submission.specification, opened) as search:
        return submit(proposal(submission, found, search=search))


class ClusterRun(Run):
    """A run on a cluster: its results, read from the store, and its Workflows."""

    def __init__(self, cluster: Cluster, name: str, workflows: list[str]) -> None:
        super().__init__(open_store(cluster.store), name)
        self.cluster = cluster
        self.workflows = workflows

    def wait(self, timeout_s: float | None = None, *, progress: bool = True) -> Status:
        """Wait until the Workflows are over, as `Run.wait`; raise ModelhopperError when one fails.

        What the store says of an earlier run, complete or cancelled, is not taken for the end of this one.
        """
        from modelhopper.following import INTERVAL_S, TimeIsUp, follow, pause_until

        pause = pause_until(timeout_s)

        def pause_while_it_goes_on(seconds: float) -> None:
            pause(seconds)
            self._is_over()

        with suppress(TimeIsUp):
            while not self._has_begun() and not self._is_over():
                pause(INTERVAL_S)
            follow(self.reader, None if progress else "quiet", pause_while_it_goes_on)
            while not self._is_over():
                pause(INTERVAL_S)
        return self.status()

    def _has_begun(self) -> bool:
        """Say whether the first pod has come so far that the store knows of this run."""
        return self.reader.stage() != "unknown" and not self.reader.is_cancelled()

    def _is_over(self) -> bool:
        """Say whether no Workflow is going on; raise ModelhopperError when one has failed."""
        from modelhopper_scheduler.workflow_api import states

        own = [one for one in states(self.cluster, self.name) if one.name in self.workflows]
        _raise_failure(self.name, own)
        return all(one.is_over for one in own)


def wait_for(
    cluster: Cluster, experiment: str, workflows: list[str], on_change: Callable[[WorkflowState], None]
) -> None:
    """Return when an experiment's Workflows have succeeded; raise ModelhopperError when one failed or was deleted.

    It asks the Kubernetes API only, so this machine need not reach the store.
    """
    from modelhopper_scheduler.workflow_api import wait

    over = wait(cluster, experiment, workflows, on_change)
    _raise_failure(experiment, over)
    if len(over) < len(workflows):
        raise ModelhopperError(f"{experiment}: {len(workflows) - len(over)} of its Workflows were deleted.")


def _raise_failure(experiment: str, states: Iterable[WorkflowState]) -> None:
    for one in states:
        if one.is_over and one.phase != "Succeeded":
            said = f" {one.message.rstrip('.')}." if one.message else ""
            raise ModelhopperError(
                f"{experiment}: the Workflow {one.name} ended as {one.phase}.{said} What was done is safe; "
                f"`modelhopper status {experiment}` shows it, and submitting again goes on."
            )


def _cluster(given: str | Path | Mapping[str, Any] | Cluster) -> Cluster:
    if isinstance(given, Cluster):
        return given
    if isinstance(given, Mapping):
        made: Cluster = validated(Cluster, given)
        return made
    return load_cluster(given)
