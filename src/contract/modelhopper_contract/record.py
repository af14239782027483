"""The base of every JSON record that is stored or sent."""

from __future__ import annotations

import json
from typing import Self

import pydantic

from modelhopper_contract.errors import CorruptObject


class Record(pydantic.BaseModel):
    """A frozen value with one canonical JSON form: sorted keys, no white space, so equal values are equal bytes."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def to_json(self) -> bytes:
        """Return the canonical JSON, UTF-8."""
        try:
            return _FINITE.encode(self.model_dump(mode="json")).encode()
        except ValueError:
            # Through pydantic's own JSON, which writes NaN as a string: bare NaN is not JSON. It takes twice as long.
            return canonical_json(json.loads(self.model_dump_json()))

    @classmethod
    def from_json(cls, data: bytes, name: str = "") -> Self:
        """Read what `to_json` wrote; raise CorruptObject, naming the object, when it is anything else."""
        try:
            return cls.model_validate_json(data)
        except pydantic.ValidationError as error:
            what = error.errors()[0]
            where = ".".join(str(part) for part in what["loc"])
            raise CorruptObject(
                f"{name or cls.__name__} is not a valid {cls.__name__}: {where + ': ' if where else ''}{what['msg']}. "
                "It was written by another version of modelhopper, or damaged."
            ) from error


def is_unused(value: object) -> bool:
    """Say whether a field holds nothing: `exclude_if` of those that came later, so that bytes stay as they were."""
    return value is None or value in (False, 0, ())


def canonical_json(value: object) -> bytes:
    """Return `value` as JSON with sorted keys and no white space."""
    return _CANONICAL.encode(value).encode()


# Made once, because `json.dumps` makes one for every value.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_FINITE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
