"""Every error that modelhopper raises on purpose, and the exit code that each one means.

::

    ModelhopperError                something went wrong that modelhopper can explain
    ├── UserError                   the user gave something that cannot work; nothing was started
    │   ├── SpecError               the experiment file or its Python equivalent
    │   ├── DataError               a source file, a packed data set, a label
    │   └── ConflictError           it would overwrite or mix with something that exists
    ├── StoreError                  the object store
    │   ├── ObjectNotFound          no object of this name
    │   ├── StoreUnavailable        no answer, or no room left; trying again later can work
    │   └── CorruptObject           an object's digest or form is wrong; never read as "start from 0"
    ├── HopError                    one configuration cannot go on; the others can
    └── Cancelled                   somebody asked for the run to stop

A message says what was given, what is allowed, the nearest match, and what to do.
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What a process of modelhopper says by its exit code. Part of the contract with schedulers and scripts."""

    DONE = 0  # everything asked for is done
    PERMANENT = 1  # doing the same again gives the same: corrupt data, a bug
    MISTAKE = 2  # the user's input cannot work; nothing was started
    SOME_FAILED = 3  # the run is complete, and at least one configuration failed
    RETRYABLE = 75  # the same command can succeed later: store unreachable, disk full, preempted (SIGTERM)
    INTERRUPTED = 130  # stopped by Ctrl-C, or cancelled; the same command goes on


class ModelhopperError(Exception):
    """Something went wrong that modelhopper can explain in one message."""

    exit_code = ExitCode.PERMANENT


class UserError(ModelhopperError):
    """The user gave something that cannot work. Not retried."""

    exit_code = ExitCode.MISTAKE


class SpecError(UserError):
    """The experiment's specification is wrong.

    `path` leads to the wrong value from the specification's top, such as `("search", "space", "optimizer", 0)`; the
    reader of a YAML file turns it into a line number.
    """

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class DataError(UserError):
    """A source of data, a packed data set or a label cannot be used."""


class ConflictError(UserError):
    """The action would overwrite, or mix with, something that exists."""


class StoreError(ModelhopperError):
    """The object store did not do what it was asked."""


class ObjectNotFound(StoreError):
    """There is no object of this name."""


class StoreUnavailable(StoreError):
    """The store gives no answer or has no room. Trying again later can work."""

    exit_code = ExitCode.RETRYABLE


class CorruptObject(StoreError):
    """An object's bytes are not what was written. Not retried, and never read as an empty object."""


class HopError(ModelhopperError):
    """One configuration cannot go on; the others can."""


class Cancelled(ModelhopperError):
    """Somebody asked for the run to stop. Everything that was done is safe, and it can be resumed."""

    exit_code = ExitCode.INTERRUPTED
