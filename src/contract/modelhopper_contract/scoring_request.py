"""A scoring job as a cluster is asked for it: the user's words, and the files that travel with them.

::

    <name>/request.json               what was asked for
    <name>/evaluation.json            what was found, where models are evaluated
    <name>/<digest>/...               the job that it has become, until it is done; see `ScoringNames`

What the words mean, such as which configuration is the best, is settled by the first pod, which reaches the store. The
same words make the same name, so that a second submission goes on; when they mean something else by then, the job has
another digest, and begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from modelhopper_contract import bundles
from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.manifest import ClassValue
from modelhopper_contract.record import Record
from modelhopper_contract.scoring import Action

_SHOWN_LENGTH = 30  # of a name: with a Workflow's own letters it is a label of at most 63 characters

Classes = tuple[ClassValue, ...]


class ScoringRequest(Record):
    """What is to be scored with, on what, and where the result goes. Paths of files are names in `files`."""

    format: Literal[1] = 1
    action: Action
    models: tuple[str, ...]  # iris/3, s3://bucket/best.keras, or one of `files`
    data: str | None = None  # s3:// of a packed data set; None: the validation data of the run
    out: str | None = None  # s3:// where predictions go; None: models are evaluated
    overwrite: bool = False
    id: str | None = None
    type: str | None = None
    top: int | None = None
    threshold: float | dict[str, float] | str | None = None  # a name is that of an evaluation that chose one
    positive: ClassValue | dict[str, ClassValue] | None = None
    choose_threshold: str | None = None
    classes: Classes | dict[str, Classes] | None = None
    normalize: float | None = None
    weights: str | None = None
    metric: str | None = None
    batch_size: int = 1024
    files: dict[str, str] = Field(default={})  # digests by name

    @property
    def name(self) -> str:
        """What it is called in the store and on the cluster: the same for the same words and files."""
        first = self.models[0]
        stem = PurePosixPath(first).name if "://" in first else first.partition("/")[0]
        letters = re.sub(r"[^a-z0-9]+", "-", re.split("[@.,]", stem)[0].lower())
        shown = letters.strip("-")[:_SHOWN_LENGTH].strip("-")
        return "-".join(filter(None, (self.action, shown, digest_bytes(self.to_json())[:12])))

    @property
    def record(self) -> str:
        """The object that holds it."""
        return f"{self.name}/request.json"

    @property
    def evaluation(self) -> str:
        """The object that holds what was found."""
        return f"{self.name}/evaluation.json"

    def job(self, digest: str) -> str:
        """The name of the job that it has become."""
        return f"{self.name}/{digest}"


class ScoringBundle:
    """A request with the contents of its files, by name."""

    def __init__(self, request: ScoringRequest, contents: Mapping[str, bytes]) -> None:
        self.request = request
        self.contents = dict(contents)

    def encode(self) -> str:
        """Return the bundle as text that can stand in a Workflow; the same for the same."""
        return bundles.encode("request", self.request, self.contents)

    @classmethod
    def decode(cls, text: str) -> ScoringBundle:
        """Read what `encode` returned; raise CorruptObject for anything else."""
        request, contents = bundles.decode(text, "request", ScoringRequest, "what is to be scored")
        if {name: digest_bytes(data) for name, data in contents.items()} != request.files:
            raise CorruptObject("the files of what is to be scored are not those that were given. Submit it again.")
        return cls(request, contents)
