"""What a cluster makes of configurations that train side by side, and of what is to be found by measuring."""

from __future__ import annotations

from collections.abc import Sequence

from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.records import Configuration
from modelhopper_contract.searches import Static

_AUTO = "auto"
_INSTEAD = {"fuse": "`fuse: 8`", "jit_compile": "`jit_compile: true`", "precision": "`precision: mixed_bfloat16`"}


def check_said(experiment: Experiment, configurations: Sequence[Configuration]) -> None:
    """Raise SpecError where anything is left to be measured: the pod that begins has no GPU, others train on one."""
    if experiment.fuse == _AUTO:
        raise _open("fuse", ("fuse",))
    for key in ("jit_compile", "precision"):
        if getattr(experiment.compile, key) == _AUTO:
            raise _open(key, ("compile", key))
        varied = [] if isinstance(experiment.search, Static) else experiment.search.space.get(key, [])
        if _AUTO in [one.compile.get(key) for one in configurations] or _AUTO in list(varied):
            raise _open(key, ("search",))


def lanes_of(experiment: Experiment, configurations: int) -> int:
    """Return how many configurations train side by side at most."""
    return 1 if experiment.fuse is False else min(int(experiment.fuse), configurations)


def fitting_convoy(cluster: Cluster, lanes: int) -> int:
    """Return how many configurations travel together: what the cluster says, or more so that programs are full.

    Raises UserError for the shape `hop`, whose pods train one configuration each.
    """
    if lanes == 1:
        return cluster.convoy
    convoy = -(-cluster.convoy // lanes) * lanes
    if cluster.shape == "hop":
        raise UserError(
            f"`fuse` lets {lanes} configurations train side by side, and pods of the shape `hop` train one each. Take "
            f"the shape `convoy` (with `convoy` {convoy}) or `station`, or remove `fuse`."
        )
    return convoy


def fused_line(experiment: Experiment) -> list[str]:
    """Return what to say of a prediction that knows nothing of training side by side; nothing where there is none."""
    if experiment.fuse is False:
        return []
    return [f"Predicted as if each configuration trained alone; {experiment.fuse} side by side should take less."]


def _open(key: str, path: tuple[str, ...]) -> SpecError:
    return SpecError(
        f"`{key}` is auto, which is found by measuring on the device that trains; on a cluster that is not where a run "
        f"begins. Run `modelhopper doctor` on such a device, and give what it finds, as in {_INSTEAD[key]}.",
        path,
    )
