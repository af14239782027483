"""The models of a scoring job, from what a user calls them: configurations of runs, ensembles, files."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from modelhopper.candidate import Candidate
from modelhopper.defaults import DEFAULT_STORE
from modelhopper.trained import Trained as TrainedModel
from modelhopper.trained import trainer
from modelhopper_contract.digest import digest_bytes, digest_file
from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import ClassValue, Manifest
from modelhopper_contract.model_card import ModelCard, card_of, card_path, read_card
from modelhopper_contract.names import checkpoint_number
from modelhopper_contract.scoring import ModelFile, Scored, Trained
from modelhopper_contract.store import Store

if TYPE_CHECKING:
    from modelhopper.results import Run

Reference = str | Path | TrainedModel
Classes = Sequence[ClassValue] | Mapping[str, Sequence[ClassValue]]

_FILES = (".keras", ".json")


@dataclass(frozen=True)
class Outside:
    """What a user says of a model that has no card."""

    weights: Path | None = None  # of a model that is JSON
    classes: Classes | None = None
    labels: Mapping[str, Sequence[str]] | Sequence[str] | None = None
    normalize: float | None = None
    manifest: Manifest | None = None  # of the packed data that is scored, if it is packed


@dataclass(frozen=True)
class Models:
    """The models of a job. `files`: those that are kept with it, by digest."""

    scored: tuple[Scored, ...]
    shown: str  # in the job's name
    store: Store | None  # of the run that the first is of
    files: Mapping[str, Path] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()


def find(
    references: Sequence[Reference], store: str | Store = DEFAULT_STORE, metric: str | None = None
) -> list[Candidate | Path]:
    """Return the configurations and files that references lead to; an ensemble becomes a file.

    "iris" is the best configuration of a run, by `metric`, "iris/3" its configuration 3, "iris/3,5" two of them, and
    "iris/3@5" what that was after iteration 5, where its checkpoint is kept. Raises UserError for what is not there.
    """
    found = [one for reference in references for one in _found(reference, store, metric)]
    if not found:
        raise UserError("no model was given: name one, as in iris, iris/3 or best.keras.")
    return found


def made(found: Sequence[Candidate | Path], outside: Outside) -> Models:
    """Return what a job knows of its models; raise UserError where they take or give different things."""
    candidates = [one for one in found if isinstance(one, Candidate)]
    labels = _labels(found)
    scored: list[Scored] = []
    files: dict[str, Path] = {}
    for one, label in zip(found, labels, strict=True):
        if isinstance(one, Candidate):
            scored.append(_of_candidate(one, label))
        else:
            made_of, own = _of_file(one, label, outside)
            scored.append(made_of)
            files |= own
    _refuse_said_twice(found, outside)
    _refuse_differences(scored)
    first = candidates[0] if candidates else None
    shown = first.run_name if first else Path(str(found[0])).stem
    return Models(tuple(scored), shown, first.reader.store if first else None, files, tuple(candidates))


def _found(reference: Reference, store: str | Store, metric: str | None) -> list[Candidate | Path]:
    if isinstance(reference, Candidate):
        return [reference]
    if isinstance(reference, TrainedModel):
        return [saved(reference)]
    if not isinstance(reference, str | Path):
        raise UserError(
            f"a {type(reference).__name__} is no model that can be scored with: give iris/3, a configuration, an "
            "ensemble or the path of a .keras file."
        )
    if str(reference).endswith(_FILES):
        return [_existing(Path(reference).expanduser())]
    return list(_configurations(str(reference), store, metric))


def _configurations(text: str, store: str | Store, metric: str | None) -> list[Candidate]:
    from modelhopper.members import read_reference
    from modelhopper.results import open_run

    head, comma, rest = text.partition(",")
    name, number, iteration = read_reference(head)
    numbers = [number] + [_whole(one, text) for one in rest.split(",") if comma]
    run = open_run(name, store)
    found = [_one(run, one, metric) for one in numbers]
    return found if iteration is None else [one.at(iteration) for one in found]


def _one(run: Run, number: int | None, metric: str | None) -> Candidate:
    return run.best(metric) if number is None else run.configuration(number)


def _whole(text: str, reference: str) -> int:
    if not text.isdecimal():
        raise UserError(f"`{reference}` names no models: write iris/3, iris/3,5, or iris/3@5 for its iteration 5.")
    return int(text)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path} does not exist: there is no such model.")
    return path


def saved(ensemble: TrainedModel) -> Path:
    """Save an ensemble as a file, which is there until this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="modelhopper-")
    atexit.register(folder.cleanup)
    path = Path(folder.name, "ensemble.keras")
    ensemble.save(path)
    return path


