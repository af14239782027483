"""What a station keeps in memory between hops: compiled programs and the shards on its device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import NamedTuple

from modelhopper_contract.digest import digest_file
from modelhopper_contract.errors import ConflictError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration, Split
from modelhopper_contract.specification import Specification
from modelhopper_trainer.assembly import Assembly, assemble_for, program_key
from modelhopper_trainer.blueprint import Blueprint, blueprint
from modelhopper_trainer.crew import Alone, Crew, Together
from modelhopper_trainer.evaluation import Evaluator
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.fused import FusedProgram
from modelhopper_trainer.program import Program, make_program
from modelhopper_trainer.room import station_room
from modelhopper_trainer.shards import DataSet, open_data


class Tools(NamedTuple):
    """What trains and evaluates the configurations of one kind."""

    program: Program
    evaluator: Evaluator


class Workshop:
    """Programs by kind of configuration, and shards by number, made on first use."""

    def __init__(self, specification: Specification, data: Mapping[Split, DataSet] | None = None) -> None:
        """Use these data sets, which are known to be the experiment's; by default open those that it names."""
        self._specification = specification
        self._tools: dict[bytes, Tools] = {}
        self._fused: dict[bytes, FusedProgram] = {}
        self._blueprints: dict[bytes, Blueprint] = {}
        self._feeds: dict[tuple[Split, int], Feed] = {}
        devices = specification.experiment.devices
        self._room = station_room(devices.threads, devices.per_gpu)
        self._data = _opened(specification) if data is None else data
        for written in specification.files:
            path = specification.path(written)
            _check_unchanged(specification, written, str(path), digest_file(path))

    @property
    def size(self) -> int:
        """How many programs it holds."""
        return len(self._tools) + len(self._fused)

    @property
    def manifest(self) -> Manifest:
        """The training data's manifest."""
        return self._data["training"].manifest

    def tools(self, configuration: Configuration) -> Tools:
        """Return the program and evaluator that a configuration shares with others of its kind."""
        key = self._key(configuration)
        if key not in self._tools:
            # Whoever uses the tools loads a checkpoint first.
            assembly = assemble_for(self._specification, configuration, self.manifest, with_weights=False)
            self.keep(configuration, assembly)
        return self._tools[key]

    def crew(self, configurations: Sequence[Configuration]) -> Crew:
        """Return what trains these side by side: one alone, or several of one `fuse_key`.

        One whose program has lanes trains in these also when it is alone, for results depend on how many there are.
        """
        first = configurations[0]
        if first.program.lanes == 1:
            return Alone(self.tools(first).program)
        return Together(self._fused_program(first), [self._blueprint(one).numbers for one in configurations])

    def fuse_key(self, configuration: Configuration) -> bytes:
        """Return what configurations must share to train in the lanes of one program, batch for batch."""
        kind, fit = self._blueprint(configuration).kind, configuration.fit
        return canonical_json([kind, fit, configuration.program.model_dump(mode="json")])

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
            fields = {**arrays.inputs, **arrays.outputs}
            self._feeds[split, shard] = Feed(fields, arrays.rows, self._room, made_up=arrays.made_up)
        return self._feeds[split, shard]

    def sample(self, rows: int) -> Feed:
        """Return the first so many rows of the first shard of the training data."""
        arrays = self._data["training"].shard(0)
        return Feed({name: array[:rows] for name, array in {**arrays.inputs, **arrays.outputs}.items()}, rows)

    def apart(self) -> Workshop:
        """Return a workshop with the same data and programs of its own, of which there are none yet."""
        found = copy(self)
        vars(found).update(_tools={}, _fused={}, _blueprints={})
        return found

    def _fused_program(self, configuration: Configuration) -> FusedProgram:
        # The batch size and the order of rows are arguments, so those who differ in them share the program.
        weighted = configuration.fit.get("class_weight") is not None
        program = configuration.program.model_dump(mode="json")
        key = canonical_json([self._blueprint(configuration).kind, program, weighted])
        if key not in self._fused:
            # It holds states of its own: the model that it is made from evaluates meanwhile, and is built once.
            self._fused[key] = FusedProgram(self.tools(configuration).program.assembly, configuration.program.lanes)
        return self._fused[key]

    def _blueprint(self, configuration: Configuration) -> Blueprint:
        key = self._key(configuration)
        if key not in self._blueprints:
            self._blueprints[key] = blueprint(self.tools(configuration).program.assembly)
        return self._blueprints[key]

    def _key(self, configuration: Configuration) -> bytes:
        return program_key(configuration, self._specification.experiment.models[configuration.model])


def _opened(specification: Specification) -> dict[Split, DataSet]:
    found: dict[Split, DataSet] = {}
    splits: tuple[Split, ...] = ("training", "validation")
    for split in splits:
        written = specification.written(split)
        if written is not None:
            found[split] = open_data(specification.address(written))
            _check_unchanged(specification, written, found[split].place, found[split].manifest.digest())
    return found


def _check_unchanged(specification: Specification, written: str, place: str, digest: str) -> None:
    if digest != specification.digests[written]:
        raise ConflictError(
            f"{place} has changed since {specification.experiment.name} began, so hops would not fit together. "
            "Restore it, or run the experiment under another name."
        )
