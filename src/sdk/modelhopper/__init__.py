"""Model hopper parallelism for Keras: many configurations trained at once over data that stays where it is.

What lives here: what users import, and the `modelhopper` command. What never happens here: training, or a decision
about the schedule; and nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import Any

# Name to module: loaded on first use, so that `import modelhopper` takes no noticeable time.
_HOMES = {
    "Argo": "modelhopper.submitting",
    "Candidate": "modelhopper.candidate",
    "Cluster": "modelhopper_contract.cluster",
    "ClusterRun": "modelhopper.submitting",
    "Compile": "modelhopper.parts",
    "Data": "modelhopper.parts",
    "Devices": "modelhopper.parts",
    "Experiment": "modelhopper.experiment",
    "ExitCode": "modelhopper_contract.errors",
    "Explicit": "modelhopper.parts",
    "Fit": "modelhopper.parts",
    "Grid": "modelhopper.parts",
    "Model": "modelhopper.parts",
    "ModelhopperError": "modelhopper_contract.errors",
    "Predictions": "modelhopper.predictions",
    "Run": "modelhopper.results",
    "RunChanged": "modelhopper.candidate",
    "copy_data": "modelhopper.copying",
    "describe": "modelhopper_trainer.packing",
    "load_cluster": "modelhopper.documents",
    "load_experiment": "modelhopper.documents",
    "open_run": "modelhopper.results",
    "pack": "modelhopper_trainer.packing",
}

__version__ = "0.1.0"
__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 -- all are strings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `modelhopper` has no attribute `{name}`")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
