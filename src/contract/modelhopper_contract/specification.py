"""The canonical specification of a run: the experiment, and the identity of everything it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from modelhopper_contract.addresses import absolute
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.record import Record
from modelhopper_contract.records import Split
from modelhopper_contract.ring import Ring
from modelhopper_contract.searches import Custom, Pbt, Static

# What says where and how a run is done, not what it computes.
_NOT_IDENTITY: dict[str, Any] = {"store": True, "keep_checkpoints": True, "devices": {"kind", "stations", "per_gpu"}}

_DIGESTED = ("the contents of ", "what configuration ")


class Specification(Record):
    """An experiment as it is run. Two runs of equal identity make equal bytes."""

    format: Literal[1] = 1
    experiment: Experiment
    folder: str  # where the experiment's relative paths begin
    shards: int  # of the training data
    validation_shards: int  # 0 without validation data
    # Of the data sets, and of the files that models come from with the modules that these import, by path as written.
    digests: dict[str, str]
    origins: dict[int, str] = Field(default={})  # of the checkpoints of a warm start: digests by configuration number
    rungs: tuple[int, ...] = ()  # iterations after which the search decides who goes on, ascending

    @property
    def ring(self) -> Ring:
        """The ring of this run."""
        experiment = self.experiment
        return Ring(
            self.shards,
            max(experiment.iterations, *self.rungs, 1),
            experiment.evaluation_period,
            experiment.keep_checkpoints == "iterations",
            self.rungs,
            # Where a search may start a configuration from a copy of another, what it copies must still be there.
            isinstance(experiment.search, Pbt | Custom),
        )

    @property
    def is_judged(self) -> bool:
        """Say whether a search decides while the experiment runs, and keeps a log of it."""
        return not isinstance(self.experiment.search, Static)

    def path(self, written: str) -> Path:
        """Return the path of one of the user's files as an absolute one."""
        return Path(self.folder, written)

    def address(self, written: str) -> str:
        """Return where a data set is: an absolute path, or an address such as s3://bucket/prefix as it was written."""
        return absolute(written, Path(self.folder))

    def written(self, split: Split) -> str | None:
        """Return where the user said a split's data set is; None for validation data that there is none of."""
        data = self.experiment.data
        return data.train if split == "training" else data.validation

    @property
    def files(self) -> dict[str, str]:
        """Digests of the user's files, by path as written."""
        data = {self.written("training"), self.written("validation")}
        return {written: digest for written, digest in self.digests.items() if written not in data}

    def identity(self) -> dict[str, Any]:
        """Return what determines the results, flat: "data.train" to its value, and so on."""
        values = self.experiment.model_dump(mode="json", exclude=_NOT_IDENTITY)
        contents = {f"the contents of {path}": digest for path, digest in self.digests.items()}
        origins = {f"what configuration {number} begins with": digest for number, digest in self.origins.items()}
        return _flat(values) | contents | origins

    def differences(self, other: Specification) -> list[str]:
        """Return, in words, how another specification computes something else: "iterations was 10, is 20".

        A digest that only the other one has says nothing of a change: a file that the experiment did not name before
        differs under the name that it is now given under, and what such a file imports was not always recorded.
        """
        before, after = self.identity(), other.identity()
        return [
            f"{key} changed" if key.startswith(_DIGESTED) else f"{key} was {before.get(key)}, is {after.get(key)}"
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key) and (key in before or not key.startswith("the contents"))
        ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in _flat(inner, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): value}
