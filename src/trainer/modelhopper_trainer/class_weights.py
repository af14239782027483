"""The weight of each class in the loss, from what the user wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import SpecError
from modelhopper_contract.manifest import Manifest

Given = Mapping[Any, float] | Literal["balanced"] | None


def class_weights(given: Given, manifest: Manifest) -> npt.NDArray[np.float32] | None:
    """Return a weight per class index, 1 where none is given; None when there are no weights at all.

    Keys are class values; for an encoded label, whose classes have no names, positions. "balanced" gives every class
    the same total weight: rows / (classes with rows * rows of the class), as scikit-learn's compute_class_weight.
    Raises SpecError for an unknown class, or labels that are not classes.
    """
    if given is None:
        return None
    if len(manifest.outputs) != 1 or manifest.outputs[0].kind == "number":
        raise SpecError("`class_weight` is for one output of classes: this data has another kind.", _PATH)
    if isinstance(given, str):
        return _balanced(manifest)
    names = _names(manifest)
    # JSON turns keys into text, so text is what keys are compared by.
    by_text = {_text(key): float(weight) for key, weight in given.items()}
    unknown = by_text.keys() - set(names)
    if unknown:
        known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise SpecError(f"`class_weight` is for {', '.join(sorted(unknown))}, and the classes are {known}.", _PATH)
    padding = [1.0] * ((manifest.outputs[0].num_classes or len(names)) - len(names))
    return np.asarray([by_text.get(name, 1.0) for name in names] + padding, np.float32)


_PATH = ("class_weight",)


def _names(manifest: Manifest) -> list[str]:
    output = manifest.outputs[0]
    return [_text(name) for name in (output.classes if output.kind == "classes" else range(output.shape[-1]))]


def _text(name: Any) -> str:
    # JSON writes the key True as "true".
    return str(name).lower() if isinstance(name, bool) else str(name)


def _balanced(manifest: Manifest) -> npt.NDArray[np.float32]:
    output = manifest.outputs[0]
    if output.kind != "classes":
        raise SpecError("`class_weight: balanced` needs labels that were packed as classes.", _PATH)
    rows = np.asarray(manifest.class_rows[output.name], np.float64)
    present = np.count_nonzero(rows)
    return np.where(rows > 0, rows.sum() / (present * np.maximum(rows, 1)), 1.0).astype(np.float32)
