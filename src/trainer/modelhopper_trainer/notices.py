"""Starting TensorFlow without the notices that it writes whatever its log level is."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from modelhopper_contract.log_lines import last_lines


@contextmanager
def quiet_start() -> Iterator[None]:
    """Import TensorFlow and Keras inside: without notices, and without what no station needs."""
    with _hidden("sklearn"), without_notices():
        yield


@contextmanager
def without_notices() -> Iterator[None]:
    """Hold back what the process writes to standard error, and write it afterwards without TensorFlow's notices.

    TensorFlow's C++ parts write to the descriptor, so Python's `sys.stderr` cannot catch it.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            lines = last_lines(held.read().decode(errors="replace"), sys.maxsize)
            sys.stderr.write("".join(f"{line}\n" for line in lines))


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Hide a package while others are imported.

    Keras imports scikit-learn wherever it is installed, for wrappers that a station has no use for: a fifth of its
    start. What the user's own files import later is not affected.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
