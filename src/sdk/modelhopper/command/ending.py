"""How a command ends: what went wrong in one line on standard error, and the exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from modelhopper_contract.errors import ExitCode, ModelhopperError


def exit_code(command: Callable[[], object], *, debug: bool) -> int:
    """Run a command and return its exit code. With `debug` the traceback is shown, too."""
    try:
        code = _code_of(command)
        sys.stdout.flush()
    except BrokenPipeError:
        return _after_broken_pipe()
    except Exception as error:  # noqa: BLE001 -- whatever it is, a user is told in one line
        sys.stdout.flush()
        if debug:
            traceback.print_exception(error)
        sys.stderr.write(_line(error, debug=debug) + "\n")
        return int(error.exit_code) if isinstance(error, ModelhopperError) else ExitCode.PERMANENT
    return code


def _code_of(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitCode.DONE
    return ExitCode.DONE


def _line(error: Exception, *, debug: bool) -> str:
    if isinstance(error, ModelhopperError):
        # A mistake in a user's own function has its traceback in a note.
        more = " (--debug shows where)" if getattr(error, "__notes__", []) and not debug else ""
        return f"{error}{more}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    said = " ".join(f"{type(error).__name__}: {error}".split())
    how = "" if debug else " It is shown in full when you run again with --debug."
    return f"{said}. This is a bug in modelhopper; please report it.{how}"


def _after_broken_pipe() -> int:
    # Whoever read the output has gone, as `head` does: nobody is left to complain to, neither now nor at exit.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return ExitCode.PERMANENT
