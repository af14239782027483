"""The containers of all pods: image, command, environment, resources, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hera.workflows import models

from modelhopper_contract.cluster import Cluster
from modelhopper_contract.version import VERSION
from modelhopper_scheduler.render.argo import tag
from modelhopper_scheduler.render.volumes import CACHE

USER_ID = 1000  # of the images
_CA_FOLDER = "/etc/modelhopper"
# For pods that only talk to the store.
_SMALL = models.ResourceRequirements.model_validate(
    {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}}
)


@dataclass(frozen=True)
class Setting:
    """What all pods of a Workflow share. Names and numbers are values, or Argo's tags for its parameters."""

    cluster: Cluster
    experiment: str | None  # None: these pods belong to no experiment
    threads: str
    gpu: str | None  # the resource's name; None: training is on CPUs

    @property
    def name(self) -> str:
        """The experiment's name, for pods that belong to one."""
        assert self.experiment is not None  # noqa: S101 -- for the type; only staging has none
        return self.experiment

    @property
    def trainer(self) -> str:
        """The image with TensorFlow."""
        return self.cluster.images.trainer or f"modelhopper/trainer:{VERSION}-{'gpu' if self.gpu else 'cpu'}"

    @property
    def scheduler(self) -> str:
        """The image without TensorFlow."""
        return self.cluster.images.scheduler or f"modelhopper/scheduler:{VERSION}"


@dataclass(frozen=True)
class Work:
    """What one container runs."""

    module: str
    arguments: Sequence[str]
    environment: Sequence[models.EnvVar] = ()
    mounts: Sequence[models.VolumeMount] = field(default=())


def training(setting: Setting, work: Work) -> models.Container:
    """Return the container of a pod that trains or evaluates, on a GPU where there are any."""
    given = setting.cluster.resources
    gpus = {setting.gpu: str(given.gpus)} if setting.gpu else {}
    environment = [*_tensorflow(setting, on_gpu=setting.gpu is not None), *attempt(), *work.environment]
    if any(mount.name == "cache" for mount in work.mounts):
        environment.append(_variable("MODELHOPPER_CACHE", CACHE))
    return _container(setting, setting.trainer, work, environment, _resources(setting, gpus))


def building(setting: Setting, work: Work) -> models.Container:
    """Return the container of a pod that builds models and trains none: TensorFlow without a GPU."""
    environment = [*_tensorflow(setting, on_gpu=False), *work.environment]
    return _container(setting, setting.trainer, work, environment, _resources(setting, {}))


def talking(setting: Setting, work: Work) -> models.Container:
    """Return the container of a pod that only talks to the store."""
    return _container(setting, setting.scheduler, work, list(work.environment), _SMALL)


def attempt() -> list[models.EnvVar]:
    """Return what tells a pod which attempt it is: by that it knows whether the one before was killed."""
    pod = models.EnvVarSource(field_ref=models.ObjectFieldSelector(field_path="metadata.name"))
    return [
        models.EnvVar(name="MODELHOPPER_POD", value_from=pod),
        _variable("MODELHOPPER_RETRIES", tag("retries")),
        _variable("MODELHOPPER_LAST_EXIT_CODE", tag("lastRetry.exitCode")),
    ]


def _container(
    setting: Setting,
    image: str,
    work: Work,
    environment: list[models.EnvVar],
    resources: models.ResourceRequirements,
) -> models.Container:
    mounts = [models.VolumeMount(name="tmp", mount_path="/tmp"), *work.mounts]  # noqa: S108 -- the pod's own
    if setting.cluster.ca_config_map is not None:
        mounts.append(models.VolumeMount(name="ca", mount_path=_CA_FOLDER, read_only=True))
    return models.Container(
        image=image,
        image_pull_policy=setting.cluster.images.pull_policy,
        command=["python", "-m", work.module],
        args=list(work.arguments),
        env=[*_store(setting.cluster), *environment],
        resources=resources,
        security_context=_restricted(),
        volume_mounts=mounts,
    )


def _resources(setting: Setting, gpus: Mapping[str, str]) -> models.ResourceRequirements:
    # A GPU only as a limit: Kubernetes takes the request from it. No limit of CPU, which would only slow TensorFlow.
    given = setting.cluster.resources
    requests = {"cpu": given.cpu, "memory": given.memory}
    return models.ResourceRequirements.model_validate(
        {"requests": requests, "limits": {"memory": given.memory, **gpus}}
    )


def _store(cluster: Cluster) -> list[models.EnvVar]:
    values = {"MODELHOPPER_STORE": cluster.store, "AWS_ENDPOINT_URL": cluster.endpoint, "AWS_REGION": cluster.region}
    if cluster.ca_config_map is not None:
        values["AWS_CA_BUNDLE"] = f"{_CA_FOLDER}/ca.crt"
    found = [_variable(name, value) for name, value in values.items() if value is not None]
    if cluster.credentials is not None:
        found.append(_secret("AWS_ACCESS_KEY_ID", cluster.credentials, "accessKey"))
        found.append(_secret("AWS_SECRET_ACCESS_KEY", cluster.credentials, "secretKey"))
    return [*found, _variable("HOME", "/tmp")]  # noqa: S108 -- the pod's own


def _tensorflow(setting: Setting, *, on_gpu: bool) -> list[models.EnvVar]:
    values = {"KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": setting.threads, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if not on_gpu:
        values["CUDA_VISIBLE_DEVICES"] = "-1"
    return [_variable(name, value) for name, value in values.items()]


def _restricted() -> models.SecurityContext:
    # Pod Security's profile `restricted`, and a root that nobody writes to.
    return models.SecurityContext(
        allow_privilege_escalation=False,
        capabilities=models.Capabilities(drop=["ALL"]),
        read_only_root_filesystem=True,
    )


def _variable(name: str, value: str) -> models.EnvVar:
    return models.EnvVar(name=name, value=value)


def _secret(name: str, secret: str, key: str) -> models.EnvVar:
    source = models.EnvVarSource(secret_key_ref=models.SecretKeySelector(name=secret, key=key))
    return models.EnvVar(name=name, value_from=source)
