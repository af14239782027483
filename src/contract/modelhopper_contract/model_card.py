"""The card of a model: what it takes, what it gives and how it is evaluated. JSON beside a `.keras` file.

`ensemble.keras` has `ensemble.card.json`. With it a model is used on new rows as on those it was trained on: columns
are found by name, inputs are scaled, and what it gives has the names of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from modelhopper_contract.errors import CorruptObject, UserError
from modelhopper_contract.manifest import Input, Manifest, Output
from modelhopper_contract.record import Record

CARD_SUFFIX = ".card.json"

# What the numbers of an output are. Of classes: probabilities, or logits, of which softmax makes probabilities (for one
# unit and two classes the sigmoid). Of an array label: the same where the loss says so. Else plain numbers.
Gives = Literal["probabilities", "logits", "numbers"]

_CROSSENTROPIES = ("crossentropy", "cce", "bce")


class ModelCard(Record):
    """What a model takes and gives. Inputs and outputs are in the order of the data that it was trained on."""

    format: Literal[1] = 1
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    normalize: float = 1.0  # rows are divided by this before the model sees them; it does not do so itself
    gives: dict[str, Gives]  # by output
    losses: dict[str, Any] = Field(default={})  # by output, as in an experiment's `compile`; none: not known
    loss_weights: dict[str, float] = Field(default={})  # by output; 1 where nothing is said
    metrics: dict[str, tuple[Any, ...]] = Field(default={})  # by output, as in an experiment's `compile`
    folder: str = "."  # where losses and metrics such as `own.py:focal` are found; from the card's folder on

    def output(self, name: str) -> Output:
        """Return one output by its name."""
        return next(one for one in self.outputs if one.name == name)

    def manifest(self) -> Manifest:
        """Return a manifest of no rows, whose fields the model fits."""
        return Manifest(inputs=self.inputs, outputs=self.outputs, normalize=self.normalize, seed=0, rows=0, shards=())


def card_of(manifest: Manifest, compiled: Mapping[str, Any], folder: Path | str = ".") -> ModelCard:
    """Return the card of a model that was trained on this data with these compile parameters, which must fit it."""
    names = [output.name for output in manifest.outputs]
    losses = _by_output(compiled.get("loss"), names)
    return ModelCard(
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        normalize=manifest.normalize,
        gives={output.name: gives_of(output, losses.get(output.name)) for output in manifest.outputs},
        losses=losses,
        loss_weights=_weights(compiled.get("loss_weights"), names),
        metrics={name: _listed(given) for name, given in _by_output(compiled.get("metrics") or [], names).items()},
        folder=str(folder),
    )


def gives_of(output: Output, loss: Any) -> Gives:
    """Return what a model gives for an output, by the loss that it is trained with, as the user wrote that."""
    if output.kind == "number":
        return "numbers"
    name = str(loss.get("name", "")) if isinstance(loss, Mapping) else str(loss or "")
    plain = name.lower().replace("_", "")
    if output.kind == "encoded" and not (output.shape and plain.endswith(_CROSSENTROPIES)):
        return "numbers"
    return "logits" if isinstance(loss, Mapping) and loss.get("from_logits") else "probabilities"


def card_path(model: Path) -> Path:
    """Return where the card of a model's file is: `best.keras` has `best.card.json`."""
    return model.with_name(model.name.removesuffix(model.suffix) + CARD_SUFFIX)


def read_card(model: Path) -> ModelCard | None:
    """Return the card beside a model's file, its folder as an absolute path; None when there is none."""
    path = card_path(model)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        card = ModelCard.from_json(data, str(path))
    except CorruptObject as error:
        raise UserError(
            f"{error} Export the model again, or remove that file and say --features and --classes."
        ) from error
    return card.model_copy(update={"folder": str(Path(path.parent, card.folder).resolve())})


def write_card(card: ModelCard, model: Path) -> Path:
    """Write a card beside a model's file, whole or not at all, and return its path. Raises OSError."""
    path = card_path(model)
    scratch = path.with_name(f".{path.name}.writing")
    scratch.write_bytes(card.to_json())
    scratch.replace(path)
    return path


def _by_output(given: Any, names: list[str]) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, Mapping) and "name" not in given:
        return {name: given[name] for name in names if name in given}
    return dict.fromkeys(names, given)


def _weights(given: Any, names: list[str]) -> dict[str, float]:
    if given is None:
        return {}
    pairs = given.items() if isinstance(given, Mapping) else zip(names, given, strict=True)
    return {name: float(weight) for name, weight in pairs}


def _listed(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list | tuple) else (given,)
