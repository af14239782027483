"""Comparing: one configuration trained by hopping, averaging, EASGD, as an ensemble, and alone, for as many passes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from modelhopper.comparison import WAYS, Compared, Comparison, Way, busy_s, moved_bytes
from modelhopper.sources import training_manifest
from modelhopper_contract import checkpoint
from modelhopper_contract.addresses import absolute
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.metrics import choose, flat, recorded
from modelhopper_contract.nearest import did_you_mean

if TYPE_CHECKING:
    from modelhopper.experiment import Experiment
    from modelhopper.results import Run
    from modelhopper.running import EngineName

ALPHA, BETA = 0.001, 0.9  # one of the settings of the MADlib team's slides
_SOONER: tuple[Way, ...] = ("ensemble", "average", "easgd", "hop", "alone")
_LEFT_OUT = {"method", "folds", "groups", "name"}


class Elastic(NamedTuple):
    """The two numbers of EASGD."""

    alpha: float = ALPHA
    beta: float = BETA


def compare(
    experiment: Experiment,
    methods: Sequence[str] = WAYS,
    elastic: Elastic | None = None,
    *,
    engine: EngineName = "local",
    store: str | None = None,
    progress: bool = True,
) -> Comparison:
    """Train an experiment's only configuration by each method, and return what each came to.

    Each is an experiment of its own in the same store, named after its method, which goes on where it was stopped.
    Raises UserError for more configurations than one, an unknown method, or a comparison that cannot be.
    """
    ways = checked(experiment, methods)
    made = derived(experiment, ways, elastic or Elastic())
    # Those that keep most stations at work come first, so that none of the others waits for a station to start.
    order = sorted(range(len(ways)), key=lambda at: _SOONER.index(ways[at]))
    trained = {at: _trained(made[at], engine, store, progress=progress) for at in order}
    runs = [trained[at] for at in range(len(ways))]
    first = runs[0]
    stations = max(len({stay.station for stay in run.reader.stays()}) for run in runs)
    known = recorded(first.reader.last_histories().values())
    metric = choose(None, experiment.objective, first.reader.configurations, known)
    shards = _shards(experiment)
    rows = tuple(_compared(way, run, experiment.iterations, shards) for way, run in zip(ways, runs, strict=True))
    return Comparison(experiment.name, metric, experiment.iterations, shards, stations, rows)


def checked(experiment: Experiment, methods: Sequence[str]) -> tuple[Way, ...]:
    """Return the methods, each once; raise UserError for what cannot be compared."""
    if not methods:
        raise UserError(f"no method to compare was given: use {', '.join(WAYS)}.")
    for method in methods:
        if method not in WAYS:
            raise UserError(f"`{method}` is no method to compare: use {', '.join(WAYS)}.{did_you_mean(method, WAYS)}")
    found = experiment.configurations()
    if len(found) != 1:
        raise SpecError(
            f"one configuration is compared, and the search gives {len(found)}: let its space give one, such as the "
            "best of a run.",
            ("search",),
        )
    if experiment.folds is not None or experiment.groups:
        raise SpecError("a comparison trains on all shards: remove `folds` and `groups`.")
    if experiment.data.validation is None:
        raise SpecError("a comparison needs rows that nobody trains on: give validation data.", ("data",))
    if experiment.early_stopping is not None:
        raise SpecError("all methods train for as many passes: remove early_stopping.", ("early_stopping",))
    return tuple(dict.fromkeys(way for way in WAYS if way in methods))


def derived(experiment: Experiment, ways: Sequence[Way], elastic: Elastic) -> list[Experiment]:
    """Return the experiment of each method."""
    from modelhopper.experiment import Experiment as Made

    value = experiment.model_dump(mode="json", exclude=_LEFT_OUT)
    own: dict[Way, dict[str, Any]] = {
        "hop": {},
        "average": {"method": "average"},
        "easgd": {"method": {"name": "easgd", **elastic._asdict()}},
        "ensemble": {"groups": "shards"},
        "alone": {},
    }
    found = []
    for way in ways:
        changes = own[way] | ({"data": _gathered(experiment)} if way == "alone" else {})
        name = f"{experiment.name}-{way}" + (_written(elastic) if way == "easgd" else "")
        found.append(Made.in_folder({**value, **changes, "name": name}, experiment.folder))
    return found


def _written(elastic: Elastic) -> str:
    """Return the numbers of EASGD as a part of a name, so that others of the same store are another experiment."""
    return "".join(f"-{number:g}".replace(".", "-") for number in elastic)


def _gathered(experiment: Experiment) -> dict[str, Any]:
    """Bring the shards to one place, once, and return the data of an experiment that trains there."""
    from modelhopper_contract.manifest import MANIFEST_NAME
    from modelhopper_trainer.fetching import cache_folder
    from modelhopper_trainer.packing.gathering import gather
    from modelhopper_trainer.shards import open_data

    opened = open_data(absolute(experiment.data.train, experiment.folder))
    place = cache_folder() / "gathered" / opened.manifest.digest()[:16]
    if not (place / MANIFEST_NAME).exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        gather(opened, place)
    return {"train": os.fspath(place), "validation": experiment.data.validation}


def _trained(experiment: Experiment, engine: EngineName, store: str | None, *, progress: bool) -> Run:
    run = experiment.run(engine, store, progress=progress)
    for number, outcome in run.reader.outcomes().items():
        if outcome.failure is not None:
            raise UserError(
                f"{experiment.name}: configuration {number} failed: {outcome.failure.reason} (modelhopper logs "
                f"{experiment.name} {number}). The others cannot be compared with it."
            )
    return run


def _compared(way: Way, run: Run, passes: int, shards: int) -> Compared:
    stays = run.reader.stays()
    state, weights = _sizes(run)
    data = training_manifest(run.reader.specification(), run.reader.store).size_bytes
    return Compared(
        way=way,
        experiment=run.name,
        metrics=_metrics(way, run),
        elapsed_s=busy_s(stays),
        train_s=sum(stay.train_s for stay in stays),
        moved_bytes=moved_bytes(
            way, state_bytes=state, weights_bytes=weights, data_bytes=data, shards=shards, passes=passes
        ),
    )


def _metrics(way: Way, run: Run) -> dict[str, float]:
    if way != "ensemble":
        return flat(run.reader.last_histories()[1])
    from modelhopper.ensembles import ensemble_of

    numbers = [one.number for one in run.reader.configurations]
    return dict(ensemble_of(run, numbers).metrics)


def _sizes(run: Run) -> tuple[int, int]:
    """Return the bytes of a configuration's whole state, and of its weights alone."""
    reader = run.reader
    number, outcome = next(iter(sorted(reader.outcomes().items())))
    name = reader.names.checkpoint(number, outcome.hops)
    data = reader.store.get(name)
    state = checkpoint.from_bytes(data, name).state
    return len(data), sum(array.nbytes for key, array in state.items() if key.startswith("model/"))


def _shards(experiment: Experiment) -> int:
    from modelhopper_trainer.shards import open_data

    return len(open_data(absolute(experiment.data.train, experiment.folder)).manifest.shards)
