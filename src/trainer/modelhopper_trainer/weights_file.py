"""Files of weights as Keras 3 writes them: which layers they hold, found without building or running anything.

A `.weights.h5` file is a tree of groups. A layer's group has a group `vars` with its arrays and its name; a model's has
a group `layers`, too; and what is inside a layer of another kind (the projections of an attention, the cell of an LSTM)
lies in groups named by its attributes. A `.keras` file is a zip archive with such a file in it. Its other parts, which
could name code to run, are never read.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import h5py

from modelhopper_contract.errors import SpecError

_INSIDE_KERAS = "model.weights.h5"
_DEEPEST = 50  # groups in groups; links inside a damaged file could lead in a circle


@dataclass(frozen=True)
class Layer:
    """What a file holds of a layer: one that is no model, or a model's own variables."""

    name: str  # with those of the models around it: "encoder/conv_1"; "" for the whole model
    group: str
    is_numbered: bool  # its name, or that of a model around it, is one that Keras makes up: "dense_3"
    arrays: Mapping[str, h5py.Dataset]  # by place inside the group

    @property
    def shapes(self) -> str:
        """Its arrays in words: "float32 (3, 3), float32 (3,)"."""
        return ", ".join(f"{array.dtype.name} {array.shape}" for array in self.arrays.values())


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a `.keras` or a `.weights.h5` file; raise SpecError when it is neither."""
    with ExitStack() as stack:
        try:
            # By Python's own file: HDF5 would lock it, which fails on some read-only and network disks.
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            if path.suffix == ".keras":
                archive = stack.enter_context(zipfile.ZipFile(file))
                file = io.BytesIO(archive.read(_INSIDE_KERAS))  # going back inside an archive reads it from the top
            found = stack.enter_context(h5py.File(file, "r"))
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise SpecError(f"{path} cannot be read as weights of a Keras model: {error}") from error
        yield found


def layers_of(file: h5py.File) -> dict[str, Layer]:
    """Return the layers that have arrays, by name. Where two have one name, the second is "name (2)"."""
    found: dict[str, Layer] = {}
    for layer in _layers(file, "", "", is_numbered=False):
        if layer.arrays:
            count = sum(other.name == layer.name for other in found.values())
            found[f"{layer.name} ({count + 1})" if count else layer.name] = layer
    return found


def _layers(group: h5py.Group, place: str, name: str, *, is_numbered: bool) -> Iterator[Layer]:
    own = {key: array for key, array in _arrays(group) if key.startswith("vars/")} if "vars" in group else {}
    yield Layer(name, place, is_numbered, own)
    for key, inner in _groups(group, place):
        if key == "vars":
            continue
        there, short = f"{place}/{key}".lstrip("/"), _name(inner)
        if short is None:  # a list of layers, such as a model's
            inside = _layers(inner, there, name, is_numbered=is_numbered)
            yield from (layer for layer in inside if layer.group != there)
            continue
        whole = f"{name}/{short}".lstrip("/")
        numbered = is_numbered or _stem(short) == _stem(key)
        if "layers" in inner:
            yield from _layers(inner, there, whole, is_numbered=numbered)
        else:
            yield Layer(whole, there, numbered, dict(_arrays(inner)))


def _groups(group: h5py.Group, place: str) -> Iterator[tuple[str, h5py.Group]]:
    if place.count("/") > _DEEPEST:
        raise SpecError(f"{group.file.filename} is damaged: its groups lead in a circle.")
    for key in group:
        # A link to another file, or to another place, is nothing that Keras writes.
        linked = group.get(key, getclass=True, getlink=True) is not h5py.HardLink
        if not linked and isinstance(group[key], h5py.Group) and not _is_apart(key, group[key]):
            yield key, group[key]


def _arrays(group: h5py.Group, place: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    for key in sorted(group, key=_in_order):
        if group.get(key, getclass=True, getlink=True) is not h5py.HardLink:
            continue
        inner, there = group[key], f"{place}/{key}".lstrip("/")
        if isinstance(inner, h5py.Dataset):
            if not inner.external and not inner.is_virtual:  # neither comes from Keras, and both read other files
                yield there, inner
        elif not _is_apart(key, inner) and there.count("/") <= _DEEPEST:
            yield from _arrays(inner, there)


def _is_apart(key: str, group: h5py.Group) -> bool:
    """Say whether a group holds an optimizer, or a seed, which every hop sets anew."""
    return key == "optimizer" or (_name(group) or "").startswith("seed_generator")


def _name(group: h5py.Group) -> str | None:
    name = group["vars"].attrs.get("name") if "vars" in group else None
    return None if name is None else str(name)


def _stem(name: str) -> str:
    return re.sub(r"_\d+$", "", name)


def _in_order(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isdigit() else (-1, key)
