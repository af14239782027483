"""The experiment in Python: the same names and checks as in the file, functions in place of their references, `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from modelhopper.parts import Model, explained
from modelhopper.references import plain
from modelhopper_contract import experiment as contract
from modelhopper_contract.errors import SpecError
from modelhopper_contract.records import Configuration
from modelhopper_contract.searches import Search, Several

if TYPE_CHECKING:
    from modelhopper.comparison import Comparison
    from modelhopper.results import Run
    from modelhopper.running import EngineName
    from modelhopper.submitting import Argo, ClusterRun
    from modelhopper_scheduler.simulation.engine import Simulation

__all__ = ["Experiment", "Model"]

# Parts whose values may be functions of the user's; what a function gets as a parameter must be plain.
_WITH_FUNCTIONS = ("compile", "search")


class Experiment(contract.Experiment):
    """One run: data, configurations, number of iterations, seed.

    A function that builds a model, a loss or a metric is given as it is; it must stand at the top level of a .py file.
    Relative paths begin at the working directory. Raises SpecError for the first mistake.
    """

    _folder: Path = pydantic.PrivateAttr(default_factory=Path.cwd)

    def __init__(self, **given: Any) -> None:
        """Take what an experiment file holds, by the same names."""
        with explained(contract.Experiment):
            super().__init__(**_plain(given, Path.cwd()))

    @classmethod
    def in_folder(cls, value: Mapping[str, Any], folder: Path) -> Experiment:
        """Make an experiment whose relative paths begin at `folder`, such as that of the file it was read from."""
        if not isinstance(value, Mapping):
            raise SpecError(f"an experiment is a mapping of keys to values, but a {type(value).__name__} was given.")
        made = cls(**_plain({str(key): inner for key, inner in value.items()}, folder))
        made._folder = folder.resolve()
        return made

    @property
    def folder(self) -> Path:
        """Where the experiment's relative paths begin."""
        return self._folder

    def configurations(self) -> list[Configuration]:
        """Return the configurations that a run trains, numbered from 1, without duplicates."""
        from modelhopper_scheduler.searches.configurations import configurations

        return configurations(self)

    def run(
        self, engine: EngineName = "local", store: str | None = None, *, extend: bool = False, progress: bool = True
    ) -> Run:
        """Train every configuration on this machine, and return the results.

        The same call goes on with a run that was interrupted, and only reads one that is complete. `engine`: "local"
        starts one process per GPU or CPU core, which then waits for another run (see `stop_stations`), "inline" trains
        in this process. `store`: a folder or s3://bucket/prefix, "runs" when neither this nor the experiment says.
        `extend`: let a run of fewer iterations go on. `progress`: show it. A configuration that fails is in the results
        and stops no other.
        """
        from modelhopper.display.shown import display_of
        from modelhopper.results import Run
        from modelhopper.running import make_ready, run_job
        from modelhopper_scheduler.engines.standby import standby

        _refuse_inside_a_station()
        job = make_ready(self, self._folder, engine=engine, store=store, extend=extend)
        with display_of(job, None if progress else "quiet") as display:
            if extend or not display.progress.is_complete:  # one that is extended was complete
                run_job(replace(job, standby=standby()), display.heard)
        return Run(job.store, self.name)

    def compare(
        self,
        methods: Sequence[str] = ("hop", "average", "easgd", "ensemble", "alone"),
        *,
        alpha: float = 0.001,
        beta: float = 0.9,
        engine: EngineName = "local",
        store: str | None = None,
        progress: bool = True,
    ) -> Comparison:
        """Train the experiment's only configuration by each method, for as many passes, and return what each came to.

        `alpha`, `beta`: of EASGD. Each method is an experiment of its own in the store, `iris-average` and so on, and
        the same call goes on with those that were interrupted.
        """
        from modelhopper.comparing import Elastic, compare

        return compare(self, methods, Elastic(alpha, beta), engine=engine, store=store, progress=progress)

    def submit(self, engine: Argo, *, extend: bool = False) -> ClusterRun:
        """Send the experiment to a cluster, and return its run: the results as they come, and `wait`.

        The same call goes on with a run that stopped. The results are read from the cluster's store, which this
        machine reaches by its own environment (AWS_ENDPOINT_URL, keys). `extend`: let a run of fewer iterations go on.
        """
        from modelhopper.proposing import propose
        from modelhopper.submitting import ClusterRun, submit

        _refuse_inside_a_station()
        proposal = propose(self, self._folder, engine.cluster, extend=extend)
        return ClusterRun(engine.cluster, self.name, submit(proposal))

    def simulate(
        self,
        stations: int,
        hop_s: float | None = None,
        *,
        shards: int | None = None,
        jitter: float = 0.0,
        evaluation_s: float = 0.0,
        curves: str | None = None,
        one_by_one: bool = False,
    ) -> Simulation:
        """Return what a run would take with so many stations: makespan, bound, utilisation, rungs. Trains nothing.

        `hop_s`: seconds of a hop, with moving. `shards`: of the training data, which need not exist when it is given.
        `jitter`: how much hops vary, standard deviation by mean. `evaluation_s`: to evaluate a configuration on one
        shard. `curves`: a run such as "runs/iris" whose recorded values are taken, and its times where `hop_s` is not
        given; by default values are modelled. `one_by_one`: each bracket begins when the one before has ended.
        """
        from modelhopper.simulating import Assumptions, simulated

        assumptions = Assumptions(
            hop_s=hop_s,
            jitter=jitter,
            evaluation_s=evaluation_s,
            shards=shards,
            curves=curves,
            one_by_one=one_by_one,
        )
        return simulated(self, self._folder, [stations], assumptions).runs[0]

    def to_yaml(self) -> str:
        """Return the same experiment as a file's text. Relative paths in it begin at the folder it is saved in."""
        import yaml

        value = self.model_dump(mode="json", exclude_defaults=True)
        value["models"] = {name: _short(model) for name, model in self.models.items()}
        value["search"] = _searched(self.search)
        if self.warm_start is not None and self.warm_start.configurations is not None:
            value["warm_start"]["configurations"] = dict(self.warm_start.configurations)  # numbers, which JSON quotes
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _plain(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        key: _models(value, folder)
        if key == "models"
        else plain(value, folder, (key,), functions=key in _WITH_FUNCTIONS)
        for key, value in given.items()
    }


