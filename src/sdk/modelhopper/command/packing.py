"""`pack`: data, cut into shards once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from modelhopper_contract.errors import UserError

_T = TypeVar("_T")


Features = Annotated[
    list[str] | None,
    typer.Option(help="Columns: a,b,c or pixel_*; several inputs: --features image=pixel_* --features age=age."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(help="Columns: species; several outputs: --labels kind=species --labels size=cm."),
]
Kinds = Annotated[list[str] | None, typer.Option(help="classes, number or encoded; of one output: --kind size=number.")]
NumClasses = Annotated[
    list[str] | None,
    typer.Option(metavar="N", help="Widen the one-hot code; of one output: --num-classes kind=12."),
]
IdColumn = Annotated[
    str | None,
    typer.Option("--id", metavar="COLUMN", help="Says which row is which, for predictions.", show_default=False),
]
Stratify = Annotated[
    str | None,
    typer.Option(metavar="OUTPUT", help="Deal the rows of each of its classes evenly.", show_default=False),
]
GroupBy = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Each of its values gets --shards shards, for a model each."),
]
ShardBy = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Each of its values is a shard.", show_default=False)
]
Oversample = Annotated[
    str | None,
    typer.Option(metavar="METHOD", help="Make up rows of rare classes: duplicate, smote, or smote:0.5."),
]
Neighbors = Annotated[
    int | None, typer.Option(min=1, help="Of a row, among which smote chooses; 5.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Of the rows' way to the shards, and of what is made up.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pack")(pack)


def pack(  # noqa: PLR0913 -- one parameter per option
    source: Annotated[
        list[str] | None,
        typer.Argument(
            help="A .npz, .csv or .parquet file, a folder or quoted pattern of them, two .npy files, or postgresql://...",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="The folder to write.", show_default=False)] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="How many shards.", show_default=False)] = None,
    features: Features = None,
    labels: Labels = None,
    kind: Kinds = None,
    normalize: Annotated[float | None, typer.Option(help="Divide the inputs by this.", show_default=False)] = None,
    num_classes: NumClasses = None,
    id_column: IdColumn = None,
    stratify: Stratify = None,
    group_by: GroupBy = None,
    shard_by: ShardBy = None,
    oversample: Oversample = None,
    neighbors: Neighbors = None,
    seed: Seed = 0,
    against: Annotated[
        str | None, typer.Option(help="The packed training data that this is validation data for.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    describe: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Only say what a packed data set, also in S3, holds.", show_default=False),
    ] = None,
) -> None:
    """Cut a data set into shards."""
    from modelhopper_trainer import packing

    if describe is not None:
        _describe(describe, source)
        return
    manifest = packing.pack(
        _source(source),
        _needed("out", out, "the folder to write"),
        shards=_needed("shards", shards, "how many, or --shard-by a column") if shard_by is None else shards,
        features=_columns("features", features),
        labels=_columns("labels", labels),
        kind=_by_name("kind", kind),
        normalize=normalize,
        num_classes=_numbers("num-classes", num_classes),
        seed=seed,
        id=id_column,
        stratify=stratify,
        group_by=group_by,
        shard_by=shard_by,
        oversample=oversample,
        neighbors=neighbors,
        against=against,
        overwrite=overwrite,
    )
    typer.echo(f"{out}: {packing.describe(manifest)}")


def _describe(folder: str, source: Sequence[str] | None) -> None:
    from modelhopper_trainer import packing
    from modelhopper_trainer.shards import open_data

    if source:
        raise UserError(f"--describe only reads {folder}: leave out {source[0]}.")
    typer.echo(f"{folder}: {packing.describe(open_data(folder).manifest)}")


def _source(given: Sequence[str] | None) -> object:
    if not given:
        raise UserError("nothing to pack was given: modelhopper pack SOURCE --out DIR --shards N.")
    if len(given) > 2:
        raise UserError(
            f"{len(given)} sources were given; pack takes one, or two .npy files. For many files give their folder, or "
            f"put the pattern in quotes, such as '{Path(given[0]).with_name('*' + Path(given[0]).suffix)}'."
        )
    return given[0] if len(given) == 1 else tuple(given)


def _needed(option: str, value: _T | None, what: str) -> _T:
    if value is None:
        raise UserError(f"--{option} is missing: {what}.")
    return value


def _columns(option: str, given: Sequence[str] | None) -> list[str] | dict[str, list[str]] | None:
    """Return columns as `pack` takes them: `a,b` as a list, `name=a,b` as a mapping."""
    if given is None:
        return None
    named, plain = _split(option, given)
    if named:
        return {name: _listed(columns) for name, columns in named.items()}
    return [column for columns in plain for column in _listed(columns)]


def _by_name(option: str, given: Sequence[str] | None) -> str | dict[str, str] | None:
    if given is None:
        return None
    named, plain = _split(option, given)
    if len(plain) > 1:
        raise UserError(f"--{option} is given as {' and '.join(plain)}: give one, or one per output (name={plain[0]}).")
    return named or plain[0]


def _numbers(option: str, given: Sequence[str] | None) -> int | dict[str, int] | None:
    said = _by_name(option, given)
    if isinstance(said, dict):
        return {name: _number(option, value) for name, value in said.items()}
    return None if said is None else _number(option, said)


def _number(option: str, value: str) -> int:
    if not value.isdecimal():
        raise UserError(f"--{option} is `{value}`; it is a whole number, or name=number for one output.")
    return int(value)


def _split(option: str, given: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    pairs = [value.partition("=") for value in given]
    named = {name.strip(): value for name, sign, value in pairs if sign}
    plain = [name for name, sign, _ in pairs if not sign]
    if named and plain:
        raise UserError(f"--{option} is `{plain[0]}` and also named ({', '.join(named)}=...): name all, or none.")
    return named, plain


def _listed(text: str) -> list[str]:
    return [column.strip() for column in text.split(",") if column.strip()]
