"""The manifest of a packed data set: what its shards hold, and their digests.

On disk::

    <data set>/manifest.json
    <data set>/<shard, five digits>/<field>.npy      one file per field, rows first, can be memory-mapped
    <data set>/<shard, five digits>/row-id.npy       the rows' ids, where they are kept
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.record import Record, is_unused

MANIFEST_NAME = "manifest.json"
ROW_ID = "row-id"  # the name of the file of ids; no input or output has it

ClassValue = StrictBool | StrictInt | StrictFloat | StrictStr | None


class Input(Record):
    """One input of the model, as stored."""

    name: str
    shape: tuple[int, ...]  # of one row
    dtype: str  # numpy's name: uint8, int32, float32, ...
    columns: tuple[str, ...] = ()  # the source's columns, where several were stacked into one row


class Output(Record):
    """One output of the model, as stored.

    `classes`: a class index per row, shape (), which the model sees one-hot encoded over `num_classes`.
    `encoded`: an array label, taken as it is. `number`: a numeric label, for regression.
    """

    name: str
    kind: Literal["classes", "encoded", "number"]
    shape: tuple[int, ...]  # of one row
    dtype: str
    classes: tuple[ClassValue, ...] = ()  # ascending, None first; padding classes have no value
    num_classes: int | None = None  # width of the one-hot code; at least len(classes)


class File(Record):
    """One stored file."""

    size_bytes: int
    sha256: str


class Ids(Record):
    """The column that says which row is which. Each shard keeps it in a file of its own."""

    column: str
    dtype: str  # "<i8", or "S12" for UTF-8 text of at most 12 bytes


class Shard(Record):
    """One shard: its rows, and its files by field name."""

    rows: int
    files: dict[str, File]
    # The last so many rows are made up by oversampling: they are trained on, and never evaluated on or predicted.
    made_up: int = Field(default=0, exclude_if=is_unused)

    @property
    def real_rows(self) -> int:
        """How many rows, from the first on, are the source's."""
        return self.rows - self.made_up


class Manifest(Record):
    """What a packed data set holds."""

    format: Literal[1] = 1
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    normalize: float = 1.0  # inputs are divided by this in the compiled step, not on disk
    seed: int
    rows: int
    class_rows: dict[str, tuple[int, ...]] = Field(default={})  # rows of each class, by output and class index
    shards: tuple[Shard, ...]
    ids: Ids | None = Field(default=None, exclude_if=is_unused)
    stratified: str | None = Field(default=None, exclude_if=is_unused)  # the output whose classes are dealt evenly
    group_column: str | None = Field(default=None, exclude_if=is_unused)
    # In the order of their shards, of which each group has as many.
    groups: tuple[ClassValue, ...] = Field(default=(), exclude_if=is_unused)
    oversampled: str | None = Field(default=None, exclude_if=is_unused)  # how, for people: "smote to 1.0"

    @property
    def size_bytes(self) -> int:
        """Bytes of all files of all shards."""
        return sum(file.size_bytes for shard in self.shards for file in shard.files.values())

    def digest(self) -> str:
        """The identity of the data set: equal digests mean equal bytes in every shard."""
        return digest_bytes(self.to_json())


def file_name(shard: int, field: str) -> str:
    """Return the name of a field's file in a shard, relative to the data set."""
    return f"{shard:05d}/{field}.npy"
