"""A checkpoint as bytes: one safetensors file whose header holds the hop's record and a digest of everything.

safetensors has no checksum of its own. The digest covers the record and every tensor's name, dtype, shape and bytes, so
a damaged file is found wherever the damage is. The file stays readable by any safetensors tool, and equal states are
equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import HopRecord
from modelhopper_contract.tensors import framed, metadata_of, octets, views

# One key only: the safetensors library writes several in no fixed order, and its bytes and ours must be the same.
_METADATA_KEY = "modelhopper"

_UNREADABLE = (
    *(ValueError, KeyError, TypeError),
    *(OverflowError, MemoryError, RecursionError),  # damaged sizes, or brackets without end
)

Array = npt.NDArray[Any]
State = Mapping[str, Array]


class Checkpoint(NamedTuple):
    """A configuration's state and the record of the hop that led to it."""

    state: dict[str, Array]  # arrays by name, as saved
    record: HopRecord


def to_bytes(state: State, record: HopRecord) -> bytes:
    """Return the checkpoint as bytes. Arrays may be of any shape, also empty or scalar.

    Raises HopError for a dtype that safetensors does not have.
    """
    arrays = {name: _stored(array) for name, array in state.items()}
    written = record.to_json()
    header = {"record": json.loads(written), "sha256": _digest(arrays, written)}
    return framed(arrays, {_METADATA_KEY: canonical_json(header).decode()})


def from_bytes(data: bytes, name: str) -> Checkpoint:
    """Read a checkpoint; raise CorruptObject when it is damaged. The arrays are read-only views of `data`."""
    try:
        found = json.loads(metadata_of(data)[_METADATA_KEY])
        written = canonical_json(found["record"])
        record = HopRecord.from_json(written, name)
        state = views(data)
    except _UNREADABLE as error:
        raise CorruptObject(_damaged(name, f"it is not a checkpoint ({error})")) from error
    digest = _digest(state, written)
    if digest != found.get("sha256"):
        raise CorruptObject(_damaged(name, f"its digest is {digest}, expected {found.get('sha256')}"))
    return Checkpoint(state, record)


def _stored(array: Array) -> Array:
    if array.flags.c_contiguous and array.dtype.isnative:
        return array
    # safetensors swaps bytes to this machine's order; the digest is of what is written.
    return np.require(array, array.dtype.newbyteorder("="), requirements="C")


def _digest(state: State, record: bytes) -> str:
    digest = hashlib.sha256(record)
    for name in sorted(state):
        array = state[name]
        digest.update(canonical_json([name, str(array.dtype), list(array.shape)]))
        digest.update(octets(array))
    return digest.hexdigest()


def _damaged(name: str, why: str) -> str:
    return (
        f"{name} is damaged: {why}. Nothing else was touched. Delete the object if an earlier checkpoint of this "
        "configuration exists, or the configuration's outcome and checkpoints to train it again from the start."
    )
