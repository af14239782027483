"""A packed data set in a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from modelhopper_contract.manifest import Ids, Input, Manifest, Output
from modelhopper_trainer.packing.columns import listed
from modelhopper_trainer.packing.training import class_name


def describe(manifest: Manifest) -> str:
    """Return a plain table of what a packed data set holds: fields, shapes, dtypes, classes, rows, shards and bytes.

    Lines below it say how rows came to shards, and how many are made up, where that is not as usual.
    """
    rows = [("", "name", "shape", "dtype", "holds")]
    rows += [("input", field.name, _shape(field.shape), field.dtype, _input(field)) for field in manifest.inputs]
    rows += [("output", field.name, _shape(field.shape), field.dtype, _output(field)) for field in manifest.outputs]
    rows += [] if manifest.ids is None else [("ids", manifest.ids.column, "-", *_ids(manifest.ids))]
    return "\n".join([_summary(manifest), *_table(rows), *_footer(manifest)])


def size(size_bytes: float) -> str:
    """Return a number of bytes as a person reads it, such as 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def _summary(manifest: Manifest) -> str:
    counts = sorted({shard.rows for shard in manifest.shards})
    each = f"{counts[0]:,} or {counts[-1]:,}" if len(counts) == 2 else _span(counts[0], counts[-1])
    shards = "1 shard" if len(manifest.shards) == 1 else f"{len(manifest.shards)} shards of {each} rows"
    return f"{manifest.rows:,} rows in {shards}, {size(manifest.size_bytes)}"


def _footer(manifest: Manifest) -> list[str]:
    divided = (
        [] if manifest.normalize == 1 else [f"inputs are divided by {manifest.normalize:g} when the model reads them"]
    )
    return [*divided, *_dealt(manifest), f"seed {manifest.seed}, digest {manifest.digest()}"]


def _dealt(manifest: Manifest) -> list[str]:
    lines = []
    if manifest.groups:
        names, shards = [class_name(value) for value in manifest.groups], len(manifest.shards) // len(manifest.groups)
        each = "1 shard" if shards == 1 else f"{shards} shards"
        groups = "1 group" if len(names) == 1 else f"{len(names)} groups, {each} each"
        lines.append(f"{manifest.group_column} makes {groups}: {listed(names, 8)}")
    if manifest.stratified is not None:
        lines.append(f"the classes of {manifest.stratified} are dealt evenly to shards")
    if manifest.oversampled is not None:
        made_up = sum(shard.made_up for shard in manifest.shards)
        lines.append(f"{made_up:,} of the rows are made up and only trained on: {manifest.oversampled}")
    return lines


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _ids(ids: Ids) -> tuple[str, str]:
    return ("int64", "whole numbers") if ids.dtype == "<i8" else ("text", f"at most {ids.dtype[1:]} bytes")


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return ["  " + line.rstrip() for line in lines]


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "-"


def _input(field: Input) -> str:
    if not field.columns:
        return "an array"
    count = "1 column" if len(field.columns) == 1 else f"{len(field.columns)} columns"
    return f"{count}: {listed(field.columns, 8)}"


def _output(field: Output) -> str:
    if field.kind != "classes":
        return {"encoded": "an encoded label", "number": "a number"}[field.kind]
    width = field.num_classes or len(field.classes)
    padded = f", one-hot over {width}" if width > len(field.classes) else ""
    count = "1 class" if len(field.classes) == 1 else f"{len(field.classes)} classes"
    measured = any(isinstance(value, float) and not value.is_integer() for value in field.classes)
    hint = " (to keep it a number, pack with kind `number`)" if measured else ""
    return f"{count}{padded}: {listed([class_name(value) for value in field.classes], 8)}{hint}"
