"""From what a search chooses to configurations as they run: defaults filled in, checked, numbered and named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelhopper_contract.decisions import Start
from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Compile, Experiment, Fit, validated
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.records import Configuration
from modelhopper_contract.searches import Explicit, Grid, Random, Several
from modelhopper_contract.spaces import COMPILE_KEYS, FIT_KEYS, points
from modelhopper_scheduler.searches.identity import configuration_identity
from modelhopper_scheduler.searches.labels import choice_label, labels
from modelhopper_scheduler.searches.space import MOST_DRAWS, fresh, product

Choice = Mapping[str, Any]
Path = tuple[str | int, ...]
Found = dict[bytes, Configuration]  # by what makes them different


def configurations(experiment: Experiment) -> list[Configuration]:
    """Return the configurations of a search that chooses all of them beforehand, numbered from 1.

    A grid is the product of its space, the last key varying fastest; a list is as it stands; random draws are those of
    the experiment's seed and a configuration's number. Each configuration is there once, where it comes first: names of
    optimizers in any case, keys in any order, 1 and 1.0 for an optimizer's parameter, and a default that is said or not
    are the same. Of several searches, each continues the numbering of those before it.

    Raises SpecError for an unknown model, a value that cannot be, or draws that do not differ.
    """
    found: Found = {}
    for search, path in _searches(experiment):
        if isinstance(search, Random):
            _add_drawn(experiment, search, path, found)
        else:
            for choice, place in _choices(search, path):
                _add(found, made(experiment, choice, place))
    unique = list(found.values())
    numbered = zip(unique, labels(unique), strict=True)
    return [one.model_copy(update={"number": at, "name": label}) for at, (one, label) in enumerate(numbered, start=1)]


def chosen(experiment: Experiment) -> int:
    """Return how many configurations a search that chooses all beforehand chooses, those that are the same included."""
    return sum(_chosen(search) for search, _ in _searches(experiment))


def started(experiment: Experiment, start: Start) -> Configuration:
    """Return the configuration that a search starts while others train; its offset is not known here.

    Its name depends on nothing but the choice and the space, so that it is the same whenever it is computed again.
    Raises SpecError, as `configurations`.
    """
    try:
        configuration = made(experiment, start.choice, ("search", "space"))
    except SpecError as error:
        number, method = start.configuration, experiment.search.method
        raise SpecError(f"what `{method}` chose for configuration {number}: {error}", error.path) from error
    return configuration.model_copy(
        update={
            "number": start.configuration,
            "name": choice_label(start.choice, getattr(experiment.search, "space", {})) or configuration.model,
            "origin": start.origin,
            "first_hop": start.first_hop,
        }
    )


def made(experiment: Experiment, choice: Choice, path: Path) -> Configuration:
    """Return a choice with everything that it leaves to the experiment, checked, without a number; `path` is its place.

    Raises SpecError for an unknown model or a value that cannot be.
    """
    name, parameters = _model(experiment, choice, path)
    compiled = {**experiment.compile.model_dump(), **{key: choice[key] for key in COMPILE_KEYS if key in choice}}
    fitted = {**experiment.fit.model_dump(), **{key: choice[key] for key in FIT_KEYS if key in choice}}
    try:
        compiled, fitted = validated(Compile, compiled).model_dump(), validated(Fit, fitted).model_dump()
    except SpecError as error:
        error.path = (*path, *error.path)
        raise
    if isinstance(compiled["optimizer"], str):
        compiled["optimizer"] = {"name": compiled["optimizer"]}
    return Configuration(number=0, name="", model=name, parameters=parameters, compile=compiled, fit=fitted)


def _searches(experiment: Experiment) -> Iterator[tuple[Grid | Explicit | Random, Path]]:
    search = experiment.search
    if isinstance(search, Several):
        # As in the file, where several searches are a list.
        yield from ((one, ("search", at)) for at, one in enumerate(search.searches))
    elif isinstance(search, Grid | Explicit | Random):
        yield search, ("search",)
    else:
        raise SpecError(
            f"`{search.method}` chooses configurations while others train: which they will be, nobody knows before.",
            ("search", "method"),
        )


def _choices(search: Grid | Explicit, path: Path) -> Iterator[tuple[Choice, Path]]:
    if isinstance(search, Grid):
        yield from ((choice, (*path, "space")) for choice in product(search.space))
    else:
        yield from ((one, (*path, "configurations", at)) for at, one in enumerate(search.configurations))


def _chosen(search: Grid | Explicit | Random) -> int:
    if isinstance(search, Grid):
        return int(points(search.space))
    return search.configurations if isinstance(search, Random) else len(search.configurations)


def _add_drawn(experiment: Experiment, search: Random, path: Path, found: Found) -> None:
    for at in range(search.configurations):
        new = fresh(
            search.space,
            experiment.seed,
            len(found) + 1,
            lambda choice: _add(found, made(experiment, choice, (*path, "space"))),
        )
        if new is None:
            raise SpecError(
                f"only {at} of the {search.configurations} configurations to be drawn differ from each other and from "
                f"those before: {MOST_DRAWS:,} more draws were none that is new. Values that mean the same count once. "
                "Widen the space, or ask for fewer.",
                (*path, "configurations"),
            )


def _add(found: Found, configuration: Configuration) -> bool:
    """Add a configuration that is not there yet; say whether it was."""
    count = len(found)
    found.setdefault(configuration_identity(configuration), configuration)
    return len(found) > count


def _model(experiment: Experiment, choice: Choice, path: tuple[str | int, ...]) -> tuple[str, dict[str, Any]]:
    models = experiment.models
    given = choice.get("model", next(iter(models)) if len(models) == 1 else None)
    if given is None:
        raise SpecError(f"there are {len(models)} models ({', '.join(models)}): say which in `model`.", path)
    if not isinstance(given, str | Mapping):
        raise SpecError(
            f"`{given}` is not a model: give one of {', '.join(models)}, or a dictionary with a `name` and parameters.",
            (*path, "model"),
        )
    name, chosen = (given, {}) if isinstance(given, str) else (given.get("name"), _without(given, "name"))
    if name not in models:
        raise SpecError(
            f"`{name}` is not one of the models: {', '.join(models)}.{did_you_mean(name, models)}", (*path, "model")
        )
    model = models[name]
    if chosen and not model.is_function:
        raise SpecError(
            f"the model `{name}` ({model.build}) takes no parameters: only a function does.", (*path, "model")
        )
    return name, {**model.parameters, **chosen}


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}
