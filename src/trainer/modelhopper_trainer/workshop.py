"""What a station keeps in memory between hops: compiled programs and the shards on its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from modelhopper_contract.manifest import Manifest
from modelhopper_contract.records import Configuration, Split
from modelhopper_contract.specification import Specification

from modelhopper_trainer.assembly import Assembly, program_key
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.preparation import assemble_for
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
        data = specification.experiment.data
        self._data: Mapping[Split, DataSet] = {"training": open_data(specification.path(data.train))}
        if data.validation is not None:
            self._data = {**self._data, "validation": open_data(specification.path(data.validation))}

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

    def keep(self, configuration: Configuration, assembly: Assembly) -> None:
        """Use an assembly for the configurations of its kind, unless there is one."""
        key = self._key(configuration)
        if key not in self._tools:
            self._tools[key] = Tools(make_program(assembly), Evaluator(assembly))

    def feed(self, split: Split, shard: int) -> Feed:
        """Return a shard's rows; its digest is checked on first use."""
        if (split, shard) not in self._feeds:
            arrays = self._data[split].shard(shard)
            self._feeds[split, shard] = Feed({**arrays.inputs, **arrays.outputs}, arrays.rows)
        return self._feeds[split, shard]

    def _key(self, configuration: Configuration) -> bytes:
        return program_key(configuration, self._specification.experiment.models[configuration.model])
