"""A cluster without a cluster: a bucket with packed data, claims on this disk, and the fake of Argo."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelhopper.copying import copy_data
from modelhopper.proposing import Proposal, propose, stage
from modelhopper.running import make_ready, run_job
from modelhopper.submitting import upload
from modelhopper_contract.cluster import Cluster
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_scheduler import render
from tests.argo.fake_argo import FakeArgo
from tests.argo.nodes import Node
from tests.argo.runs import Run
from tests.rendered.pods_here import Before, PodsHere, prepare_process, undisturbed
from tests.servers import KEY, REGION, SECRET, S3Server, new_bucket, use_server
from tests.trainer.small_run import SEARCH, experiment_in

CLAIMS = {"training": {"claims": "train-{shard}"}, "validation": {"claims": "valid-{shard}"}}
ONE_CLAIM = {
    "training": {"claim": "data", "path": "train/{shard}"},
    "validation": {"claim": "data", "path": "valid/{shard}"},
}
FETCHED: dict[str, Any] = {}
# They cost the least, so they are placed last, and the others go through the ring as they do without them.
FAILING = [
    {"model": "plain", "optimizer": {"name": "SGD", "learning_rate": 1e30}, "batch_size": 16},
    {"model": "raising", "optimizer": {"name": "SGD", "learning_rate": 0.1}, "batch_size": 16},
]
SECRETS = {"modelhopper-store": {"accessKey": KEY, "secretKey": SECRET}}
# Who did something, when and how; the rest must be the same bytes.
BY_HOW = {"journal", "retries", "logs", "report.md", "submission.json", "files", "measurement.json"}
NAME = "small"


@dataclass
class ClusterHere:
    """One bucket on one server, and a folder with the experiment's files and the claims."""

    server: S3Server
    bucket: str
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_store(self) -> str:
        """The URL of an empty store."""
        return f"s3://{self.bucket}/runs {next(self.numbers)}"

    def experiment(self, **changes: Any) -> Experiment:
        """The small experiment of all tests here, some of its keys changed."""
        data = {"train": f"s3://{self.bucket}/train", "validation": f"s3://{self.bucket}/valid"}
        small = {"iterations": 2, "evaluate_every": 1, "devices": {"kind": "cpu", "stations": 2}}
        return experiment_in(self.folder, **{"data": data, **small, **changes})[0].experiment

    def failing(self) -> Experiment:
        """The same with two configurations more, which fail: one's loss becomes NaN, the other's model raises."""
        return self.experiment(search={"method": "list", "configurations": [*SEARCH, *FAILING]})

    def cluster(self, store: str, **more: Any) -> Cluster:
        """What cluster.yaml says."""
        endpoint = f"http://127.0.0.1:{self.server.port}"
        value = {"store": store, "endpoint": endpoint, "region": REGION, "resources": {"gpu": None}, "convoy": 2}
        return Cluster.model_validate({**value, **more})

    def propose(self, experiment: Experiment, store: str, **more: Any) -> Proposal:
        """What would be sent."""
        return propose(experiment, self.folder, self.cluster(store, **more))

    @property
    def claims(self) -> dict[str, Path]:
        """The folders of all claims."""
        names = ["data", *(f"train-{shard}" for shard in range(3)), *(f"valid-{shard}" for shard in range(2))]
        return {name: self.folder / "claims" / name for name in names}

    def log(self, pod: Node) -> str:
        """What a pod printed."""
        (found,) = self.folder.glob(f"pods-*/{pod.pod_name}/log.txt")
        return found.read_text(encoding="utf-8")

    @contextmanager
    def argo(self, before: Before = undisturbed, **more: Any) -> Iterator[FakeArgo]:
        """A fake of Argo whose pods are calls in this process."""
        pods = PodsHere(Path(tempfile.mkdtemp(dir=self.folder, prefix="pods-")), self.claims, before)
        with FakeArgo(pods, secrets=SECRETS, max_pods=1, **more) as argo:
            yield argo

    def run(self, proposal: Proposal, before: Before = undisturbed, **more: Any) -> list[Run]:
        """Submit all Workflows of a proposal at once, and wait for the end of each."""
        with self.argo(before, **more) as argo:
            submitted = [argo.submit(document) for document in proposal.documents]
            return [run.wait(240) for run in submitted]

    def run_template(self, proposal: Proposal, parameters: Mapping[str, str]) -> Run:
        """Upload the experiment, and run it by the installed WorkflowTemplate."""
        upload(proposal)
        template = render.workflow_template(proposal.cluster)
        with self.argo(templates=[template]) as argo:
            return argo.submit_from("modelhopper", {"experiment": proposal.name, **parameters}).wait(240)

    def stage(self, experiment: Experiment, **more: Any) -> list[Run]:
        """Fill the claims."""
        with self.argo() as argo:
            documents = stage(experiment, self.folder, self.cluster("s3://nowhere/at all", **more))
            return [argo.run_to_end(document) for document in documents]

    def run_inline(self, experiment: Experiment) -> Results:
        """Run with the inline engine, and return the results."""
        store = open_store(self.new_store())
        run_job(make_ready(experiment, self.folder, engine="inline", store=store), lambda _: None)
        return results(store)


class Results(dict[str, bytes]):
    """Objects by name, printed short."""

    def __repr__(self) -> str:
        return f"{len(self)} objects"


def results(store: str | Store, but: Collection[str] = BY_HOW) -> Results:
    """Return what must not depend on how a run went."""
    opened = open_store(store) if isinstance(store, str) else store
    names = [entry.name for entry in opened.list(f"{NAME}/")]
    return Results({name: opened.get(name) for name in names if name.split("/")[1] not in but})


def differences(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> list[str]:
    """Return the names of what is missing, is too much, or has other bytes."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


@contextmanager
def cluster_here(server: S3Server, folder: Path) -> Iterator[ClusterHere]:
    """Prepare this process and a bucket, with the data in it, for rendered runs."""
    with pytest.MonkeyPatch.context() as patch:
        use_server(patch, server.port)
        patch.setenv("MODELHOPPER_CACHE", str(folder / "cache"))
        prepare_process(patch)
        made = ClusterHere(server, new_bucket(server), folder)
        experiment_in(folder)
        for name in ("train", "valid"):
            copy_data(str(folder / name), f"s3://{made.bucket}/{name}")
        yield made
