"""Specifications and configurations without data or TensorFlow, for claims about decisions."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification


def experiment_value(**changes: Any) -> dict[str, Any]:
    """Return an experiment as a mapping."""
    return {
        "name": "planned",
        "data": {"train": "train", "validation": "valid"},
        "models": {"small": "models.py:mlp", "deep": {"build": "models.py:mlp", "layers": 3}},
        "compile": {"loss": "mse"},
        "search": {"method": "list", "configurations": [{"model": "small"}]},
        "iterations": 3,
        **changes,
    }


def specification(shards: int = 3, validation_shards: int = 2, **changes: Any) -> Specification:
    """Return a specification of data that nobody packed."""
    experiment: Experiment = validated(Experiment, experiment_value(**changes))
    digests = {"train": "digest of train", "models.py": "digest of models"}
    return Specification(
        experiment=experiment, folder="/data", shards=shards, validation_shards=validation_shards, digests=digests
    )


def configuration(number: int, offset: int = 0) -> Configuration:
    """Return a configuration of which only number and offset matter."""
    return Configuration(number=number, name="", model="small", parameters={}, compile={}, fit={}, offset=offset)


@st.composite
def runs(draw: st.DrawFn) -> tuple[Specification, list[Configuration], int]:
    """Draw a specification, its planned configurations, and a number of stations."""
    shards = draw(st.integers(1, 9))
    iterations = draw(st.integers(1, 5))
    made = specification(
        shards,
        draw(st.integers(0, 6)),
        iterations=iterations,
        evaluate_every=draw(st.none() | st.integers(1, iterations)),
        keep_checkpoints=draw(st.sampled_from(["last", "iterations"])),
    )
    offsets = draw(st.lists(st.integers(0, shards - 1), min_size=1, max_size=4))
    planned = [configuration(number, offset) for number, offset in enumerate(offsets, start=1)]
    return made, planned, draw(st.integers(1, 20))
