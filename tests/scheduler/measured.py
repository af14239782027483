"""Measurements that nobody made, for claims about what is chosen by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelhopper_contract.records import Configuration, Kind, Measurement, Program, Variant
from tests.scheduler.planned import configuration

Times = Mapping[int, float | None]  # seconds of a hop of one configuration, by lanes


def variant(seconds: float | None, lanes: int = 1, compile_s: float = 0.0, **program: Any) -> Variant:
    """Return a variant, tried and found right unless `seconds` is None."""
    note = None if seconds is not None else "the model has its own train_step"
    return Variant(program=Program(lanes=lanes, **program), seconds=seconds, compile_s=compile_s, note=note)


def kind(numbers: Sequence[int], *variants: Variant) -> Kind:
    """Return a kind of these configurations."""
    return Kind(configurations=tuple(numbers), variants=variants)


def measurement(*kinds: Kind) -> Measurement:
    """Return what was measured on a CPU."""
    return Measurement(device="CPU", rows=100, kinds=kinds)


def compiled(number: int, model: str = "small", **asked: Any) -> Configuration:
    """Return a configuration with these compile parameters."""
    fit = {"batch_size": 8, "epochs": 1, "shuffle": True, "class_weight": None}
    return configuration(number).model_copy(update={"model": model, "compile": asked, "fit": fit})


def fusing(configurations: Sequence[Configuration], most: int) -> Measurement:
    """Return what measuring tells of a `fuse: N` run whose configurations of a model are of a kind: all is right."""
    found: dict[str, list[int]] = {}
    for one in configurations:
        found.setdefault(one.model, []).append(one.number)
    kinds = []
    for numbers in found.values():
        lanes = min(most, len(numbers))
        kinds.append(kind(numbers, variant(1.0), *([variant(0.4, lanes)] if lanes > 1 else [])))
    return measurement(*kinds)
