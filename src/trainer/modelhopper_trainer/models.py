"""Building the Keras model of a configuration: a user's function, Keras JSON of any age, or a `.keras` file."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from modelhopper_contract import experiment
from modelhopper_contract.errors import SpecError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.functions import call, load_function
from modelhopper_trainer.keras_internals import FUNCTIONAL_MODULE
from modelhopper_trainer.precision import take_policy


def build_model(model: experiment.Model, parameters: Mapping[str, Any], folder: Path, seed: int) -> keras.Model:
    """Build a model whose initial weights, names and layer seeds depend on `seed` only.

    It has the dtype policy of the moment, as in Keras. Raises SpecError when the file, the function or its result
    cannot be used.
    """
    policy = keras.config.dtype_policy()
    # Layers are numbered per process ("dense_7"); starting anew gives equal configurations equal names.
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy(policy)  # which was forgotten, too
    with _seeded(seed):
        built = _built(model, parameters, folder)
    if not isinstance(built, keras.Model):
        raise SpecError(f"`{model.build}` returned a {type(built).__name__}: it must return a keras.Model.")
    return built


def _built(model: experiment.Model, parameters: Mapping[str, Any], folder: Path) -> Any:
    if model.is_function:
        function = load_function(model.build, folder)
        try:
            return call(model.build, function, parameters)
        except SpecError as error:
            raise SpecError(f"{error}{_hint(error.path)}", error.path) from error
    path = _existing(model.build, folder)
    found = _from_json(path) if model.build.endswith(".json") else _from_keras_file(path)
    take_policy(found)
    return found


def _hint(path: tuple[str | int, ...]) -> str:
    """Say what a parameter that the function does not take may be meant to be."""
    if path and path[-1] in experiment.RESERVED:
        return f" `{path[-1]}` stands beside `build`, and is one for all of a model: name two models to try two."
    return did_you_mean(path[-1], experiment.RESERVED) if path else ""


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what builds a model, and give Python's and numpy's random states back: they may be a notebook's."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 -- Keras seeds this one
    try:
        keras.utils.set_random_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _existing(build: str, folder: Path) -> Path:
    path = Path(folder, build)
    if not path.is_file():
        raise SpecError(f"the model `{build}` is not there: there is no file {path.resolve()}.")
    return path


def _from_keras_file(path: Path) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise SpecError(f"{path} cannot be loaded as a Keras model: {error}") from error


def _from_json(path: Path) -> keras.Model:
    try:
        value = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path} is not JSON: {error}") from error
    try:
        # Text printed by a database or a log may be JSON inside a JSON string.
        value = json.loads(value) if isinstance(value, str) else value
        return keras.models.model_from_json(json.dumps(upgrade_keras_2(value)))
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise SpecError(f"{path} does not describe a Keras model: {error}") from error


def upgrade_keras_2(value: Any) -> Any:
    """Return Keras 2's model JSON in the form that Keras 3 reads; Keras 3's own comes back as it is.

    Keras up to 2.2 wrote a Sequential's `config` as a bare list of layers; up to 2.15 the first layer carried
    `batch_input_shape` and no object said which module it is from (the JSON of MADlib's model architecture tables).
    """
    if isinstance(value, list):
        return [upgrade_keras_2(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    upgraded = {key: upgrade_keras_2(item) for key, item in value.items()}
    if "class_name" not in value or "config" not in value or "module" in value:
        return upgraded
    if value["class_name"] in ("Model", "Functional"):
        return {
            **upgraded,
            "config": _functional(upgraded["config"]),
            "class_name": "Functional",
            "module": FUNCTIONAL_MODULE,
        }
    if value["class_name"] == "Sequential":
        upgraded["config"] = _sequential(upgraded["config"])
    return _with_module(upgraded)


def _functional(config: Mapping[str, Any]) -> dict[str, Any]:
    # Keras 2 lists a single input and a single output, too; to Keras 3 a list of one tensor is not the tensor.
    single = {
        key: config[key][0]
        for key in ("input_layers", "output_layers")
        if len(config[key]) == 1 and isinstance(config[key][0], list)
    }
    return {**config, **single, "layers": [_without_old_shape(layer) for layer in config["layers"]]}


def _sequential(config: Any) -> dict[str, Any]:
    config = {"layers": config} if isinstance(config, list) else dict(config)
    layers = list(config["layers"])
    first = layers[0]
    if first["class_name"] != "InputLayer" and "batch_input_shape" in first["config"]:
        dtype = first["config"].get("dtype")
        entry = {"dtype": dtype if isinstance(dtype, str) else "float32", "name": "input"}
        entry["batch_input_shape"] = first["config"]["batch_input_shape"]
        layers.insert(0, _with_module({"class_name": "InputLayer", "config": entry}))
    return {"name": "sequential", **config, "layers": [_without_old_shape(layer) for layer in layers]}


def _without_old_shape(layer: dict[str, Any]) -> dict[str, Any]:
    # Keras 2.15 gives the shape twice: to the InputLayer, and to the layer after it.
    config = {key: value for key, value in layer["config"].items() if key != "batch_input_shape"}
    if layer["class_name"] == "InputLayer" and "batch_input_shape" in layer["config"]:
        config["batch_shape"] = layer["config"]["batch_input_shape"]
    return {**layer, "config": config}


def _with_module(value: dict[str, Any]) -> dict[str, Any]:
    for name in ("layers", "initializers", "regularizers", "constraints"):
        if hasattr(getattr(keras, name), value["class_name"]):
            return {**value, "module": f"keras.{name}"}
    return {**value, "module": "keras"}
