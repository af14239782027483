"""A configuration's state: which variables it has, in which order, and under which names they are saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SEED_STATE = "seed_generator_state"  # Keras' own name for the variable of a seed generator


class Variables:
    """The variables of a model and its optimizers, in a fixed order.

    Saved names hold the position and the variable's own name, "model/0003/kernel", because the names that Keras
    gives to layers depend on how many layers the process has made.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = {_name("model", n, v): v for n, v in enumerate(model.variables)}
        optimizers = [v for _, v in sorted(vars(model).items()) if isinstance(v, keras.optimizers.Optimizer)]
        own = [variable for optimizer in _unique(optimizers) for variable in optimizer.variables]
        self.optimizer = {_name("optimizer", n, v): v for n, v in enumerate(own)}

    @property
    def all(self) -> dict[str, Any]:
        """All variables by saved name."""
        return self.model | self.optimizer

    def read(self) -> dict[str, Array]:
        """Return the values of all variables."""
        return {name: np.asarray(variable.value) for name, variable in self.all.items()}

    def seeds(self) -> list[Any]:
        """Return the states of the model's Keras seed generators, which every hop sets anew."""
        return [variable for variable in self.model.values() if variable.name == SEED_STATE]


def model_part(state: Mapping[str, Array]) -> dict[str, Array]:
    """Return the part of a state that predictions depend on."""
    return {name: array for name, array in state.items() if name.startswith("model/")}


def _name(part: str, number: int, variable: Any) -> str:
    return f"{part}/{number:04d}/{variable.name}"


def _unique(optimizers: list[Any]) -> list[Any]:
    return list({id(optimizer): optimizer for optimizer in optimizers}.values())
