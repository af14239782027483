"""Warnings of modelhopper's own, said as a command says things: in one line, without a place in its source."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer


@contextmanager
def in_words() -> Iterator[None]:
    """Say every warning that is meant for the user once what is inside has ended, however it ended."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for text in dict.fromkeys(str(one.message) for one in heard if _is_for_users(one)):
                typer.echo(f"Warning: {text}", err=True)


def _is_for_users(warning: warnings.WarningMessage) -> bool:
    # Keras and others warn of things that a user of the command can do nothing about.
    own = warning.category.__module__.startswith("modelhopper") or "modelhopper" in Path(warning.filename).parts
    return own and issubclass(warning.category, UserWarning)
