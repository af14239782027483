"""From an experiment as the user says it to the specification of a run: paths resolved, contents digested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from modelhopper.neighbours import neighbours
from modelhopper_contract.addresses import absolute
from modelhopper_contract.digest import digest_file
from modelhopper_contract.errors import DataError, SpecError
from modelhopper_contract.experiment import Experiment, Model
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.partition import check_folds, check_groups
from modelhopper_contract.records import Split
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.searches.making import search_of
from modelhopper_trainer.shards import open_data


class Specified(NamedTuple):
    """The specification of a run, and the manifests of its data sets."""

    specification: Specification
    manifests: dict[Split, Manifest]


def specify(experiment: Experiment, folder: Path) -> Specification:
    """Return the specification of a run whose relative paths begin at `folder`; raise what `specified` raises."""
    return specified(experiment, folder).specification


def specified(experiment: Experiment, folder: Path) -> Specified:
    """Return the specification of a run whose relative paths begin at `folder`, and its data's manifests.

    Raises DataError for data that is not packed or does not fit together, and SpecError for a missing file.
    """
    train = _manifest(folder, experiment.data.train)
    manifests: dict[Split, Manifest] = {"training": train}
    digests = {experiment.data.train: train.digest()}
    if experiment.data.validation is not None:
        validation = _manifest(folder, experiment.data.validation)
        manifests["validation"] = validation
        digests[experiment.data.validation] = validation.digest()
        _check_fit(experiment, train, validation)
    _check_parts(experiment, train, manifests.get("validation"))
    specification = Specification(
        experiment=experiment,
        folder=str(folder.resolve()),
        shards=len(train.shards),
        validation_shards=len(manifests["validation"].shards) if "validation" in manifests else 0,
        group_names=_group_names(experiment, train),
        digests=digests | {file: digest_file(Path(folder, file)) for file in _user_files(experiment, folder)},
    )
    search = search_of(specification)
    if search is not None:
        specification = specification.model_copy(update={"rungs": tuple(search.rungs)})
    return Specified(specification, manifests)


def named_files(models: Iterable[Model], rest: object) -> set[str]:
    """Return the files of the user's that models and other values (losses, metrics, ...) name, as written."""
    named = [name for model in models for name in (model.build, model.initial_weights) if name is not None]
    return {name.partition(":")[0] if ".py:" in name else name for name in (*named, *_references(rest))}


def _manifest(folder: Path, written: str) -> Manifest:
    return open_data(absolute(written, folder)).manifest


def _check_fit(experiment: Experiment, train: Manifest, validation: Manifest) -> None:
    for part in ("inputs", "outputs", "normalize"):
        if getattr(train, part) != getattr(validation, part):
            raise DataError(
                f"{experiment.data.validation} does not fit {experiment.data.train}: their {part} differ. Pack it "
                f"again with `modelhopper pack ... --against {experiment.data.train}`."
            )


def _check_parts(experiment: Experiment, train: Manifest, validation: Manifest | None) -> None:
    if experiment.folds is not None:
        check_folds(experiment.folds, train, experiment.data.train)
    if experiment.groups is True:
        check_groups(train, experiment.data.train, validation, experiment.data.validation)


def _group_names(experiment: Experiment, train: Manifest) -> tuple[str, ...]:
    if experiment.groups == "shards":
        return tuple(f"shard {shard}" for shard in range(len(train.shards)))
    return tuple(f"{train.group_column} {value}" for value in train.groups) if experiment.groups else ()


def _user_files(experiment: Experiment, folder: Path) -> list[str]:
    """Return the files of the user's that the experiment names, and the modules that these import, as written."""
    named = named_files(experiment.models.values(), experiment.model_dump(mode="json", include={"compile", "search"}))
    found = set(named)
    for file in named:
        path = _existing(folder, file)
        if file.endswith(".py"):
            found |= {str(PurePosixPath(file).parent / beside) for beside in neighbours(path)}
    return sorted(found)


def _references(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if ".py:" in value:
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _references(inner)


def _existing(folder: Path, file: str) -> Path:
    path = Path(folder, file)
    if not path.is_file():
        names = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        raise SpecError(f"`{file}` is not there: there is no file {path.resolve()}.{did_you_mean(path.name, names)}")
    return path
