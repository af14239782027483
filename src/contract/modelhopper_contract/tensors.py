"""Arrays as one safetensors file in memory, with one copy to make it and none to read it.

The format is eight bytes with the header's length, a JSON header with each tensor's dtype, shape and place, and the
tensors (https://github.com/huggingface/safetensors, "Format"). The library's own functions for bytes copy twice each
way, which took longer than the digest; here its bytes are made, tensor for tensor, which a test holds to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from modelhopper_contract.errors import HopError

Array = npt.NDArray[Any]

# In the library's order: widest first, so that every tensor begins at a multiple of its items' size.
_CODES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_RANKS = {name: (rank, code) for rank, (name, code) in enumerate(_CODES.items())}
_NAMES = {code: name for name, code in _CODES.items()}
_LENGTH_BYTES = 8
_METADATA = "__metadata__"


def framed(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Return arrays, each contiguous and of this machine's byte order, as a safetensors file.

    Raises HopError for a dtype that the format does not have.
    """
    ordered = sorted((*_rank(name, array), name) for name, array in arrays.items())
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    at = 0
    for _, code, name in ordered:
        array = arrays[name]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    contents = [octets(arrays[name]) for _, _, name in ordered]
    # `join` copies each array once, and lets other threads run meanwhile.
    return b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, *contents])


def metadata_of(data: bytes) -> Any:
    """Return what stands under `__metadata__`. Raises KeyError, TypeError or ValueError for anything else."""
    return _header(data)[0][_METADATA]


def views(data: bytes) -> dict[str, Array]:
    """Return the arrays of a safetensors file as read-only views of it.

    Raises KeyError, TypeError or ValueError when it is none, or was cut. That tensors fill the file and do not overlap
    is not checked: the caller has a digest of names, dtypes, shapes and contents.
    """
    header, begin = _header(data)
    return dict(_viewed(data, begin, name, entry) for name, entry in header.items() if name != _METADATA)


def octets(array: Array) -> memoryview:
    """Return a contiguous array's bytes, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def _rank(name: str, array: Array) -> tuple[int, str]:
    dtype = array.dtype.name
    if dtype not in _RANKS:
        raise HopError(f"the state's {name} is of dtype {dtype}, which cannot be saved: use float32 variables")
    return _RANKS[dtype]


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the header, and where the tensors begin."""
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    if end > len(data):
        raise ValueError(f"its header ends at byte {end}, and it has {len(data)}")
    return dict(json.loads(data[_LENGTH_BYTES:end])), end


def _viewed(data: bytes, begin: int, name: str, entry: Mapping[str, Any]) -> tuple[str, Array]:
    dtype, shape = np.dtype(_NAMES[entry["dtype"]]), tuple(entry["shape"])
    first, last = entry["data_offsets"]
    if not 0 <= first <= last <= len(data) - begin:
        raise ValueError(f"{name} is not within the file")
    found = np.frombuffer(memoryview(data)[begin + first : begin + last], dtype)
    return name, found.reshape(shape)
