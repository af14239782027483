"""Which shards a configuration of a fold or of a group trains on, and which it is evaluated on. Pure.

A fold is a set of shards that its configurations skip in training and are evaluated on, so no row is copied or moved.
A group is a set of shards whose configurations train on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import Field

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.part import Part


class Folds(Part):
    """K-fold cross-validation: every setting is trained `count` times, each time without one fold of the shards."""

    count: Annotated[int, Field(ge=2)]
    stratified: bool = False  # whether the data must have been packed with rows dealt evenly by class

    @pydantic.model_validator(mode="before")
    @classmethod
    def _is_a_number_alone(cls, given: Any) -> Any:
        if isinstance(given, Mapping | Folds):
            return given
        if isinstance(given, int) and not isinstance(given, bool):
            return {"count": given}
        raise ValueError(f"{given!r} cannot be: give how many, such as 10, or {{count: 10, stratified: true}}")


def fold(shards: int, folds: int, number: int) -> tuple[int, ...]:
    """Return the shards of a fold, ascending: every `folds`-th, so that neighbours are in different ones."""
    return tuple(range(number, shards, folds))


def outside(shards: int, folds: int, number: int) -> tuple[int, ...]:
    """Return the shards that are not in a fold, ascending."""
    return tuple(shard for shard in range(shards) if shard % folds != number)


def group(shards: int, groups: int, number: int) -> tuple[int, ...]:
    """Return the shards of a group, ascending: as many neighbours as every other group has."""
    each = shards // groups
    return tuple(range(number * each, (number + 1) * each))


def check_folds(folds: Folds, manifest: Manifest, name: str) -> None:
    """Raise DataError where this data cannot be cut into these folds; `name`: where it is, as the user wrote it."""
    shards = len(manifest.shards)
    if shards % folds.count or shards < folds.count:
        possible = [count for count in range(2, shards + 1) if shards % count == 0]
        fitting = f"or take {' or '.join(map(str, possible[-3:]))} folds" if possible else "as one shard cannot be cut"
        has = f"{name} has {shards} shard{'' if shards == 1 else 's'}"
        raise DataError(
            f"{has}, which cannot be {folds.count} folds of equally many: pack it with --shards "
            f"{folds.count * max(1, round(shards / folds.count))}, {fitting}."
        )
    if folds.stratified and manifest.stratified is None:
        found = [output.name for output in manifest.outputs if output.kind == "classes"]
        labels = ", ".join(found) or "it has none"
        raise DataError(
            f"the folds are to be stratified, and {name} was not packed so: pack it again with --stratify and a label "
            f"of classes ({labels}), or say `stratified: false`."
        )


def check_groups(training: Manifest, name: str, validation: Manifest | None, validation_name: str | None) -> None:
    """Raise DataError where data does not have the groups that are to be trained one by one."""
    if not training.groups:
        raise DataError(f"{name} has no groups: pack it with --group-by and the column that says which row is whose.")
    if validation is not None and validation.groups != training.groups:
        raise DataError(
            f"{validation_name} must have the groups of {name}, on which each model is evaluated: pack it with "
            f"--group-by {training.group_column} --against {name}."
        )
