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
    "Asha": "modelhopper.parts",
    "Candidate": "modelhopper.candidate",
    "Cluster": "modelhopper_contract.cluster",
    "ClusterRun": "modelhopper.submitting",
    "Compile": "modelhopper.parts",
    "Custom": "modelhopper.parts",
    "Data": "modelhopper.parts",
    "Devices": "modelhopper.parts",
    "Ensemble": "modelhopper.ensembles",
    "Evaluation": "modelhopper.scoring_results",
    "ExitCode": "modelhopper_contract.errors",
    "Experiment": "modelhopper.experiment",
    "Explicit": "modelhopper.parts",
    "Fit": "modelhopper.parts",
    "GoOn": "modelhopper_contract.decisions",
    "Grid": "modelhopper.parts",
    "Halving": "modelhopper.parts",
    "Hyperband": "modelhopper.parts",
    "Median": "modelhopper.parts",
    "Model": "modelhopper.parts",
    "ModelhopperError": "modelhopper_contract.errors",
    "Optuna": "modelhopper.parts",
    "Pbt": "modelhopper.parts",
    "Predicted": "modelhopper.scoring",
    "Predictions": "modelhopper.predictions",
    "Random": "modelhopper.parts",
    "Run": "modelhopper.results",
    "RunChanged": "modelhopper.candidate",
    "Start": "modelhopper_contract.decisions",
    "Stop": "modelhopper_contract.decisions",
    "Tpe": "modelhopper.parts",
    "copy_data": "modelhopper.copying",
    "describe": "modelhopper_trainer.packing",
    "draw": "modelhopper_scheduler.searches.space",
    "ensemble": "modelhopper.ensembles",
    "evaluate": "modelhopper.scoring",
    "generate_model_configs": "modelhopper.generation",
    "hyperband_schedule": "modelhopper_scheduler.searches.schedule",
    "linear": "modelhopper.parts",
    "load_cluster": "modelhopper.documents",
    "load_experiment": "modelhopper.documents",
    "log": "modelhopper.parts",
    "log_near_one": "modelhopper.parts",
    "open_run": "modelhopper.results",
    "pack": "modelhopper_trainer.packing",
    "predict": "modelhopper.scoring",
    "stop_stations": "modelhopper_scheduler.engines.standby",
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
