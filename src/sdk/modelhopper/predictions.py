"""Predictions with the names of the data's classes, and the rows they are made from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import DataError, UserError
from modelhopper_contract.manifest import ClassValue, Input, Output
from modelhopper_contract.nearest import did_you_mean

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about rows, for one output."""

    output: Output
    values: Array  # rows first; for classes one probability per class of the data, in the order of `names`

    @property
    def names(self) -> tuple[ClassValue, ...]:
        """The classes, in the order of the columns; for an encoded label their positions."""
        if self.output.kind == "classes":
            return self.output.classes
        self._refuse_numbers()
        return tuple(range(self.values.shape[-1]))

    @property
    def probabilities(self) -> Array:
        """Shape (rows, classes). Where the one-hot code was widened, the spare columns are left out."""
        self._refuse_numbers()
        return self.values

    @property
    def classes(self) -> list[ClassValue]:
        """The most probable class of each row."""
        return [found[0][0] for found in self.top(1)]

    @property
    def numbers(self) -> Array:
        """The values of a numeric label: shape (rows,), or (rows, *shape) for a label of several numbers."""
        if self.output.kind == "classes":
            raise UserError(
                f"`{self.output.name}` is a label of classes: ask for `classes`, `probabilities` or `top(k)`."
            )
        return self.values if self.output.shape else self.values.reshape(len(self.values))

    def top(self, k: int) -> list[list[tuple[ClassValue, float]]]:
        """Return for each row its k most probable classes with their probabilities, the most probable first."""
        names, probabilities = self.names, self.probabilities
        order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :k]
        return [[(names[at], float(row[at])) for at in best] for row, best in zip(probabilities, order, strict=True)]

    def _refuse_numbers(self) -> None:
        if self.output.kind == "number" or (self.output.kind == "encoded" and self.values.ndim != 2):
            raise UserError(f"`{self.output.name}` is a label of numbers, not of classes: ask for `numbers`.")


class Predictions(Mapping[str, Prediction]):
    """Predictions by output name. With one output, its `classes`, `probabilities`, `top` and `numbers` directly."""

    def __init__(self, outputs: Sequence[Output], values: Mapping[str, Array]) -> None:
        self._found = {
            output.name: Prediction(output, _of_known_classes(output, values[output.name])) for output in outputs
        }

    @property
    def names(self) -> tuple[ClassValue, ...]:
        """See Prediction."""
        return self._only("names").names

    @property
    def probabilities(self) -> Array:
        """See Prediction."""
        return self._only("probabilities").probabilities

    @property
    def classes(self) -> list[ClassValue]:
        """See Prediction."""
        return self._only("classes").classes

    @property
    def numbers(self) -> Array:
        """See Prediction."""
        return self._only("numbers").numbers

    def top(self, k: int) -> list[list[tuple[ClassValue, float]]]:
        """See Prediction."""
        return self._only("top(k)").top(k)

    def __getitem__(self, output: str) -> Prediction:
        if output not in self._found:
            raise UserError(f"`{output}` is not an output: there are {', '.join(self)}.{did_you_mean(output, self)}")
        return self._found[output]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        rows = {len(one.values) for one in self._found.values()}
        return f"predictions of {', '.join(self)} for {max(rows, default=0):,} rows"

    def _only(self, what: str) -> Prediction:
        if len(self) > 1:
            first = next(iter(self))
            raise UserError(
                f'there are {len(self)} outputs: {", ".join(self)}. Say which, as in predictions["{first}"].{what}.'
            )
        return next(iter(self._found.values()))


def rows_for(given: Any, inputs: Sequence[Input]) -> dict[str, Array]:
    """Return rows by input name, each of the packed shape, rows first; values are as before packing.

    `given`: an array for a model of one input, or a mapping or table of inputs or of the source's columns. Raises
    DataError, with both shapes or the nearest name, when it does not fit.
    """
    columns = _columns(given)
    if columns is None:
        if len(inputs) > 1:
            raise DataError(
                f"the model has {len(inputs)} inputs: give a mapping of {', '.join(one.name for one in inputs)}."
            )
        return {inputs[0].name: _checked(inputs[0], np.asarray(given))}
    found = {one.name: _checked(one, _stacked(one, columns)) for one in inputs}
    if len({len(array) for array in found.values()}) > 1:
        counts = ", ".join(f"{name}: {len(array)}" for name, array in found.items())
        raise DataError(f"the inputs have different numbers of rows ({counts}).")
    return found


def _columns(given: Any) -> Mapping[str, Any] | None:
    if isinstance(given, Mapping):
        return given
    names = getattr(given, "column_names", None)  # a table of pyarrow
    names = getattr(given, "columns", None) if names is None else names  # a data frame of pandas
    return None if names is None else {str(name): given[name] for name in names}


def _stacked(field: Input, columns: Mapping[str, Any]) -> Array:
    missing = [name for name in field.columns if name not in columns]
    if field.columns and not missing:  # before the input's own name, which may be that of a single column too
        return _joined(field, [np.asarray(columns[name]) for name in field.columns])
    if field.name in columns:
        return np.asarray(columns[field.name])
    wanted = missing[0] if missing else field.name
    raise DataError(f"the rows have no `{wanted}`: they have {', '.join(columns)}.{did_you_mean(wanted, columns)}")


def _joined(field: Input, parts: Sequence[Array]) -> Array:
    if len(parts) == 1 and parts[0].shape[1:] == field.shape:
        return parts[0]
    if len({part.shape for part in parts}) > 1:
        shapes = ", ".join(f"{name}: {part.shape}" for name, part in zip(field.columns, parts, strict=True))
        raise DataError(f"the columns of `{field.name}` differ in shape ({shapes}).")
    stacked = np.stack(parts, axis=-1)
    fits = stacked.ndim > 1 and math.prod(stacked.shape[1:]) == math.prod(field.shape)
    return stacked.reshape(len(stacked), *field.shape) if fits else stacked


def _checked(field: Input, array: Array) -> Array:
    if array.dtype.kind not in "biuf":
        raise DataError(f"`{field.name}` takes numbers, and the rows given hold {array.dtype}.")
    if array.shape[1:] != field.shape or array.ndim == 0:
        hint = " For a single row, give a list of one row." if array.shape == field.shape else ""
        shape = ", ".join(["rows", *map(str, field.shape)])
        raise DataError(f"`{field.name}` takes rows of shape ({shape}), and {array.shape} was given.{hint}")
    return array


def _of_known_classes(output: Output, values: Array) -> Array:
    return values[:, : len(output.classes)] if output.kind == "classes" else values
