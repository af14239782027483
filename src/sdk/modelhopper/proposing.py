"""What would be sent to a cluster for an experiment, and what it is predicted to take. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from modelhopper.bundling import bundle
from modelhopper.cluster_programs import check_said, fitting_convoy, fused_line, lanes_of
from modelhopper.display.forecast_table import STATED, headline, hop_line, judged_headline, judged_line, table
from modelhopper.display.sentences import framed
from modelhopper.specify import specified
from modelhopper_contract.addresses import is_url
from modelhopper_contract.cluster import Cluster, Shape
from modelhopper_contract.early_stopping import check_early_stopping
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.metrics import check_objective
from modelhopper_contract.ring import Ring
from modelhopper_contract.specification import Specification
from modelhopper_contract.stores import open_store
from modelhopper_contract.submission import Bundle, Submission
from modelhopper_scheduler.forecast import Forecast, Workload, choose, forecasts
from modelhopper_scheduler.render import staging, workflows
from modelhopper_scheduler.render.plan import Expected, Plan, Windows
from modelhopper_scheduler.searches.rehearsal import Rehearsal, rehearsed
from modelhopper_scheduler.searches.search import Search


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
    rehearsed: Rehearsal | None = None  # None: no search judges

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
        cluster = self.cluster
        shapes = table(self.forecasts, self.chosen, is_asked=cluster.shape is not None)
        fused = fused_line(self.specification.experiment)
        return "\n".join([*self._headlines(), hop_line(cluster.hop_s, self.origin), *fused, "", shapes])

    def _headlines(self) -> list[str]:
        plan, resources, ring = self.plan, self.cluster.resources, self.specification.ring
        if self.rehearsed is None:
            return [headline(framed(self.specification, plan.configurations), plan.stations, resources)]
        first = judged_headline(self.name, self.rehearsed, ring.shards, plan.stations, resources)
        return [first, judged_line(_usual(ring, self.rehearsed).iterations)]


def propose(
    experiment: Experiment, folder: Path, cluster: Cluster, *, extend: bool = False, measure: bool = False
) -> Proposal:
    """Return what would be sent for an experiment whose relative paths begin at `folder`.

    `measure`: train a hop of a few configurations on this machine, for the prediction. Raises UserError for any mistake
    that can be found without building the models.
    """
    # Only a warm start reads the store: this machine need not reach it otherwise.
    store = open_store(cluster.store) if experiment.warm_start is not None else None
    contents = bundle(experiment, folder, extend=extend, store=store)
    outputs = [output.name for output in contents.submission.manifests["training"].outputs]
    chosen = contents.submission.configurations
    validated = contents.submission.specification.is_validated
    check_objective(experiment.objective, chosen, outputs, validated=validated)
    check_early_stopping(experiment.early_stopping, experiment.objective, chosen, outputs, validated=validated)
    check_said(experiment, chosen)
    _check_data(experiment, cluster)
    origin = STATED
    if measure:
        from modelhopper.measuring import measure as measured

        found = measured(experiment, folder)
        cluster = cluster.model_copy(update={"hop_s": found.hop_s})
        origin = found.origin(for_gpu=cluster.resources.gpu is not None)
    return proposal(contents.submission, cluster, contents, origin)


def proposal(
    submission: Submission,
    cluster: Cluster,
    contents: Bundle | None = None,
    origin: str = STATED,
    search: Search | None = None,
) -> Proposal:
    """Return what would be sent for a submission; without `contents`, the store has the files.

    `search`: the one that judges, where the files that it is made from are not at the submission's own folder.
    """
    specification, first = submission.specification, len(submission.configurations)
    rehearsal = rehearsed(specification, search)
    expected = None if rehearsal is None else _expected(rehearsal, first, specification.shards)
    count = first if rehearsal is None else rehearsal.configurations
    lanes = lanes_of(specification.experiment, first)
    pods, ring = cluster.stations or specification.shards, _usual(specification.ring, rehearsal)

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
            expected=expected,
            is_fused=lanes > 1,
        )

    def divide(convoy: int) -> Windows:
        windows = plan("convoy", convoy, pods).windows()
        return windows if expected is None else replace(windows, most_chains=count, most_hops=ring.hops)

    workload = Workload(
        ring,
        count,
        pods,
        cluster.pod_s,
        cluster.hop_s,
        is_shared=cluster.data.training.claims is None,
        data_shards=specification.shards,
    )
    convoy = fitting_convoy(cluster, lanes)
    shapes = shapes_for(specification.experiment, cluster.shape, lanes)
    found = [one for one in forecasts(workload, convoy, divide) if one.shape in shapes]
    best = choose(found, cluster.shape)
    made = plan(cluster.shape or best.shape, best.convoy, pods)
    return Proposal(cluster, specification, made, found, best, contents, origin, rehearsal)


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
    return staging(cluster, specified(experiment, folder).manifests, urls)  # type: ignore[arg-type]


def _expected(rehearsed: Rehearsal, first: int, shards: int) -> Expected:
    """Return what a search takes of Workflows; `first`: how many configurations it begins with."""
    legs = sum(rung.reached for rung in rehearsed.rungs)
    # Who is followed by whom, nobody knows before: those that begin have about as many after them.
    depth = max(len(rehearsed.rungs), -(-legs // first))
    return Expected(legs, rehearsed.model_iterations * shards, depth)


def shapes_for(experiment: Experiment, asked: Shape | None, lanes: int) -> tuple[Shape, ...]:
    """Return the shapes in which an experiment can run; raise SpecError where another is asked for.

    A chain of pods goes from shard to shard of the whole ring, one at a time.
    """
    if experiment.method.merges and asked not in (None, "station"):
        raise SpecError(
            f"the method {experiment.method.name} trains on all shards at once, which is the shape `station`, and "
            f"`{asked}` was asked for. Leave it out.",
            ("method",),
        )
    if experiment.method.merges:
        return ("station",)
    everything: tuple[Shape, ...] = ("hop", "convoy", "station")
    parts = "folds" if experiment.folds is not None else "groups" if experiment.groups else None
    if parts is not None and asked not in (None, "station"):
        raise SpecError(f"`{parts}` run in the shape `station`, and `{asked}` was asked for. Leave it out.")
    if parts is not None:
        return ("station",)
    return everything if lanes == 1 else everything[1:]


def _usual(ring: Ring, rehearsed: Rehearsal | None) -> Ring:
    """Return the ring of a run in which each configuration trains as long as they do in the mean."""
    if rehearsed is None:
        return ring
    mean = -(-rehearsed.model_iterations // rehearsed.configurations)
    return replace(ring, iterations=mean, evaluate_every=mean, rungs=())


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
