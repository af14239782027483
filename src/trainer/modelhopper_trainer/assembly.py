"""A configuration assembled: its model, compiled, with everything that training and evaluating it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from modelhopper_contract import experiment
from modelhopper_contract.errors import SpecError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification
from modelhopper_trainer.compilation import make_loss, make_metric, make_optimizer, metric_name
from modelhopper_trainer.encoding import Encoding, encoding_for
from modelhopper_trainer.models import build_model
from modelhopper_trainer.precision import policy, used_program
from modelhopper_trainer.seeds import initial_weights
from modelhopper_trainer.state import Variables
from modelhopper_trainer.transfer import Transfer, freeze, take_weights


@dataclass(frozen=True)
class Assembly:
    """A built and compiled configuration. `model` is changed by whoever trains it."""

    configuration: Configuration
    model: keras.Model
    variables: Variables
    encoding: Encoding
    losses: dict[str, Any]  # as the user wrote them, by output name
    loss_weights: dict[str, float]
    metrics: dict[str, list[Any]]  # as the user wrote them, by output name
    folder: Path
    transfer: Transfer | None = None  # what a file of weights gave to the model

    @property
    def jit_compile(self) -> bool:
        """Whether XLA compiles the step."""
        return used_program(self.configuration).jit_compile

    @property
    def outputs(self) -> tuple[str, ...]:
        """Output names, in the data's order."""
        return tuple(output.name for output in self.encoding.outputs)


def assemble(
    configuration: Configuration,
    model: experiment.Model,
    manifest: Manifest,
    seed: int,
    folder: Path,
    *,
    with_weights: bool = True,
) -> Assembly:
    """Build and compile a configuration for a data set.

    `with_weights`: False leaves out the model's `initial_weights`, where a checkpoint is loaded next. Raises SpecError,
    with the path of the wrong value inside the configuration, for anything that does not fit.
    """
    outputs = tuple(output.name for output in manifest.outputs)
    losses = _per_output("loss", configuration.compile.get("loss"), outputs)
    metrics = _metrics_per_output(configuration.compile.get("metrics") or [], outputs)
    weights = _weights_per_output(configuration.compile.get("loss_weights"), outputs)
    with _inside("optimizer"):
        optimizer = make_optimizer(configuration.compile["optimizer"], folder)
    used = used_program(configuration)
    with _inside("model"), policy(used.precision):
        built = build_model(model, configuration.parameters, folder, initial_weights(seed, configuration.number))
        encoding = encoding_for(built, manifest, losses)
        transfer = _transferred(built, model, folder) if with_weights else None
        freeze(built, model.frozen_layers)
    _compile(built, optimizer, losses, weights, folder, jit_compile=used.jit_compile)
    for given in [metric for each in metrics.values() for metric in each]:
        with _inside("metrics"):
            if given not in NAMED_BY_FORM:
                make_metric(given, folder)
    built.optimizer.build(built.trainable_variables)
    return Assembly(configuration, built, Variables(built), encoding, losses, weights, metrics, folder, transfer)


def assemble_for(
    specification: Specification, configuration: Configuration, manifest: Manifest, *, with_weights: bool = True
) -> Assembly:
    """Build and compile a configuration of a run; see `assemble`."""
    experiment = specification.experiment
    model = experiment.models[configuration.model]
    folder = specification.path(".")
    return assemble(configuration, model, manifest, experiment.seed, folder, with_weights=with_weights)


# Which function these names mean depends on what the labels look like, as in Keras' own compile.
NAMED_BY_FORM = ("accuracy", "acc", "crossentropy", "ce")


def program_key(configuration: Configuration, model: experiment.Model) -> bytes:
    """Return what two configurations must share to be trained by one compiled program, as many lanes as it may have.

    The learning rate of Keras' own optimizers is a variable, and the batch size an argument, so neither counts. Of
    precision and XLA counts what is used.
    """
    optimizer = configuration.compile["optimizer"]
    # What a function of the user's does with a learning rate, only it knows.
    is_known = isinstance(optimizer, Mapping) and ".py:" not in str(optimizer.get("name"))
    if is_known and isinstance(optimizer.get("learning_rate"), int | float):
        optimizer = {**optimizer, "learning_rate": None}
    weighted = configuration.fit.get("class_weight") is not None
    used = used_program(configuration)
    shared = {
        **configuration.compile,
        "optimizer": optimizer,
        "jit_compile": used.jit_compile,
        "precision": used.precision,
    }
    return canonical_json([model.model_dump(mode="json"), configuration.parameters, shared, weighted])


def _transferred(built: keras.Model, model: experiment.Model, folder: Path) -> Transfer | None:
    if model.initial_weights is None:
        return None
    return take_weights(built, model.initial_weights, folder, is_numbered=model.is_function)


def _compile(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    losses: Mapping[str, Any],
    weights: Mapping[str, float],
    folder: Path,
    *,
    jit_compile: bool,
) -> None:
    with _inside("loss"):
        made = [make_loss(loss, folder) for loss in losses.values()]
    names = list(losses)
    single = len(names) == 1
    try:
        # Metrics are not compiled in: they are evaluated with the final weights, not averaged while training.
        model.compile(
            optimizer=optimizer,
            loss=made[0] if single else dict(zip(names, made, strict=True)),
            loss_weights=None if single and weights[names[0]] == 1.0 else dict(weights),
            jit_compile=jit_compile,
        )
    except (ValueError, TypeError) as error:
        raise SpecError(f"Keras cannot compile the model: {error}") from error


def _per_output(what: str, given: Any, outputs: tuple[str, ...]) -> dict[str, Any]:
    if given is None:
        raise SpecError(f"a configuration has no `{what}`: give one under `compile`.", (what,))
    if isinstance(given, Mapping) and "name" not in given:
        if set(given) != set(outputs):
            raise SpecError(
                f"`{what}` is for {', '.join(sorted(given))}, and the data's outputs are {', '.join(outputs)}.", (what,)
            )
        return {name: given[name] for name in outputs}
    return dict.fromkeys(outputs, given)


def _metrics_per_output(given: Any, outputs: tuple[str, ...]) -> dict[str, list[Any]]:
    if isinstance(given, Mapping) and "name" not in given:
        unknown = set(given) - set(outputs)
        if unknown:
            raise SpecError(
                f"`metrics` is for {', '.join(sorted(unknown))}, and the data's outputs are {', '.join(outputs)}.",
                ("metrics",),
            )
        return {name: _listed(given.get(name, [])) for name in outputs}
    _unique_names(_listed(given))
    return {name: _listed(given) for name in outputs}


def _unique_names(metrics: list[Any]) -> None:
    names = [metric_name(metric) for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"two metrics are named `{name}`: give one of them another `label`.", ("metrics",))


def _weights_per_output(given: Any, outputs: tuple[str, ...]) -> dict[str, float]:
    if given is None:
        return dict.fromkeys(outputs, 1.0)
    if isinstance(given, Mapping):
        if set(given) - set(outputs):
            raise SpecError(
                f"`loss_weights` is for {', '.join(given)}, and the data's outputs are {', '.join(outputs)}.",
                ("loss_weights",),
            )
        return {name: float(given.get(name, 1.0)) for name in outputs}
    if len(given) != len(outputs):
        raise SpecError(f"there are {len(given)} `loss_weights` for {len(outputs)} outputs.", ("loss_weights",))
    return {name: float(weight) for name, weight in zip(outputs, given, strict=True)}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


class _inside:  # noqa: N801 - reads as a statement
    """Add where in the configuration a mistake is."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, SpecError):
            error.path = (self._key, *error.path)
