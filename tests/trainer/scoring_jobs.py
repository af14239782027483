"""Jobs that no store holds, for what answers, parts and merging are by themselves."""

from __future__ import annotations

from typing import Any

from modelhopper_contract.manifest import ClassValue, Input, Output
from modelhopper_contract.model_card import Gives, ModelCard
from modelhopper_contract.scoring import Answer, Job, ModelFile, Packed, Part, Scored

FLOWERS = ("setosa", "versicolor", "virginica")


def classes(name: str, *values: ClassValue) -> Output:
    """Return an output of classes."""
    return Output(name=name, kind="classes", shape=(), dtype="uint8", classes=values, num_classes=len(values))


def numbers(name: str, *shape: int) -> Output:
    """Return an output of numbers."""
    return Output(name=name, kind="number", shape=shape, dtype="float32")


def card(*outputs: Output, width: int = 4, **changes: Any) -> ModelCard:
    """Return the card of a model with one input of so many columns a, b, c and so on."""
    gives: dict[str, Gives] = {one.name: "probabilities" if one.kind == "classes" else "numbers" for one in outputs}
    columns = tuple("abcdefgh"[:width])
    inputs = (Input(name="x", shape=(width,), dtype="float32", columns=columns),)
    return ModelCard(inputs=inputs, outputs=outputs, gives=gives, **changes)


def job(*outputs: Output, models: tuple[str, ...] = ("m",), answer: Answer | None = None, **changes: Any) -> Job:
    """Return a job of models that nobody loads."""
    made = card(*(outputs or (classes("species", *FLOWERS),)))
    scored = tuple(
        Scored(label=label, card=made, model=ModelFile(name=label, format="keras", sha256="0" * 64)) for label in models
    )
    given: dict[str, Any] = {"data": Packed(address="data", digest=""), "parts": (), **changes}
    return Job(action="predict", models=scored, answer=answer or Answer(), **given)


def parts(*rows: int) -> tuple[Part, ...]:
    """Return parts of so many rows, each a shard of its own."""
    starts = [sum(rows[:at]) for at in range(len(rows))]
    return tuple(
        Part(number=at, unit=at, begin=0, end=count, rows=count, first=starts[at]) for at, count in enumerate(rows)
    )
