"""What the user says of a cluster, in cluster.yaml: where pods run, what they may take, and how shards reach them.

The experiment itself is the same on a laptop and on a cluster, so nothing here changes a result.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from modelhopper_contract.part import Part

SHAPES = ("hop", "convoy", "station")

Shape = Literal["hop", "convoy", "station"]


class Mount(Part):
    """How the shards of one data set reach the pods, always read-only.

    `claims`: a PersistentVolumeClaim per shard, a pattern with `{shard}`, such as "iris-train-{shard}"; it holds the
    shard's files at its root, or at `path`. `claim`: one claim for all, with a folder per shard at `path`, a pattern
    with `{shard}`. Neither: each pod fetches its shard from the experiment's own s3:// address into a cache, and checks
    its digest.
    """

    claims: str | None = None
    claim: str | None = None
    path: str | None = None  # inside the volume; "{shard}" by default for one claim

    @pydantic.model_validator(mode="after")
    def _is_one_way(self) -> Mount:
        if self.claims is not None and self.claim is not None:
            raise ValueError("give `claims`, one for each shard, or `claim`, one for all, not both")
        if self.claims is not None and "{shard}" not in self.claims:
            raise ValueError(f"`claims` is a pattern with {{shard}}, such as iris-{{shard}}, but it is {self.claims}")
        if self.claim is not None and self.path is not None and "{shard}" not in self.path:
            raise ValueError(f"`path` in one claim is a pattern with {{shard}}, such as train/{{shard}}: {self.path}")
        if self.path is not None and self.is_fetched:
            raise ValueError("`path` is a place in a volume: give `claims` or `claim` with it")
        return self

    @property
    def is_fetched(self) -> bool:
        """Say whether pods fetch the shards."""
        return self.claims is None and self.claim is None


class Mounts(Part):
    """How data sets reach the pods: both of an experiment, and the one that `predict` and `evaluate` are given."""

    training: Mount = Mount()
    validation: Mount = Mount()
    scoring: Mount = Mount()
    cache_gb: Annotated[float, Field(gt=0)] = 10.0  # room for fetched shards on the node
    cache_claim: str | None = None  # a claim to keep fetched shards on between pods; a pod's own disk by default


class Images(Part):
    """The container images, and how they are pulled."""

    trainer: str | None = None  # None: modelhopper/trainer of this version, for CPU or GPU
    scheduler: str | None = None
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: list[str] = Field(default=[])


class Resources(Part):
    """What a pod that trains asks for. Memory is also its limit, so that a leak ends one pod and not a node."""

    cpu: str = "1"
    memory: str = "2Gi"
    gpu: str | None = "nvidia.com/gpu"  # the resource's name, of MIG slices and other vendors, too; None: no GPU
    gpus: Annotated[int, Field(gt=0)] = 1  # of each pod


class Placement(Part):
    """Where pods may run, in Kubernetes' own words."""

    node_selector: dict[str, str] = Field(default={})
    tolerations: list[dict[str, Any]] = Field(default=[])
    affinity: dict[str, Any] | None = None
    runtime_class: str | None = None
    priority_class: str | None = None
    scheduler: str | None = None  # such as volcano
    labels: dict[str, str] = Field(default={})  # such as kueue.x-k8s.io/queue-name
    annotations: dict[str, str] = Field(default={})


class Cluster(Part):
    """One place to run experiments: a namespace with Argo Workflows, and a store that its pods reach."""

    namespace: str = "default"
    store: str  # s3://bucket/prefix, as pods reach it
    endpoint: str | None = None  # the S3 server's address, as pods reach it; None: AWS
    region: str | None = None
    credentials: str | None = "modelhopper-store"  # a Secret with accessKey and secretKey; None: the pod's own identity
    ca_config_map: str | None = None  # a ConfigMap with ca.crt, for a server with a certificate of one's own
    service_account: str = "modelhopper"
    images: Images = Images()
    data: Mounts = Mounts()
    resources: Resources = Resources()
    placement: Placement = Placement()
    stations: Annotated[int, Field(gt=0)] | None = None  # how many pods train at once; None: one per shard
    shape: Shape | None = None  # None: chosen by predicted time
    convoy: Annotated[int, Field(gt=0)] = 4  # configurations that travel together, in that shape
    hop_s: Annotated[float, Field(gt=0)] | None = None  # seconds of training of one hop, where it is known
    pod_s: Annotated[float, Field(gt=0)] = 10.0  # seconds that a pod costs beside its training
    most_pods: Annotated[int, Field(gt=2)] = 1_000  # of one Workflow, which is one object of at most 1 MiB
    restrict_executor: bool = True  # Argo's own containers in our pods; False: its controller does, or has no `init`
    retries: Annotated[int, Field(ge=0)] = 5  # of a pod that was lost or could not reach the store
    keep_s: Annotated[int, Field(ge=0)] = 86_400  # for how long Argo keeps a Workflow that has ended

    @pydantic.field_validator("store")
    @classmethod
    def _is_on_s3(cls, store: str) -> str:
        if not store.startswith("s3://"):
            raise ValueError(f"`{store}` is not a store that pods can reach: give s3://bucket/prefix")
        return store
