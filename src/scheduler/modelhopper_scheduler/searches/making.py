"""From an experiment's `search` to the search that answers for it, and to the configurations that a run begins with."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from modelhopper_contract import searches as parts
from modelhopper_contract.decisions import Turn
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.metrics import Metric, choose, recorded
from modelhopper_contract.part import Part
from modelhopper_contract.records import Configuration, History, Split
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.searches.configurations import configurations, started
from modelhopper_scheduler.searches.schedule import check
from modelhopper_scheduler.searches.search import Past, Search, Setting, next_turn

# Module and class of each; imported when it is asked for, because Optuna is an extra and takes a second.
_HOMES: dict[type[Part], tuple[str, str]] = {
    parts.Hyperband: ("hyperband", "Hyperband"),
    parts.Halving: ("hyperband", "Halving"),
    parts.Asha: ("asha", "Asha"),
    parts.Median: ("median", "Median"),
    parts.Pbt: ("population", "Pbt"),
    parts.Optuna: ("suggestion", "Optuna"),
}


def make_search(experiment: Experiment, shards: int, folder: Path) -> Search | None:
    """Return the search that judges an experiment while it runs; None for one that answers before it begins.

    `folder` is where the experiment's relative paths begin. Raises SpecError for what the search cannot do.
    """
    part = experiment.search
    check(part, experiment.iterations)
    _check_objective(experiment)
    setting = Setting(part, experiment.iterations, experiment.seed, shards)
    if isinstance(part, parts.Custom):
        from modelhopper_scheduler.searches.custom import load_search  # noqa: PLC0415 -- only for a file of the user's

        search = load_search(part, setting, folder)
        _check_early_stopping(experiment, search)
        return search
    return _built_in(setting)


def search_of(specification: Specification) -> Search | None:
    """Return the search that judges a run; None for one whose configurations were all chosen before it began."""
    return make_search(specification.experiment, specification.shards, Path(specification.folder))


def objective(specification: Specification, histories: Iterable[History] = ()) -> Metric:
    """Return the metric that a search judges by: the one that ranks the leaderboard.

    Before anything is evaluated, it is what the experiment's own metrics let expect; so it is where these histories do
    not have the objective, but others may: metrics can differ between configurations.
    """
    experiment, known = specification.experiment, recorded(histories)
    try:
        return _objective(specification, known)
    except UserError:
        if not known or experiment.objective is None:
            raise
        return _objective(specification, {})


def _objective(specification: Specification, known: Mapping[Split, Sequence[str]]) -> Metric:
    experiment = specification.experiment
    sample = Configuration(
        number=0, name="", model="", parameters={}, compile=experiment.compile.model_dump(mode="json"), fit={}
    )
    found = choose(None, experiment.objective, [sample], known)
    is_written = experiment.objective is not None and experiment.objective.startswith(("training ", "validation "))
    if known or is_written or specification.is_validated:
        return found
    return replace(found, split="training")


def first_turn(specification: Specification, search: Search) -> Turn:
    """Return the turn with which a search begins; raise SpecError for one that starts nothing."""
    turn = next_turn(search, Past(objective(specification), specification.ring.iterations), 0, None)
    if not turn.starts:
        raise SpecError(
            f"`{specification.experiment.search.method}` starts nothing: let `start` give at least one configuration "
            "when `past.trials` is empty.",
            ("search", "method"),
        )
    return turn


def planned(specification: Specification, search: Search | None = None) -> list[Configuration]:
    """Return the configurations with which a run begins, numbered from 1.

    All of them, where the search answers before it begins; else those that it starts first.
    """
    search = search or search_of(specification)
    if search is None:
        return parted(specification, configurations(specification.experiment))
    return [started(specification.experiment, start) for start in first_turn(specification, search).starts]


def parted(specification: Specification, settings: Sequence[Configuration]) -> list[Configuration]:
    """Return a configuration for each fold, or group, of each setting; the settings where the data is not parted.

    Those of a setting follow each other, so that more settings may be appended.
    """
    if specification.parts == 1:
        return list(settings)
    return [
        one.model_copy(
            update={
                "number": (one.number - 1) * specification.parts + part + 1,
                "name": f"{one.name}  {specification.part_name(part)}",
                "part": part,
                "part_name": specification.part_name(part),
            }
        )
        for one in settings
        for part in range(specification.parts)
    ]


def _check_objective(experiment: Experiment) -> None:
    """Raise SpecError where the default objective is one metric for some configurations and another for others."""
    search = experiment.search
    varied = [] if isinstance(search, parts.Static) else search.space.get("metrics", [])
    if len(varied) > 1 and experiment.objective is None:
        raise SpecError(
            "the search's `space` varies `metrics`, so it does not say which one the search judges by: give an "
            "`objective` that all of them record, such as `loss`.",
            ("search", "space", "metrics"),
        )


def _check_early_stopping(experiment: Experiment, search: Search) -> None:
    if experiment.early_stopping is not None and search.rungs:
        raise SpecError(
            f"early_stopping was given together with `{experiment.search.method}`, which judges at rungs, and stops "
            "configurations itself. Remove early_stopping, or let `rungs` be empty.",
            ("early_stopping",),
        )


def _built_in(setting: Setting) -> Search | None:
    home = _HOMES.get(type(setting.part))
    if home is None:
        return None
    module = importlib.import_module(f"modelhopper_scheduler.searches.{home[0]}")
    made: Search = getattr(module, home[1])(setting)
    return made
