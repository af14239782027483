"""`copy`: a packed data set, brought to where pods can fetch it, or back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from modelhopper.copying import Progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("copy")(copy)


def copy(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A packed data set: a folder, or s3://bucket/prefix.")
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where to: s3://bucket/prefix, or a folder.")],
    *,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only what goes wrong.")] = False,
) -> None:
    """Copy a packed data set between a folder and S3.

    Every file is checked against its digest. What is there already is not copied again, so the same command goes on
    after an interruption. AWS_ENDPOINT_URL names the server; keys are read from AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, or from a profile.

    Example: modelhopper copy data/iris-train s3://lab/data/iris-train
    """
    from modelhopper.copying import copy_data
    from modelhopper.display.words import count

    last: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        last[:] = [progress]
        if sys.stderr.isatty() and not quiet:
            typer.echo(f"\r{_done(progress)}", err=True, nl=False)

    manifest = copy_data(source, target, on_progress)
    if sys.stderr.isatty() and not quiet and last:
        typer.echo("", err=True)
    if quiet:
        return
    there = sum(progress.already_there for progress in last)
    kept = f", {there:,} of them were there already" if there else ""
    files = sum(len(shard.files) for shard in manifest.shards)
    what = f"{count(files, 'file')} of {count(len(manifest.shards), 'shard')}"
    typer.echo(f"{target}: {what}, {_size(manifest.size_bytes)}{kept}")


def _done(progress: Progress) -> str:
    return (
        f"{progress.files:,} of {progress.all_files:,} files, "
        f"{_size(progress.size_bytes)} of {_size(progress.all_size_bytes)}"
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.2f} MB"
