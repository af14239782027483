"""What a run would take, from an experiment and a few assumptions: the simulated engine, for Python and the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelhopper.defaults import DEFAULT_STORE
from modelhopper.display.forecast_table import STATED
from modelhopper.display.sentences import home
from modelhopper.display.words import count
from modelhopper.reading import Reader
from modelhopper.results import find_run
from modelhopper_contract.addresses import absolute
from modelhopper_contract.errors import DataError, SpecError, UserError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.metrics import Metric
from modelhopper_contract.records import History
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_scheduler.forecast import hop_seconds
from modelhopper_scheduler.searches.configurations import configurations
from modelhopper_scheduler.searches.making import objective, search_of
from modelhopper_scheduler.searches.search import Search
from modelhopper_scheduler.simulation.curves import Curves, Modelled, Recorded
from modelhopper_scheduler.simulation.engine import Conditions, Simulation, simulate
from modelhopper_scheduler.simulation.play import Together
from modelhopper_trainer.shards import open_data


@dataclass(frozen=True)
class Assumptions:
    """What is assumed of a run that has not been."""

    hop_s: float | None = None  # None: as measured in the run of `curves`
    jitter: float = 0.0  # how much a configuration's hops vary: standard deviation by mean
    evaluation_s: float = 0.0  # to evaluate a configuration on one shard
    shards: int | None = None  # None: of the packed data
    curves: str | None = None  # a run such as runs/iris, whose recorded values are taken; None: modelled ones
    store: str | Store = DEFAULT_STORE  # where a run without a place is
    one_by_one: bool = False  # each bracket of a search begins when the one before has ended


@dataclass(frozen=True)
class Simulated:
    """An experiment, simulated with one or several numbers of stations."""

    specification: Specification
    metric: Metric
    hop_s: float  # of all configurations, or the median
    origin: str  # where it is from, in words
    assumptions: Assumptions
    curves: str | None  # where recorded values are from
    runs: tuple[Simulation, ...]

    def text(self) -> str:
        """Return it as a headline and tables."""
        from modelhopper.display.simulation_table import text

        return text(self)

    def record(self) -> dict[str, Any]:
        """Return it as plain values, for JSON. Times are in seconds."""
        experiment = self.specification.experiment
        return {
            "experiment": experiment.name,
            "search": experiment.search.method,
            "shards": self.specification.shards,
            "iterations": self.specification.ring.iterations,
            "hop_s": self.hop_s,
            "jitter": self.assumptions.jitter,
            "evaluation_s": self.assumptions.evaluation_s,
            "one_by_one": self.assumptions.one_by_one,
            "curves": self.curves,
            "metric": str(self.metric),
            "simulations": [{**asdict(one), "idle": one.idle} for one in self.runs],
        }


def simulated(experiment: Experiment, folder: Path, stations: Sequence[int], assumptions: Assumptions) -> Simulated:
    """Simulate an experiment whose relative paths begin at `folder`, once for each number of stations.

    Nothing is trained, and nothing is written. Raises UserError for an assumption that cannot be, an unknown run, and
    data that is not there when the number of shards is not given.
    """
    if experiment.method.merges:
        raise SpecError(
            f"`simulate` plays the schedule of hops, and the method is {experiment.method.name}, in which all shards "
            "train at once. Run it, or simulate it with `method: hop`.",
            ("method",),
        )
    if experiment.folds is not None or experiment.groups:
        what = "groups" if experiment.groups else "folds"
        raise SpecError(
            f"`simulate` plays the schedule of configurations that train on all shards, and the experiment has {what}. "
            "Simulate it without them.",
            (what,),
        )
    specification, search = _specified(experiment, folder, assumptions)
    recorded = _Record(find_run(assumptions.curves, assumptions.store).reader) if assumptions.curves else None
    metric = objective(specification, recorded.histories if recorded else ())
    curves: Curves = recorded.curves(metric) if recorded else Modelled(metric, experiment.seed)
    hop_s, median_s, origin = _hop_times(assumptions.hop_s, recorded, specification.shards)
    runs = tuple(
        simulate(search, metric, specification.ring, _conditions(assumptions, each, hop_s, experiment.seed), curves)
        for each in stations
    )
    place = recorded.place if recorded else None
    return Simulated(specification, metric, median_s, origin, assumptions, place, runs)


def _conditions(assumptions: Assumptions, stations: int, hop_s: float | dict[int, float], seed: int) -> Conditions:
    return Conditions(
        stations=stations,
        hop_s=hop_s,
        jitter=assumptions.jitter,
        evaluation_s=assumptions.evaluation_s,
        seed=seed,
        one_by_one=assumptions.one_by_one,
    )


def _specified(experiment: Experiment, folder: Path, assumptions: Assumptions) -> tuple[Specification, Search]:
    shards = assumptions.shards
    if shards is not None and shards < 1:
        raise UserError(f"{shards} is not a number of shards: give 1 or more.")
    if shards is None:
        shards = _packed_shards(absolute(experiment.data.train, folder))
    specification = Specification(
        experiment=experiment,
        folder=str(folder.resolve()),
        shards=shards,
        validation_shards=0 if experiment.data.validation is None else 1,  # how many does not matter here
        digests={},
    )
    search = search_of(specification)
    if search is None:
        choices = [
            one.model_dump(include={"model", "parameters", "compile", "fit"}) for one in configurations(experiment)
        ]
        return specification, Together(choices, experiment.iterations)
    return specification.model_copy(update={"rungs": tuple(search.rungs)}), search


def _packed_shards(address: str) -> int:
    try:
        return len(open_data(address).manifest.shards)
    except DataError as error:
        raise DataError(f"{error} Or say how many shards there are to be (shards, --shards).") from error


@dataclass(frozen=True)
class _Record:
    """What an earlier run recorded."""

    reader: Reader
    histories: list[History] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "histories", self.reader.histories())
        if not self.histories:
            raise UserError(f"{self.place} has recorded no values yet: give a run of which something is evaluated.")
        if self.reader.specification().parts > 1:
            raise UserError(f"{self.place} recorded values by fold or group, and not by setting: give another run.")

    @property
    def place(self) -> str:
        return home(self.reader.store.url, self.reader.names.experiment)

    @property
    def shards(self) -> int:
        return self.reader.specification().shards

    def curves(self, metric: Metric) -> Recorded:
        values: dict[int, dict[int, float | None]] = {}
        for history in self.histories:
            values.setdefault(history.configuration, {})[history.iteration] = metric.of(history)
        for number, outcome in self.reader.outcomes().items():
            if outcome.state == "failed":
                values.setdefault(number, {})[outcome.hops // self.shards + 1] = None
        return Recorded(self.place, values)

    def hops_s(self) -> dict[int, float]:
        found = {one.number: hop_seconds(self.reader.stays(one.number)) for one in self.reader.configurations}
        return {number: hop_s for number, hop_s in found.items() if hop_s}


def _hop_times(
    stated_s: float | None, recorded: _Record | None, shards: int
) -> tuple[float | dict[int, float], float, str]:
    """Return the time of a hop, or of each configuration's, the one to be told, and where it is from."""
    if stated_s is not None:
        return stated_s, stated_s, STATED
    times = recorded.hops_s() if recorded else {}
    if recorded is None or not times:
        raise UserError(
            "It is not known how long a hop trains: say so in seconds (hop_s, --hop-time), or give a run that was "
            "measured (curves, --curves)."
        )
    # An iteration takes the same, into however many hops it is divided.
    scaled = {number: hop_s * recorded.shards / shards for number, hop_s in times.items()}
    median_s = sorted(scaled.values())[len(scaled) // 2]
    return scaled, median_s, f"measured: {count(len(scaled), 'configuration')} of {recorded.place}"
