"""Optimizers, losses and metrics from what the user wrote: names, dictionaries with a `name`, or `file.py:function`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from modelhopper_contract.errors import SpecError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.functions import check_parameters, load_function


def make_optimizer(given: str | Mapping[str, Any], folder: Path) -> keras.optimizers.Optimizer:
    """Return a new optimizer, such as from `{"name": "Adam", "learning_rate": 0.01}`.

    A learning rate may be a schedule, written the same way. Raises SpecError for an unknown name or parameter.
    """
    name, parameters = _name_and_parameters("optimizer", given)
    if isinstance(parameters.get("learning_rate"), Mapping):
        parameters["learning_rate"] = _make_schedule(parameters["learning_rate"])
    kind = _find("optimizer", name, keras.optimizers, keras.optimizers.Optimizer, folder)
    return _construct("optimizer", name, kind, parameters, keras.optimizers.Optimizer)


def make_loss(
    given: str | Mapping[str, Any], folder: Path, reduction: str = "sum_over_batch_size"
) -> keras.losses.Loss:
    """Return a new loss; with `reduction="none"` it gives one value per row."""
    name, parameters = _name_and_parameters("loss", given)
    kind = _find("loss", name, keras.losses, keras.losses.Loss, folder)
    if isinstance(kind, type) and issubclass(kind, keras.losses.Loss):
        return _construct("loss", name, kind, {"reduction": reduction, **parameters}, keras.losses.Loss)
    check_parameters(f"the loss {name}", kind, {"y_true": 0, "y_pred": 0, **parameters})
    return FunctionLoss(kind, parameters, name=_short(name), reduction=reduction)


def make_metric(given: str | Mapping[str, Any], folder: Path) -> keras.metrics.Metric:
    """Return a new metric. A user's function `f(y_true, y_pred)` gives one value per row, averaged over all rows."""
    name, parameters = _name_and_parameters("metric", given)
    kind = _find("metric", name, keras.metrics, keras.metrics.Metric, folder)
    if isinstance(kind, type) and issubclass(kind, keras.metrics.Metric):
        return _construct("metric", name, kind, parameters, keras.metrics.Metric)
    check_parameters(f"the metric {name}", kind, {"y_true": 0, "y_pred": 0, **parameters})
    return keras.metrics.MeanMetricWrapper(kind, name=_short(name), **parameters)


def metric_name(given: str | Mapping[str, Any]) -> str:
    """Return the name under which a metric is recorded: the one that the user wrote."""
    return _short(given if isinstance(given, str) else str(given.get("label", given.get("name"))))


class FunctionLoss(keras.losses.Loss):  # type: ignore[misc]
    """A loss from a user's function of (y_true, y_pred)."""

    def __init__(self, function: Callable[..., Any], parameters: Mapping[str, Any], **rest: Any) -> None:
        super().__init__(**rest)
        self._function = function
        self._parameters = dict(parameters)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the function's value."""
        return self._function(y_true, y_pred, **self._parameters)


# Keras' own short names (keras.losses.get, keras.metrics.get) that are not a class's name in lower case.
_SHORT_NAMES = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
    "rmse": "RootMeanSquaredError",
    "bce": "BinaryCrossentropy",
    "cce": "CategoricalCrossentropy",
    "kld": "KLDivergence",
    "logcosh": "LogCosh",
}


def _find(what: str, name: str, module: Any, base: type, folder: Path) -> Callable[..., Any]:
    if ".py:" in name:
        return load_function(name, folder)
    classes = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    }
    plain = {_plain(key): value for key, value in classes.items()}
    found: type | None = plain.get(_plain(_SHORT_NAMES.get(name.lower(), name)))
    if found is None:
        near = did_you_mean(name, [*classes, *_SHORT_NAMES]) or did_you_mean(_plain(name), plain)
        raise SpecError(
            f"`{name}` is not {'an' if what[0] in 'aeiou' else 'a'} {what} of Keras {keras.__version__}.{near} "
            f"Your own {what} is written `file.py:function`."
        )
    return found


def _construct(what: str, name: str, kind: Any, parameters: Mapping[str, Any], base: type) -> Any:
    given = {key: value for key, value in parameters.items() if key != "label"}
    check_parameters(f"the {what} {name}", kind, given, only_named=kind.__module__.startswith("keras."))
    try:
        made = kind(**given)
    except (TypeError, ValueError) as error:
        raise SpecError(f"the {what} {name} cannot be made from {given}: {error}") from error
    if not isinstance(made, base):
        raise SpecError(f"the {what} {name} is a {type(made).__name__}: it must be a keras {base.__name__}.")
    return made


def _make_schedule(given: Mapping[str, Any]) -> Any:
    name, parameters = _name_and_parameters("learning rate schedule", given)
    schedules = keras.optimizers.schedules
    kind = _find("learning rate schedule", name, schedules, schedules.LearningRateSchedule, Path())
    return _construct("learning rate schedule", name, kind, parameters, schedules.LearningRateSchedule)


def _name_and_parameters(what: str, given: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(given, str):
        return given, {}
    if isinstance(given, Mapping) and isinstance(given.get("name"), str):
        return given["name"], {key: value for key, value in given.items() if key != "name"}
    raise SpecError(f"`{given}` is not a {what}: give a name, or a dictionary with a `name` and parameters.")


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _short(name: str) -> str:
    return name.rpartition(":")[2]
