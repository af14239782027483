"""Transfer learning: a file gives layers of the same names their first weights, and some layers stay as they are."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import h5py
import keras

from modelhopper_contract.errors import SpecError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer import weights_file
from modelhopper_trainer.keras_internals import named_layers
from modelhopper_trainer.weights_file import Layer

_MOST_NAMES = 12  # in a message


@dataclass(frozen=True)
class Transfer:
    """What a file gave to a model. Layers without weights are not counted."""

    file: str  # as written
    taken: tuple[str, ...]  # layers that begin with the file's weights
    fresh: tuple[str, ...]  # layers that begin with their own
    unused: tuple[str, ...]  # layers of the file that the model does not have

    def __str__(self) -> str:
        parts = [f"{self.file} gives {listed(self.taken)} their weights"]
        parts += [f"{listed(self.fresh)} start fresh"] if self.fresh else []
        parts += [f"not in the model: {listed(self.unused)}"] if self.unused else []
        return "; ".join(parts)


def take_weights(model: keras.Model, written: str, folder: Path, *, is_numbered: bool) -> Transfer:
    """Give a built model's layers the weights of those of the same names in a file.

    A layer inside a model that is a layer is "inner/conv"; where no layer of the file has that whole name, it is found
    as "conv", and the other way round. `is_numbered`: unnamed layers of this model are numbered from the first, so a
    number is taken for a name only where the file's begin so, too. Raises SpecError when no layer is found, when one
    has other shapes than in the file, and when the file is not one of weights.
    """
    path = Path(folder, written)
    if not path.is_file():
        raise SpecError(f"`{written}` is not there: there is no file {path.resolve()}.")
    with tempfile.TemporaryDirectory(prefix="modelhopper-") as scratch:
        # Keras' own file of this model says where each array lies, also those of layers that save in their own way.
        own = Path(scratch, "own.weights.h5")
        model.save_weights(own)
        with weights_file.opened(path) as file, h5py.File(own, "r+") as copy:
            mine, theirs = weights_file.layers_of(copy), weights_file.layers_of(file)
            pairs = matched(mine, theirs, written, is_numbered=is_numbered)
            for name, other in pairs.items():
                _copy(mine[name], theirs[other])
        model.load_weights(own)
    unused = theirs.keys() - set(pairs.values())
    return Transfer(written, tuple(sorted(pairs)), tuple(sorted(mine.keys() - pairs.keys())), tuple(sorted(unused)))


def matched(mine: Mapping[str, Layer], theirs: Mapping[str, Layer], file: str, *, is_numbered: bool) -> dict[str, str]:
    """Return which layer of a file each layer of a model takes its weights from, by names; not those that take none.

    Raises SpecError as `take_weights` does.
    """
    if not theirs:
        raise SpecError(
            f"{file} names no layers: it is of an older Keras, or empty. Load it there into its model, and save that "
            "with Keras 3.15 or newer as a `.keras` file."
        )
    found = {name: other for name in mine if (other := _source(name, mine, theirs, file)) is not None}
    if not found:
        raise SpecError(
            f"{file} has none of the model's layers: it has {listed(theirs)}, and the model has {listed(mine)}. Layers "
            "are found by their names: give both the same, `name=...`."
        )
    for name, other in found.items():
        if is_numbered and mine[name].is_numbered:
            _check_numbering(name, mine, theirs, file)
        _check_shapes(mine[name], theirs[other], file)
    return found


def freeze(model: keras.Model, patterns: Sequence[str]) -> None:
    """Set layers of a built model, and what is inside them, not to be trained.

    A pattern such as "conv*" is for a layer's name; with a `/`, such as "base/conv*", for its name with those of the
    layers around it. Raises SpecError for a pattern that fits no layer, and when nothing is left to train.
    """
    layers = named_layers(model)
    for pattern in patterns:
        found = [layer for name, layer in layers if fnmatchcase(name if "/" in pattern else layer.name, pattern)]
        if not found:
            names = [name for name, layer in layers if layer.variables]
            near = did_you_mean(pattern.strip("*"), [name.rpartition("/")[2] for name in names] + names)
            raise SpecError(f"`{pattern}` in frozen_layers fits none of the model's layers: {listed(names)}.{near}")
        for layer in found:
            layer.trainable = False
    if patterns and not model.trainable_variables:
        raise SpecError(
            f"frozen_layers, {listed(patterns)}, leaves no layer with weights to train. Leave the last layers out."
        )


def listed(names: Iterable[str]) -> str:
    """Return names in words, the first dozen of them."""
    shown = [name or "the model's own variables" for name in names]
    more = len(shown) - _MOST_NAMES
    return ", ".join(shown[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _source(name: str, mine: Mapping[str, Layer], theirs: Mapping[str, Layer], file: str) -> str | None:
    if name in theirs:
        return name
    if mine[name].is_numbered or not name:
        return None  # a number says nothing in another place
    ends = [
        other
        for other, layer in theirs.items()
        if other and other not in mine and not layer.is_numbered and _is_end_of_other(name, other)
    ]
    if len(ends) > 1:
        raise SpecError(
            f"`{name}` could be {' or '.join(f'`{end}`' for end in ends)} of {file}. Give the layer in the model the "
            "name of one of them, or another."
        )
    return ends[0] if ends else None


def _is_end_of_other(name: str, other: str) -> bool:
    return name.endswith(f"/{other}") or other.endswith(f"/{name}")


def _check_numbering(name: str, mine: Mapping[str, Layer], theirs: Mapping[str, Layer], file: str) -> None:
    """Refuse the numbers of a process that had made other layers before: its `dense_1` may be anything's second."""
    first = re.sub(r"_\d+$", "", name)
    if first in mine and first not in theirs:
        raise SpecError(
            f"{file} has a `{name}` and no `{first}`: Keras numbered its unnamed layers after others, so a number does "
            "not tell which layer is meant. Give the layers names, `name=...`, where that model was made and here."
        )


def _check_shapes(mine: Layer, theirs: Layer, file: str) -> None:
    if _forms(mine) != _forms(theirs):
        raise SpecError(
            f"{listed([mine.name])} is {theirs.shapes} in {file}, and {mine.shapes} in the model. Make them the same, "
            "or give the layer another name in the model to let it start fresh."
        )


def _forms(layer: Layer) -> dict[str, tuple[tuple[int, ...], str]]:
    return {place: (array.shape, array.dtype.kind) for place, array in layer.arrays.items()}


def _copy(mine: Layer, theirs: Layer) -> None:
    for place, array in mine.arrays.items():
        array[...] = theirs.arrays[place][...]
