"""Scoring: trained models applied to data, in parts. The record of a job, its names in a store, and what workers say.

::

    <name>/scoring.json                what is to be done, written once
    <name>/models/<sha256>             files of models that come from outside of an experiment
    <name>/rows/<part>.parquet         rows of a database's table, as they were when the job began
    <name>/parts/<part>                the result of one part, written once
    <name>/evaluation.json             all of them merged, where models are evaluated
    <name>/published                   there when the predictions are about to appear where they belong

A part is some neighbouring rows. Its result is a pure function of the job and the part, so that any worker, anywhere,
may do any of them, and do it again: the parts, and with them every byte of the result, are settled when the job is
written, and depend neither on the number of workers nor on the batch size. Only the last bits of a probability may
depend on the batch size, which is why that stands in the job, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import ExitCode
from modelhopper_contract.manifest import Output
from modelhopper_contract.model_card import ModelCard
from modelhopper_contract.record import Record
from modelhopper_contract.records import ShardMetrics

Action = Literal["predict", "evaluate"]


class Trained(Record):
    """A configuration's checkpoint."""

    kind: Literal["trained"] = "trained"
    store: str
    experiment: str
    configuration: int
    hop: int
    sha256: str  # of the checkpoint
    is_submitted: bool = False  # the model is built from the files that were submitted, which the store keeps


class ModelFile(Record):
    """A model that somebody brought: a `.keras` file, or Keras JSON with weights. Kept with the job."""

    kind: Literal["file"] = "file"
    name: str  # as the user wrote it
    format: Literal["keras", "json"]
    sha256: str
    weights: str | None = None  # digest of the file of weights, where the model is JSON


class Scored(Record):
    """One model of a job."""

    label: str  # in the column `configuration`
    card: ModelCard
    model: Trained | ModelFile = Field(discriminator="kind")


class Packed(Record):
    """A packed data set."""

    kind: Literal["packed"] = "packed"
    address: str
    digest: str  # of its manifest


class FileStamp(Record):
    """A file as it was when the job began."""

    path: str
    size_bytes: int
    modified_ns: int


class Files(Record):
    """CSV or Parquet files, one after another."""

    kind: Literal["files"] = "files"
    format: Literal["csv", "parquet"]
    name: str  # as the user wrote it
    files: tuple[FileStamp, ...]


class Spooled(Record):
    """A table of a database, whose rows were copied to the job's `rows`, one Parquet object for each part."""

    kind: Literal["spooled"] = "spooled"
    name: str  # the address, without a password


Data = Annotated[Packed | Files | Spooled, Field(discriminator="kind")]


class Part(Record):
    """Some neighbouring rows of the data.

    `begin` and `end` are rows of the shard `unit`, or bytes of the CSV file `unit`, or rows of row group `group` of the
    Parquet file `unit`; of what was copied from a database, the object `unit` is the part.
    """

    number: int
    unit: int
    begin: int
    end: int
    rows: int
    first: int  # row of all the data, from 0; of a packed data set, made-up rows are not counted
    group: int = 0


class Answer(Record):
    """What is told of each row: the best class, or all, or the first k, or those above a threshold.

    With `response` and a threshold, an output of two classes is the positive one where its probability is strictly
    above the threshold, and else the other.
    """

    type: Literal["response", "prob"] = "response"
    top: int | None = None
    threshold: float | None = None
    thresholds: dict[str, float] = Field(default={})  # by output, where each has its own


