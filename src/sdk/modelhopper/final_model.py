"""The final model of a cross-validation: the best setting, trained once more on all shards."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelhopper.cross_validation import CrossValidation, Validated
from modelhopper.reading import Reader
from modelhopper.refining import listed
from modelhopper_contract.errors import ConflictError, UserError
from modelhopper_contract.records import Configuration, Outcome
from modelhopper_contract.specification import Specification

if TYPE_CHECKING:
    from modelhopper.experiment import Experiment
    from modelhopper.results import Run

# What holds for folds, or for a choice among several, and not for one model on all rows.
_OF_FOLDS = {"search", "folds", "name", "iterations", "evaluate_every", "early_stopping", "objective"}


class Final(NamedTuple):
    """The setting that won, and the experiment that trains it on all shards."""

    validation: CrossValidation
    experiment: Experiment

    def to_yaml(self) -> str:
        """Return the experiment as a file's text, with what it is in front."""
        return f"# {self.text()}\n# Paths in it begin at {self.experiment.folder}\n\n{self.experiment.to_yaml()}"

    def text(self) -> str:
        """Return who won, and how it is trained."""
        won, metric = self.validation.rows[0], str(self.validation.metric)
        folds, iterations = self.validation.folds, self.experiment.iterations
        settings = "  ".join(f"{key} {value}" for key, value in won.settings.items()) or won.rows[0].label
        return (
            f"setting {won.number} ({settings}) is the best of {len(self.validation.rows)}: {metric} "
            f"{won.spread(metric)} over {folds} folds. It is trained on all shards, {iterations} iterations."
        )


def final(run: Run, metric: str | None = None, name: str | None = None) -> Final:
    """Return the experiment that trains the best setting of a cross-validated run on all shards.

    It trains for as many iterations as the folds did, in the mean where they stopped early, because then no rows are
    left that could say when to stop. Its seed is the experiment's, and its only configuration is number 1. Raises
    UserError for a run that is not complete or has no folds, ConflictError when its name is taken.
    """
    from modelhopper.experiment import Experiment

    reader, validation = run.reader, run.cross_validation(metric)
    if not reader.is_complete():
        raise UserError(
            f"{run.name} is not complete, and the best setting is chosen by all folds. `modelhopper resume {run.name}` "
            "goes on with it."
        )
    won = validation.rows[0]
    if won.failed or won.spread(str(validation.metric)) is None:
        raise UserError(
            f"no setting of {run.name} has {validation.metric} on every fold. `modelhopper results {run.name} "
            "--each-fold` shows what failed."
        )
    specification = reader.specification()
    value = _on_all(specification, won, _configuration(reader, won), reader.outcomes(), name)
    experiment = Experiment.in_folder({**value, "store": reader.store.url}, Path(specification.folder))
    _refuse_another(reader, experiment)
    return Final(validation, experiment)


def _on_all(
    specification: Specification,
    won: Validated,
    configuration: Configuration,
    outcomes: dict[int, Outcome],
    name: str | None,
) -> dict[str, Any]:
    earlier = specification.experiment
    value = earlier.model_dump(mode="json", exclude=_OF_FOLDS)
    value["models"] = {configuration.model: value["models"][configuration.model]}
    trained = [specification.ring.iteration(outcomes[row.number].hops) for row in won.rows]
    return {
        **value,
        "name": name or f"{earlier.name}-final",
        "search": {"method": "list", "configurations": [listed(value, configuration)]},
        "iterations": max(1, round(statistics.fmean(trained))),
    }


def _configuration(reader: Reader, won: Validated) -> Configuration:
    return next(one for one in reader.configurations if one.number == won.rows[0].number)


def _refuse_another(reader: Reader, experiment: Experiment) -> None:
    known = Reader(reader.store, experiment.name)
    if known.stage() == "begun" and known.specification().experiment.search != experiment.search:
        raise ConflictError(
            f"{reader.store.url} holds an experiment {experiment.name} already, which trains another setting. Give "
            "this one another name with --name."
        )
