"""From what a search chooses to configurations as they run: defaults filled in, checked, numbered and named."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import COMPILE_KEYS, FIT_KEYS, Compile, Experiment, Explicit, Fit, Grid, validated
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration

Choice = Mapping[str, Any]


def configurations(experiment: Experiment) -> list[Configuration]:
    """Return the configurations of an experiment, numbered from 1, without duplicates.

    Raises SpecError for an unknown model or a value that cannot be.
    """
    search = experiment.search
    choices = _grid(search) if isinstance(search, Grid) else _listed(search)
    made = [_configuration(experiment, choice, path) for choice, path in choices]
    unique = list({_identity(configuration): configuration for configuration in reversed(made)}.values())[::-1]
    labels = _labels(unique)
    return [
        configuration.model_copy(update={"number": number, "name": label})
        for number, (configuration, label) in enumerate(zip(unique, labels, strict=True), start=1)
    ]


def varying(configurations: Sequence[Configuration]) -> dict[int, dict[str, Any]]:
    """Return, by configuration number, the settings in which configurations differ: "learning_rate" to 0.1."""
    flat = {configuration.number: _settings(configuration) for configuration in configurations}
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings))
    differing = [key for key in keys if len({canonical_json(settings.get(key)) for settings in flat.values()}) > 1]
    return {number: {key: s[key] for key in differing if key in s} for number, s in flat.items()}


def _grid(grid: Grid) -> Iterator[tuple[Choice, tuple[str | int, ...]]]:
    expanded = {key: _expanded(key, values) for key, values in grid.space.items()}
    for combination in itertools.product(*expanded.values()):
        yield dict(zip(expanded, combination, strict=True)), ("search", "space")


def _listed(search: Explicit) -> Iterator[tuple[Choice, tuple[str | int, ...]]]:
    for at, choice in enumerate(search.configurations):
        yield choice, ("search", "configurations", at)


def _expanded(key: str, values: Sequence[Any]) -> list[Any]:
    if key not in ("model", "optimizer"):
        return list(values)
    return [one for value in values for one in (_product(value) if isinstance(value, Mapping) else [value])]


def _product(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    lists = [inner if isinstance(inner, list | tuple) else [inner] for inner in value.values()]
    return [dict(zip(value, combination, strict=True)) for combination in itertools.product(*lists)]


def _configuration(experiment: Experiment, choice: Choice, path: tuple[str | int, ...]) -> Configuration:
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


def _identity(configuration: Configuration) -> bytes:
    optimizer = configuration.compile["optimizer"]
    normal = {**configuration.compile, "optimizer": {**optimizer, "name": str(optimizer.get("name")).lower()}}
    return canonical_json([configuration.model, configuration.parameters, normal, configuration.fit])


def _settings(configuration: Configuration) -> dict[str, Any]:
    compiled = dict(configuration.compile)
    optimizer = compiled.pop("optimizer")
    settings = {"model": configuration.model, **configuration.parameters}
    settings |= {"optimizer": optimizer.get("name"), **_without(optimizer, "name")}
    return settings | compiled | configuration.fit


def _labels(configurations: Sequence[Configuration]) -> list[str]:
    numbered = [one.model_copy(update={"number": at}) for at, one in enumerate(configurations)]
    return [
        "  ".join(_label(key, value) for key, value in settings.items()) or numbered[number].model
        for number, settings in varying(numbered).items()
    ]


def _label(key: str, value: Any) -> str:
    return str(value) if key in ("model", "optimizer", "loss") else f"{key} {value}"


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}