def _labels(found: Sequence[Candidate | Path]) -> list[str]:
    """Return what models are called in the result: numbers, where all are configurations of one run."""
    runs = {(one.reader.store.url, one.run_name) for one in found if isinstance(one, Candidate)}
    is_one = len(runs) == 1 and all(isinstance(one, Candidate) and one.snapshot is None for one in found)
    labels = [_label(one, is_one=is_one) for one in found]
    twins = sorted({one for one in labels if labels.count(one) > 1})
    if twins:
        raise UserError(f"{twins[0]} was given twice: name each model once.")
    return labels


def _label(one: Candidate | Path, *, is_one: bool) -> str:
    if isinstance(one, Path):
        return one.name
    if is_one:
        return str(one.number)
    return f"{one.run_name}/{one.number}" + ("" if one.snapshot is None else f"@{one.snapshot}")


def _of_candidate(one: Candidate, label: str) -> Scored:
    name, data = one.stored()
    trained = Trained(
        store=one.reader.store.url,
        experiment=one.run_name,
        configuration=one.number,
        hop=checkpoint_number(name)[1],
        sha256=digest_bytes(data),
        is_submitted=one.is_built_as_submitted,
    )
    card = card_of(one.manifest, one.configuration.compile, one.specification.folder)
    return Scored(label=label, card=card, model=trained)


def _of_file(path: Path, label: str, outside: Outside) -> tuple[Scored, dict[str, Path]]:
    form: Literal["keras", "json"] = "json" if path.suffix == ".json" else "keras"
    if form == "json" and outside.weights is None:
        raise UserError(f"{path} is a model without weights: say where they are, --weights FILE.weights.h5.")
    if form == "keras" and outside.weights is not None:
        raise UserError(f"{path} has its weights inside: leave out --weights.")
    weights = None if outside.weights is None else _existing(outside.weights)
    files = {digest_file(one): one for one in (path, weights) if one is not None}
    model = ModelFile(
        name=path.name,
        format=form,
        sha256=digest_file(path),
        weights=None if weights is None else digest_file(weights),
    )
    card = read_card(path) or _card_of_file(path, weights, outside)
    return Scored(label=label, card=card, model=model), files


def _card_of_file(path: Path, weights: Path | None, outside: Outside) -> ModelCard:
    scoring = _outside()
    model = scoring.read_model(path, weights)
    said = scoring.Said(outside.classes, outside.labels, outside.normalize)
    card: ModelCard = scoring.card_for(model, path.name, said, outside.manifest)
    return card


def _refuse_said_twice(found: Sequence[Candidate | Path], outside: Outside) -> None:
    given = [("--classes", outside.classes), ("--normalize", outside.normalize)]
    said = [option for option, value in given if value is not None]
    for one in found:
        known = f"configuration {one.number}" if isinstance(one, Candidate) else card_path(one).name
        if said and (isinstance(one, Candidate) or card_path(one).is_file()):
            raise UserError(f"{said[0]} is known from {known}: leave it out.")
    if outside.weights is not None and not any(isinstance(one, Path) for one in found):
        raise UserError("--weights is for a model that is JSON, as in `model.json --weights model.weights.h5`.")


def _refuse_differences(scored: Sequence[Scored]) -> None:
    first = scored[0]
    for one in scored[1:]:
        for part, said in (("inputs", "inputs"), ("outputs", "outputs and classes"), ("normalize", "normalize")):
            if getattr(one.card, part) != getattr(first.card, part):
                raise UserError(
                    f"{first.label} and {one.label} have different {said}, so they cannot score the same rows in one "
                    "pass: score with one after the other."
                )


def _outside() -> Any:
    """Return what reads models that are brought; TensorFlow starts here."""
    trainer()
    from modelhopper_trainer.scoring import outside

    found: ModuleType = outside
    return found
