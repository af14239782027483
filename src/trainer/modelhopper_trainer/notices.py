"""Starting TensorFlow quickly, and without the notices that it writes whatever its log level is."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

from modelhopper_contract.log_lines import last_lines

# Keras and TensorFlow import them wherever they are installed, for what no station does: wrappers for scikit-learn,
# the rows of data frames, a Keras of long ago. Together they are a quarter of the start.
_UNUSED = ("pandas", "scipy", "sklearn")


@contextmanager
def quiet_start() -> Iterator[None]:
    """Import TensorFlow and Keras inside: without notices, and without what no station needs."""
    with ExitStack() as stack:
        stack.enter_context(without_collection())
        stack.enter_context(without_notices())
        for package in _UNUSED:
            stack.enter_context(_hidden(package))
        yield


@contextmanager
def without_collection() -> Iterator[None]:
    """Let nothing be collected, and leave what is made inside out of every later collection.

    An import makes half a million objects that stay, and would look through them again and again: a fifth of its time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


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
    """Hide a package while others are imported. What the user's own files import later is not affected."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = _stand_in() if package == "pandas" else None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


class _Later(type):
    """A class that has the instances of the class of its name in pandas, as soon as somebody has imported that."""

    def __instancecheck__(cls, value: object) -> bool:
        real: Any = getattr(sys.modules.get("pandas"), cls.__name__, None)
        return real is not None and isinstance(value, real)


def _stand_in() -> ModuleType:
    """Return what Keras takes for pandas: all that it does with it is to ask whether something is a data frame."""
    module = ModuleType("pandas")
    for name in ("DataFrame", "Series"):
        setattr(module, name, _Later(name, (), {}))
    return module
