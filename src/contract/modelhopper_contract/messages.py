"""What a station process and the engine that started it say to each other: one JSON record per line."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from modelhopper_contract.decisions import Turn
from modelhopper_contract.errors import ExitCode
from modelhopper_contract.record import Record
from modelhopper_contract.records import Configuration, History, Measurement, Outcome, Program
from modelhopper_contract.specification import Specification


class Begin(Record):
    """Command: take part in a run, as this station of so many, until told to let go.

    The run's lock comes beside it, as a file descriptor. What the process prints goes into the log from now on.
    """

    kind: Literal["begin"] = "begin"
    store: str
    experiment: str
    station: int
    stations: int
    log: str


class Prepare(Record):
    """Command: build and compile each of these configurations once, and put their checkpoint 0 into the store."""

    kind: Literal["prepare"] = "prepare"
    specification: Specification
    configurations: tuple[Configuration, ...]


class Measure(Record):
    """Command: build the configurations, find which are of a kind, and time each kind in every way that may be used."""

    kind: Literal["measure"] = "measure"
    specification: Specification
    configurations: tuple[Configuration, ...]


class Serve(Record):
    """Command: serve the inbox until told to stop."""

    kind: Literal["serve"] = "serve"


class Release(Record):
    """Command: finish what is being written, let go of the run, its lock and its log, and wait for another."""

    kind: Literal["release"] = "release"


class Stop(Record):
    """Command: finish what is being written, and exit."""

    kind: Literal["stop"] = "stop"


class Begun(Record):
    """Event: the station takes part in the run."""

    kind: Literal["begun"] = "begun"


class Released(Record):
    """Event: the station has let go of the run; everything written is safe."""

    kind: Literal["released"] = "released"


class Built(Record):
    """Event: a configuration was built and compiled, or cannot be."""

    kind: Literal["built"] = "built"
    configuration: int
    weights: int = 0
    cost: float = 0.0  # of one hop, relative to other configurations
    note: str | None = None  # what the user is told once: which layers begin with given weights
    problem: str | None = None  # a mistake of the user's, in one message
    path: tuple[str | int, ...] = ()  # where in the configuration the mistake is
    traceback: str | None = None


class Measured(Record):
    """Event: all configurations were measured, or one cannot be built."""

    kind: Literal["measured"] = "measured"
    measurement: Measurement | None = None
    problem: Built | None = None  # a mistake of the user's; then nothing was measured


class Chosen(Record):
    """Event: how configurations are compiled, of all ways that were measured."""

    kind: Literal["chosen"] = "chosen"
    measurement: Measurement
    programs: dict[int, Program]  # by configuration


class Started(Record):
    """Event: a hop, or the evaluation of a checkpoint, begins."""

    kind: Literal["started"] = "started"
    action: Literal["train", "evaluate"]
    station: int
    configuration: int
    hop: int


class Trained(Record):
    """Event: hops are done and their checkpoint is safe."""

    kind: Literal["trained"] = "trained"
    station: int
    configuration: int
    first_hop: int
    end_hop: int
    loss: float
    busy_s: float


class Evaluated(Record):
    """Event: a configuration's metrics of one iteration are complete."""

    kind: Literal["evaluated"] = "evaluated"
    history: History


class Idle(Record):
    """Event: the inbox is empty, and everything written is safe."""

    kind: Literal["idle"] = "idle"
    station: int


class Ended(Record):
    """Event: a configuration is finished or failed."""

    kind: Literal["ended"] = "ended"
    outcome: Outcome


class Decided(Record):
    """Event: a search has made a turn; the configurations that start by it."""

    kind: Literal["decided"] = "decided"
    turn: Turn
    configurations: tuple[Configuration, ...]


class Problem(Record):
    """Event: the station cannot go on, and exits with this code."""

    kind: Literal["problem"] = "problem"
    station: int
    message: str
    exit_code: ExitCode
    traceback: str | None = None


Command = Annotated[Begin | Measure | Prepare | Serve | Release | Stop, pydantic.Field(discriminator="kind")]
Event = Annotated[
    Begun | Built | Chosen | Measured | Started | Trained | Evaluated | Idle | Ended | Decided | Problem | Released,
    pydantic.Field(discriminator="kind"),
]

_COMMAND: pydantic.TypeAdapter[Command] = pydantic.TypeAdapter(Command)
_EVENT: pydantic.TypeAdapter[Event] = pydantic.TypeAdapter(Event)


def read_command(line: bytes) -> Command:
    """Read one command's line."""
    return _COMMAND.validate_json(line)


def read_event(line: bytes) -> Event:
    """Read one event's line."""
    return _EVENT.validate_json(line)
