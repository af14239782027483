"""What a station keeps in memory between hops: compiled programs and the shards on its device."""

from __future__ import annotations

from typing import NamedTuple

from modelhopper_contract.digest import digest_file
from modelhopper_contract.errors import ConflictError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.records import Configuration, Split
from modelhopper_contract.specification import Specification
from modelhopper_trainer.assembly import Assembly, assemble_for, program_key
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.program import Program, make_program
from modelhopper_trainer.shards import DataSet, open_data


class Tools(NamedTuple):
    """What trains and evaluates the configurations of one kind."""

    program: Program
    evaluator: Evaluator


class Workshop:
    """Programs by kind of configuration, and shards by number, made on first use."""

    def __init__(self, specification: Specification) -> None:
        self._specification = specification
        self._tools: dict[bytes, Tools] = {}
        self._feeds: dict[tuple[Split, int], Feed] = {}
        self._data: dict[Split, DataSet]
        data = specification.experiment.data
        self._data = {"training": _opened(specification, data.train)}
        if data.validation is not None:
            self._data["validation"] = _opened(specification, data.validation)
        for path in specification.digests.keys() - {data.train, data.validation}:
            _check_unchanged(specification, path, digest_file(specification.path(path)))

    @property
    def manifest(self) -> Manifest:
        """The training data's manifest."""
        return self._data["training"].manifest

    def tools(self, configuration: Configuration) -> Tools:
        """Return the program and evaluator that a configuration shares with others of its kind."""
        key = self._key(configuration)
        if key not in self._tools:
            self.keep(configuration, assemble_for(self._specification, configuration, self.manifest))
        return self._tools[key]

    def keep(self, configuration: Configuration, assembly: Assembly) -> bool:
        """Use an assembly for the configurations of its kind; return False when there is one already."""
        key = self._key(configuration)
        if key in self._tools:
            return False
        self._tools[key] = Tools(make_program(assembly), Evaluator(assembly))
        return True

    def feed(self, split: Split, shard: int) -> Feed:
        """Return a shard's rows; its digest is checked on first use."""
        if (split, shard) not in self._feeds:
            arrays = self._data[split].shard(shard)
            self._feeds[split, shard] = Feed({**arrays.inputs, **arrays.outputs}, arrays.rows)
        return self._feeds[split, shard]

    def _key(self, configuration: Configuration) -> bytes:
        return program_key(configuration, self._specification.experiment.models[configuration.model])


def _opened(specification: Specification, written: str) -> DataSet:
    data = open_data(specification.path(written))
    _check_unchanged(specification, written, data.manifest.digest())
    return data


def _check_unchanged(specification: Specification, written: str, digest: str) -> None:
    if digest != specification.digests[written]:
        raise ConflictError(
            f"{specification.path(written)} has changed since {specification.experiment.name} began, so hops would not "
            "fit together. Restore it, or run the experiment under another name."
        )
