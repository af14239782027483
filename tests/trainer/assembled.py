"""Models assembled for rows in memory, without packing or a store, for claims about one part of the trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.experiment import Model
from modelhopper_contract.manifest import Input, Manifest, Output, Shard
from modelhopper_contract.records import Configuration
from modelhopper_trainer.assembly import Assembly, assemble
from modelhopper_trainer.device import configure

Array = npt.NDArray[Any]


def manifest(
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    classes: Mapping[str, Sequence[Any]] | None = None,
    normalize: float = 1.0,
) -> Manifest:
    """Describe rows as a packed data set would; outputs in `classes` are class indices."""
    rows = len(next(iter(inputs.values())))
    made = [_output(name, array, (classes or {}).get(name)) for name, array in outputs.items()]
    return Manifest(
        inputs=tuple(Input(name=n, shape=a.shape[1:], dtype=str(a.dtype)) for n, a in inputs.items()),
        outputs=tuple(made),
        normalize=normalize,
        seed=0,
        rows=rows,
        class_rows={
            o.name: tuple(np.bincount(outputs[o.name], minlength=o.num_classes or 0).tolist())
            for o in made
            if o.num_classes
        },
        shards=(Shard(rows=rows, files={}),),
    )


def _output(name: str, array: Array, classes: Sequence[Any] | None) -> Output:
    if classes is not None:
        found = tuple(classes)
        return Output(
            name=name, kind="classes", shape=(), dtype=str(array.dtype), classes=found, num_classes=len(found)
        )
    kind = "number" if array.ndim == 1 else "encoded"
    return Output.model_validate({"name": name, "kind": kind, "shape": array.shape[1:], "dtype": str(array.dtype)})


def configuration(number: int = 1, parameters: Mapping[str, Any] | None = None, **settings: Any) -> Configuration:
    """Return a configuration; `settings` are compile and fit parameters."""
    fit = {"batch_size": 8, "epochs": 1, "shuffle": True, "class_weight": None}
    compiled: dict[str, Any] = {
        "optimizer": {"name": "SGD", "learning_rate": 0.1},
        "loss": "mse",
        "metrics": [],
        "loss_weights": None,
    }
    return Configuration(
        number=number,
        name="",
        model="model",
        parameters=dict(parameters or {}),
        compile={key: settings.get(key, value) for key, value in compiled.items()}
        | ({"jit_compile": True} if settings.get("jit_compile") else {}),
        fit={key: settings.get(key, value) for key, value in fit.items()},
    )


def assembled(build: str, folder: Path, described: Manifest, one: Configuration, seed: int = 1) -> Assembly:
    """Build and compile a configuration of a model for described rows."""
    configure(threads=1, gpu=False, deterministic=True)
    return assemble(one, Model(build=build), described, seed, folder)
