"""The canonical specification of a run: the experiment, and the identity of everything it reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from modelhopper_contract.addresses import absolute
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.partition import fold, group, outside
from modelhopper_contract.record import Record, is_unused
from modelhopper_contract.records import Configuration, Split
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
    # Of the data's groups, where each is trained on by itself, for people: "country DE".
    group_names: tuple[str, ...] = Field(default=(), exclude_if=is_unused)

    @property
    def ring(self) -> Ring:
        """The ring of this run: an iteration's hops, where nobody trains on all shards."""
        experiment = self.experiment
        return Ring(
            self._itinerary_shards,
            max(experiment.iterations, *self.rungs, 1),
            experiment.evaluation_period,
            experiment.keep_checkpoints == "iterations",
            self.rungs,
            # Where a search may start a configuration from a copy of another, what it copies must still be there.
            isinstance(experiment.search, Pbt | Custom),
            merges=experiment.method.merges,
        )

    def ring_of(self, configuration: Configuration) -> Ring:
        """Return the ring with the shards of a configuration's own part of the data."""
        return self.ring if configuration.part is None else replace(self.ring, itinerary=self._trained(configuration))

    @property
    def parts(self) -> int:
        """How many configurations each setting of the search becomes: one for each fold, or group, or one."""
        return self._folds or self._groups or 1

    @property
    def is_validated(self) -> bool:
        """Say whether configurations are evaluated on rows that they do not train on."""
        return self.validation_shards > 0 or self._folds > 0

    def evaluated(self, configuration: Configuration) -> dict[Split, tuple[int, ...]]:
        """Return the shards that a configuration is evaluated on, by split; only splits with any.

        Those of a fold are shards of the training data: `data_of` says so.
        """
        part, validation = configuration.part, self.validation_shards
        found: dict[Split, tuple[int, ...]]
        if part is None:
            found = {"training": tuple(range(self.shards)), "validation": tuple(range(validation))}
        elif self._folds:
            found = {"training": self._trained(configuration), "validation": fold(self.shards, self._folds, part)}
        else:
            own = range(validation) if self._is_by_shard else group(validation, self._groups, part)
            found = {"training": self._trained(configuration), "validation": tuple(own)}
        return {split: shards for split, shards in found.items() if shards}

    @property
    def evaluated_shards(self) -> int:
        """On how many shards each configuration is evaluated, of all splits together."""
        if self._is_by_shard:
            return 1 + self.validation_shards
        return (self.shards + self.validation_shards) // (self._groups or 1)

    def data_of(self, split: Split) -> Split:
        """Return the data set in which a split's shards are counted."""
        return "training" if self._folds else split

    @property
    def _folds(self) -> int:
        return self.experiment.folds.count if self.experiment.folds is not None else 0

    @property
    def _groups(self) -> int:
        return len(self.group_names)

    @property
    def _is_by_shard(self) -> bool:
        return self.experiment.groups == "shards"

    def part_name(self, part: int) -> str:
        """Return what people call a fold, or a group."""
        return f"fold {part + 1}" if self._folds else self.group_names[part]

    @property
    def _itinerary_shards(self) -> int:
        return self.shards - self.shards // self._folds if self._folds else self.shards // (self._groups or 1)

    def _trained(self, configuration: Configuration) -> tuple[int, ...]:
        part = configuration.part or 0
        return outside(self.shards, self._folds, part) if self._folds else group(self.shards, self._groups, part)

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
