"""The base of every part of an experiment as the user says it."""

from __future__ import annotations

import pydantic


class Part(pydantic.BaseModel):
    """A part of the specification: frozen, and unknown keys are mistakes."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
