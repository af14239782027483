"""From an experiment as the user says it to the specification of a run: paths resolved, contents digested."""

from __future__ import annotations

from pathlib import Path

from modelhopper_contract.digest import digest_file
from modelhopper_contract.errors import DataError, SpecError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.specification import Specification
from modelhopper_trainer.shards import open_data


def specify(experiment: Experiment, folder: Path) -> Specification:
    """Return the specification of a run whose relative paths begin at `folder`.

    Raises DataError for data that is not packed or does not fit together, and SpecError for a missing file.
    """
    train = _manifest(folder, experiment.data.train)
    digests = {experiment.data.train: train.digest()}
    validation = None
    if experiment.data.validation is not None:
        validation = _manifest(folder, experiment.data.validation)
        digests[experiment.data.validation] = validation.digest()
        _check_fit(experiment, train, validation)
    return Specification(
        experiment=experiment,
        folder=str(folder.resolve()),
        shards=len(train.shards),
        validation_shards=len(validation.shards) if validation else 0,
        digests=digests | {file: digest_file(_existing(folder, file)) for file in _user_files(experiment)},
    )


def _manifest(folder: Path, written: str) -> Manifest:
    return open_data(Path(folder, written)).manifest


def _check_fit(experiment: Experiment, train: Manifest, validation: Manifest) -> None:
    for part in ("inputs", "outputs", "normalize"):
        if getattr(train, part) != getattr(validation, part):
            raise DataError(
                f"{experiment.data.validation} does not fit {experiment.data.train}: their {part} differ. Pack it "
                f"again with `modelhopper pack ... --against {experiment.data.train}`."
            )


def _user_files(experiment: Experiment) -> list[str]:
    """Return the files of the user's that the experiment names, as written."""
    named = [model.build for model in experiment.models.values()]
    named += _references(experiment.model_dump(mode="json", include={"compile", "search"}))
    return sorted({name.partition(":")[0] if ".py:" in name else name for name in named})


def _references(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if ".py:" in value else []
    if isinstance(value, dict):
        return [name for inner in value.values() for name in _references(inner)]
    return [name for inner in value for name in _references(inner)] if isinstance(value, list) else []


def _existing(folder: Path, file: str) -> Path:
    path = Path(folder, file)
    if not path.is_file():
        names = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        raise SpecError(f"`{file}` is not there: there is no file {path.resolve()}.{did_you_mean(path.name, names)}")
    return path