class Job(Record):
    """What a scoring job does."""

    format: Literal[1] = 1
    action: Action
    models: tuple[Scored, ...]
    data: Data
    columns: dict[str, tuple[str, ...]] = Field(default={})  # of the table that each input is made of
    labels: dict[str, tuple[str, ...]] = Field(default={})  # and each label, where models are evaluated
    id: str | None = None  # the column that says which row is which
    answer: Answer = Answer()
    positive: dict[str, int] = Field(default={})  # index of the class that a threshold decides on, by output
    batch_size: int = 1024
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What the models give; they all give the same."""
        return self.models[0].card.outputs

    @property
    def card(self) -> ModelCard:
        """What the models take and give."""
        return self.models[0].card

    def name(self, shown: str) -> str:
        """Return the name of the job: the same for the same job, so that a second start goes on with it.

        The parts follow from the rest, but for those of a database's table, which are known when it was copied.
        """
        return f"{self.action}-{shown}-{digest_bytes(self.model_copy(update={'parts': ()}).to_json())[:12]}"


class Counts(Record):
    """What a part's rows add to the table and the curves of one output with classes. Whole numbers, so sums are exact.

    `scores` holds for each class how many rows of the class, and how many others, have a score in each step of the
    grid of thresholds; only steps that hold any.
    """

    confusion: tuple[tuple[int, int, int], ...]  # actual class, predicted class, rows
    scores: dict[int, tuple[tuple[int, int, int], ...]]  # by class: step, rows of the class, other rows


class ModelEvaluation(Record):
    """What a part's rows add to the evaluation of one model."""

    metrics: ShardMetrics
    counts: dict[str, Counts]  # by output


class PartEvaluation(Record):
    """The result of one part, by model in the job's order."""

    models: tuple[ModelEvaluation, ...]


class Merged(Record):
    """The merged numbers of a job that evaluates: metrics by name for each model in order, and counts by output."""

    metrics: tuple[dict[str, float], ...]
    counts: tuple[dict[str, Counts], ...]


@dataclass(frozen=True)
class ScoringNames:
    """Object names of one job."""

    job: str

    def root(self) -> str:
        """Everything of the job."""
        return f"{self.job}/"

    def record(self) -> str:
        """What is to be done."""
        return f"{self.job}/scoring.json"

    def model(self, sha256: str) -> str:
        """A file of a model that came from outside."""
        return f"{self.job}/models/{sha256}"

    def rows(self, part: int) -> str:
        """Rows that were copied from a database."""
        return f"{self.job}/rows/{part:08d}.parquet"

    def parts(self) -> str:
        """All results."""
        return f"{self.job}/parts/"

    def part(self, number: int) -> str:
        """The result of one part."""
        return f"{self.parts()}{number:08d}"

    def evaluation(self) -> str:
        """The merged result of a job that evaluates."""
        return f"{self.job}/evaluation.json"

    def published(self) -> str:
        """A sign that the predictions are written, and about to appear where they belong."""
        return f"{self.job}/published"


class DoPart(Record):
    """Command: do a part, and put its result into the store."""

    kind: Literal["part"] = "part"
    number: int


class MergeParts(Record):
    """Command: merge all parts of a job that evaluates, and put the result into the store."""

    kind: Literal["merge"] = "merge"


class DonePart(Record):
    """Event: a part's result is in the store."""

    kind: Literal["part"] = "part"
    number: int


class DoneMerge(Record):
    """Event: the merged result is in the store."""

    kind: Literal["merge"] = "merge"


class Trouble(Record):
    """Event: the worker cannot go on, and exits with this code."""

    kind: Literal["trouble"] = "trouble"
    message: str
    exit_code: ExitCode
    traceback: str | None = None


Order = Annotated[DoPart | MergeParts, Field(discriminator="kind")]
Word = Annotated[DonePart | DoneMerge | Trouble, Field(discriminator="kind")]

_ORDER: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(Order)
_WORD: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(Word)


def read_order(line: bytes) -> DoPart | MergeParts:
    """Read one command's line."""
    found: DoPart | MergeParts = _ORDER.validate_json(line)
    return found


def read_word(line: bytes) -> DonePart | DoneMerge | Trouble:
    """Read one event's line."""
    found: DonePart | DoneMerge | Trouble = _WORD.validate_json(line)
    return found
