"""What the model of a run is built from, found again: the data's manifest, and the user's files as they were."""

from __future__ import annotations

import atexit
import tempfile
import warnings
from pathlib import Path

from modelhopper.specify import named_files
from modelhopper_contract.digest import digest_file
from modelhopper_contract.errors import DataError, ObjectNotFound
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.submission import read_submission
from modelhopper_trainer.places import unpack
from modelhopper_trainer.shards import open_data


class RunChanged(UserWarning):
    """What a model is built from is not what it was at the time of the run."""


def warn(message: str) -> None:
    """Warn of a change, in the line of the user's that called a candidate's method."""
    warnings.warn(message, RunChanged, stacklevel=5)


def training_manifest(specification: Specification, store: Store) -> Manifest:
    """Return the manifest of a run's training data: the copy that the run keeps, or else that of the data itself.

    Raises DataError when both are gone. Warns when only data is left that was packed anew.
    """
    kept = _kept_manifest(specification, store)
    if kept is not None:
        return kept
    data = specification.experiment.data.train
    try:
        manifest = open_data(specification.address(data)).manifest
    except DataError as error:
        raise DataError(f"{error} The model's inputs and classes stand in its manifest.") from error
    if manifest.digest() != specification.digests[data]:
        warn(
            f"{data} was packed anew since the run {specification.experiment.name}; class names and scaling may differ."
        )
    return manifest


def changed_files(specification: Specification, configuration: Configuration) -> list[str]:
    """Return the user's files that a configuration is built from and that are not what they were, as written."""
    experiment = specification.experiment
    everyone = named_files(experiment.models.values(), experiment.model_dump(include={"compile", "search"}))
    models = experiment.models.values()
    # The checkpoint is in the place of the weights that a model began with.
    own = named_files([experiment.models[configuration.model]], configuration.compile)
    spent = {model.initial_weights for model in models} - {model.build for model in models}
    # What files import is recorded of all together, so each configuration is taken to need it.
    needed = sorted(specification.files.keys() - (everyone - own) - spent)
    return [written for written in needed if _digest(specification.path(written)) != specification.digests[written]]


def submitted_folder(specification: Specification, store: Store) -> str | None:
    """Return a folder with the user's files as they were submitted to a cluster; None when they were not.

    It is there until this process ends.
    """
    name = specification.experiment.name
    try:
        files = read_submission(store, name).files
    except ObjectNotFound:
        return None
    if files != specification.files:
        return None
    folder = tempfile.TemporaryDirectory(prefix="modelhopper-")
    atexit.register(folder.cleanup)
    return str(unpack(store, name, files, Path(folder.name)))


def _kept_manifest(specification: Specification, store: Store) -> Manifest | None:
    name = Names(specification.experiment.name).manifest("training")
    try:
        manifest = Manifest.from_json(store.get(name), name)
    except ObjectNotFound:
        return None
    is_its_own = manifest.digest() == specification.digests.get(specification.experiment.data.train)
    return manifest if is_its_own else None


def _digest(path: Path) -> str | None:
    return digest_file(path) if path.is_file() else None
