"""The second stage: the best few configurations of a run, trained longer from where they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelhopper.display.words import count
from modelhopper.reading import Reader
from modelhopper.selection import Selection, same_settings, select
from modelhopper.warm_start import choice_of
from modelhopper_contract.errors import ConflictError, UserError
from modelhopper_contract.experiment import WarmStart
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification

if TYPE_CHECKING:
    from modelhopper.experiment import Experiment
    from modelhopper.results import Run


class Refinement(NamedTuple):
    """Who goes on, and the experiment that trains them."""

    selection: Selection
    experiment: Experiment

    def to_yaml(self) -> str:
        """Return the experiment as a file's text, with what it is in front."""
        said = [f"# {line}".rstrip() for line in self.selection.text().splitlines()]
        place = f"# Paths in it begin at {self.experiment.folder}"
        return "\n".join([*said, "#", place, "", self.experiment.to_yaml()])


def selected(
    run: Run, top: int, metric: str | None, max_gap: float | None, *, lower_is_better: bool | None
) -> Selection:
    """Return who of a run goes on; raise UserError for one that is not complete, and when nobody can."""
    board = run.leaderboard(metric, lower_is_better=lower_is_better)
    reader = run.reader
    _refuse_parts(run.name, reader.specification())
    if not reader.is_complete():
        left = sum(row.state == "going on" for row in board.rows)
        of = count(len(board.rows), "configuration")
        without = f"{left} of {of} without a result" if left else "its search goes on"
        raise UserError(
            f"{run.name} is not complete ({without}), and who goes on is chosen among all. `modelhopper resume "
            f"{run.name}` goes on with it."
        )
    return select(board, same_settings(reader.configurations), top, max_gap)


def refinement(run: Run, selection: Selection, iterations: int, name: str | None = None) -> Refinement:
    """Return the second stage of a run: an experiment that begins with the results of those that were selected.

    Raises ConflictError when its name is that of an experiment that goes on with others.
    """
    from modelhopper.experiment import Experiment

    reader = run.reader
    specification = reader.specification()
    by_number = {one.number: one for one in reader.configurations}
    value = refined(specification, [by_number[one.number] for one in selection.chosen], iterations, name)
    experiment = Experiment.in_folder({**value, "store": reader.store.url}, Path(specification.folder))
    _refuse_others(reader, experiment)
    return Refinement(selection, experiment)


def refined(
    specification: Specification, chosen: Sequence[Configuration], iterations: int, name: str | None = None
) -> dict[str, Any]:
    """Return, as the keys of a file, the experiment that trains the results of some configurations longer.

    They are numbered from 1 as they are given; everything else is as it was. `name`: by default the earlier
    experiment's with `-refined`.
    """
    earlier = specification.experiment
    value = earlier.model_dump(mode="json", exclude={"search", "warm_start", "name", "iterations", "evaluate_every"})
    used = {one.model for one in chosen}
    value["models"] = {key: model for key, model in value["models"].items() if key in used}
    every = earlier.evaluate_every
    return {
        **value,
        "name": name or f"{earlier.name}-refined",
        "search": {"method": "list", "configurations": [listed(value, one) for one in chosen]},
        "iterations": iterations,
        "evaluate_every": every if every is not None and every <= iterations else None,
        "warm_start": {
            "experiment": earlier.name,
            "configurations": {at: one.number for at, one in enumerate(chosen, start=1)},
        },
    }


def listed(value: dict[str, Any], configuration: Configuration) -> dict[str, Any]:
    """Return what a list says of one configuration: where it is not what is the same for all."""
    given = value["models"][configuration.model]["parameters"]
    own = {key: one for key, one in configuration.parameters.items() if key not in given or given[key] != one}
    chosen = choice_of(value, configuration)
    if isinstance(optimizer := chosen.get("optimizer"), dict):  # as people write it: records have their keys sorted
        chosen["optimizer"] = {"name": optimizer["name"], **optimizer}
    return {**chosen, "model": {"name": configuration.model, **own}} if own else chosen


def _refuse_parts(name: str, specification: Specification) -> None:
    experiment = specification.experiment
    if experiment.folds is not None or experiment.groups:
        what = "groups" if experiment.groups else "folds"
        raise UserError(
            f"{name} has {what}, so a setting has several results, and which of them should go on is not said. Let all "
            "have more iterations with --extend, or train the settings that you choose in an experiment without "
            f"{what}."
        )


def _refuse_others(reader: Reader, experiment: Experiment) -> None:
    known = Reader(reader.store, experiment.name)
    if known.stage() != "begun":
        return
    there = known.specification().experiment.warm_start
    if there != experiment.warm_start:
        raise ConflictError(
            f"{reader.store.url} holds an experiment {experiment.name} already, which {_origin(there)}. Give this one "
            "another name with --name."
        )


def _origin(warm_start: WarmStart | None) -> str:
    if warm_start is None:
        return "does not go on from another"
    if warm_start.configurations is None:
        return f"goes on with all of {warm_start.experiment}"
    numbers = ", ".join(str(there) for _, there in sorted(warm_start.configurations.items()))
    return f"goes on with others of {warm_start.experiment}: {numbers}"