def _models(given: Any, folder: Path) -> Any:
    if isinstance(given, Mapping):
        return {name: _model(model, folder, ("models", str(name))) for name, model in given.items()}
    return {"model": _model(given, folder, ("models",))}


def _model(given: Any, folder: Path, path: tuple[str, ...]) -> Any:
    if isinstance(given, Mapping) and callable(given.get("build")):
        return {**_parameters(given, folder, path), "build": plain(given["build"], folder, path)}
    return plain(given, folder, path, functions=callable(given))


def _parameters(given: Mapping[str, Any], folder: Path, path: tuple[str, ...]) -> dict[str, Any]:
    return {key: plain(value, folder, (*path, key), functions=False) for key, value in given.items() if key != "build"}


def _short(model: contract.Model) -> Any:
    value = model.model_dump(mode="json", exclude_defaults=True)
    if len(value) == 1:
        return value["build"]
    long = {"build", "parameters", *contract.RESERVED} & model.parameters.keys()
    return value if long else value | value.pop("parameters", {})


def _searched(search: Search) -> Any:
    if isinstance(search, Several):
        return [_searched(one) for one in search.searches]
    return {"method": search.method, **search.model_dump(mode="json", exclude={"method"}, exclude_defaults=True)}


def _refuse_inside_a_station() -> None:
    from modelhopper_trainer.functions import file_being_loaded

    file = file_being_loaded()
    if file is not None:
        raise SpecError(
            f"{file} starts a run when it is imported, and each station imports it for its functions: put the run "
            'under `if __name__ == "__main__":`.'
        )
