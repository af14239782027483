"""The configurations of an experiment as a table: the settings that vary, one column each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelhopper.tables import Column, Table
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration


def listing(configurations: Sequence[Configuration], noun: str = "configuration") -> str:
    """Return the table as text; `noun`: what a row is."""
    from modelhopper_scheduler.searches.labels import varying

    settings = varying(configurations)
    numbers = Column(noun, [str(one.number) for one in configurations])
    names = list(dict.fromkeys(name for one in settings.values() for name in one))
    columns = [_column(name, [settings[one.number].get(name, "") for one in configurations]) for name in names]
    if not columns:
        columns = [_column("model", [one.model for one in configurations])]
    return "\n".join(Table([numbers, *columns]).lines())


def _column(name: str, values: Sequence[Any]) -> Column:
    is_number = all(isinstance(value, int | float) or value == "" for value in values)
    return Column(name, [_cell(value) for value in values], is_number=is_number)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return canonical_json(value).decode()
    return str(value)
