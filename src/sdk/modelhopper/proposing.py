"""What would be sent to a cluster for an experiment, and what it is predicted to take. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from modelhopper.bundling import bundle
from modelhopper.display.forecast_table import STATED, headline, hop_line, table
from modelhopper_contract.addresses import is_url
from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.metrics import check_objective
from modelhopper_contract.specification import Specification
from modelhopper_contract.submission import Bundle, Submission
from modelhopper_scheduler.forecast import Forecast, Workload, choose, forecasts
from modelhopper_scheduler.render import staging, workflows
from modelhopper_scheduler.render.plan import Plan, Windows


@dataclass(frozen=True)
class Proposal:
    """What would be sent, and what it is predicted to take. Making one changes nothing anywhere."""

    cluster: Cluster
    specification: Specification
    plan: Plan
    forecasts: Sequence[Forecast]  # of each shape
    chosen: Forecast
    contents: Bundle | None  # None when the store has it already
    origin: str = STATED  # where the time of a hop comes from

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.specification.experiment.name

    @cached_property
    def documents(self) -> list[dict[str, Any]]:
        """The Workflows, in the order in which they follow each other."""
        text = self.contents.encode() if self.contents else ""
        return workflows(self.plan, self.cluster, self.specification, text)

    def uploaded(self) -> Proposal:
        """Return the same without the files, for a store that has them."""
        return replace(self, contents=None)

    def text(self) -> str:
        """Return in words what is to be done, and a table of the shapes with the chosen one marked."""
        plan, cluster = self.plan, self.cluster
        first = headline(self.name, plan.configurations, self.specification.ring, plan.stations, cluster.resources)
        shapes = table(self.forecasts, self.chosen, is_asked=cluster.shape is not None)
        return "\n".join([first, hop_line(cluster.hop_s, self.origin), "", shapes])


def propose(
    experiment: Experiment, folder: Path, cluster: Cluster, *, extend: bool = False, measure: bool = False
) -> Proposal:
    """Return what would be sent for an experiment whose relative paths begin at `folder`.

    `measure`: train a hop of a few configurations on this machine, for the prediction. Raises UserError for any mistake
    that can be found without building the models.
    """
    contents = bundle(experiment, folder, extend=extend)
    outputs = [output.name for output in contents.submission.manifests["training"].outputs]
    chosen = contents.submission.configurations
    check_objective(experiment.objective, chosen, outputs, validated=experiment.data.validation is not None)
    _check_data(experiment, cluster)
    origin = STATED
    if measure:
        from modelhopper.measuring import measure as measured

        found = measured(experiment, folder)
        cluster = cluster.model_copy(update={"hop_s": found.hop_s})
        origin = found.origin(for_gpu=cluster.resources.gpu is not None)
    return proposal(contents.submission, cluster, contents, origin)


def proposal(
    submission: Submission, cluster: Cluster, contents: Bundle | None = None, origin: str = STATED
) -> Proposal:
    """Return what would be sent for a submission; without `contents`, the store has the files."""
    specification, count = submission.specification, len(submission.configurations)
    pods = cluster.stations or specification.shards

    def plan(shape: str, convoy: int, stations: int) -> Plan:
        return Plan(
            experiment=specification.experiment.name,
            shape=shape,  # type: ignore[arg-type]
            convoy=convoy,
            stations=stations,
            configurations=count,
            shards=specification.shards,
            validation_shards=specification.validation_shards,
            hops=specification.ring.hops,
            most_pods=cluster.most_pods,
        )

    def divide(convoy: int) -> Windows:
        return plan("convoy", convoy, pods).windows()

    workload = Workload(
        specification.ring, count, pods, cluster.pod_s, cluster.hop_s, is_shared=cluster.data.training.claims is None
    )
    found = forecasts(workload, cluster.convoy, divide)
    best = choose(found, cluster.shape)
    made = plan(cluster.shape or best.shape, best.convoy, pods)
    return Proposal(cluster, specification, made, found, best, contents, origin)


def stage(experiment: Experiment, folder: Path, cluster: Cluster) -> list[dict[str, Any]]:
    """Return the Workflows that fill the volumes of `cluster.data` with an experiment's shards, once.

    Raises UserError for data that is not in an S3 store.
    """
    data = {"training": experiment.data.train, "validation": experiment.data.validation}
    urls = {split: url for split, url in data.items() if url is not None}
    for url in urls.values():
        if not is_url(url):
            raise UserError(
                f"volumes are filled from an S3 store, but the experiment's data is in {url}. Copy it there with "
                f"`modelhopper copy {url} s3://bucket/prefix`, and give that address in the experiment."
            )
    return staging(cluster, bundle(experiment, folder).submission.manifests, urls)  # type: ignore[arg-type]


def _check_data(experiment: Experiment, cluster: Cluster) -> None:
    data = experiment.data
    for key, written, mount in (
        ("train", data.train, cluster.data.training),
        ("validation", data.validation, cluster.data.validation),
    ):
        if written is not None and mount.is_fetched and not written.startswith("s3://"):
            split = "training" if key == "train" else key
            raise SpecError(
                f"pods cannot reach {written}. Copy it with `modelhopper copy {written} s3://bucket/prefix` and give "
                f"that address, or name in the cluster's file the volumes that hold it: data.{split}.claims.",
                ("data", key),
            )
