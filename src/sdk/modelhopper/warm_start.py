"""Warm start: configurations that begin with the results of an earlier experiment; and longer training of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from modelhopper.display.words import count
from modelhopper.reading import Reader, experiment_names
from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import ObjectNotFound, SpecError
from modelhopper_contract.experiment import WarmStart
from modelhopper_contract.names import Names
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.records import Configuration, Origin, Outcome
from modelhopper_contract.spaces import COMPILE_KEYS, FIT_KEYS
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store

_KEY = "warm_start"


class Begun(NamedTuple):
    """A specification and its configurations, which know what they begin with; and that in words."""

    specification: Specification
    configurations: list[Configuration]
    note: str = ""  # one line for people


class Earlier(NamedTuple):
    """An earlier experiment, as far as a warm start needs it."""

    name: str
    numbers: frozenset[int]  # of its configurations
    outcomes: Mapping[int, Outcome]  # of those that have ended, by number


def begun_with(specification: Specification, configurations: Sequence[Configuration], store: Store | None) -> Begun:
    """Return an experiment whose configurations know the results that they begin with; without a warm start, as it is.

    `store` holds the earlier experiment. Raises SpecError for an experiment or a configuration that is not there or
    has not ended.
    """
    wanted = specification.experiment.warm_start
    if wanted is None:
        return Begun(specification, list(configurations))
    if store is None:
        raise SpecError("a warm start needs the store that holds the earlier experiment.", (_KEY,))
    earlier = _earlier(wanted.experiment, store)
    if wanted.configurations is None:
        _refuse_parts(earlier.name, Reader(store, earlier.name).specification())
    found = with_origins(wanted, configurations, earlier)
    digests = {one.number: _digest(one.origin, store) for one in found if one.origin is not None}
    return Begun(specification.model_copy(update={"origins": digests}), found, note(wanted, found, earlier))


def with_origins(wanted: WarmStart, configurations: Iterable[Configuration], earlier: Earlier) -> list[Configuration]:
    """Return configurations with what each begins with. Pure.

    One whose number is in both experiments begins with the result of the earlier one, unless that failed; others begin
    fresh. Raises SpecError for a number that is not there, and for a configuration that has not ended.
    """
    chosen = list(configurations)
    pairs = _pairs(wanted, {one.number for one in chosen}, earlier)
    outcomes = {number: _ended(earlier, pairs[number], is_named=bool(wanted.configurations)) for number in pairs}
    origins = {
        number: Origin(experiment=earlier.name, configuration=outcome.configuration, hop=outcome.hops)
        for number, outcome in outcomes.items()
        if outcome.state != "failed"
    }
    return [one.model_copy(update={"origin": origins.get(one.number)}) for one in chosen]


def note(wanted: WarmStart, configurations: Sequence[Configuration], earlier: Earlier) -> str:
    """Say in one line who begins with what: "4 of 6 configurations go on from iris; 3 failed there ..."."""
    going = sum(one.origin is not None for one in configurations)
    of = count(len(configurations), "configuration")
    said = (
        f"{'all' if going == len(configurations) > 1 else f'{going} of'} {of} {'goes' if going == 1 else 'go'} on from"
    )
    pairs = _pairs(wanted, {one.number for one in configurations}, earlier)
    failed = [str(one.number) for one in configurations if one.origin is None and one.number in pairs]
    ending = (
        f"; {', '.join(failed)} failed there and {'begins' if len(failed) == 1 else 'begin'} fresh" if failed else ""
    )
    return f"warm start: {said} {earlier.name}{ending}"


def continued(
    specification: Specification, configuration: Configuration, iterations: int, name: str | None = None
) -> dict[str, Any]:
    """Return, as the keys of a file, the experiment that trains one configuration's result for more iterations.

    It is compiled as it was, but alone: there is nobody beside it. `name`: by default the earlier experiment's with the
    configuration's number, "iris-5". Raises SpecError for a configuration of a fold or a group.
    """
    earlier = specification.experiment
    if specification.parts > 1:
        what = "groups" if earlier.groups else "folds"
        raise SpecError(
            f"{earlier.name} has {what}, and a configuration of one of them cannot go on alone. `--extend` lets all of "
            "them have more iterations."
        )
    left_out = {"search", "models", _KEY, "name", "iterations", "evaluate_every", "fuse"}
    value = earlier.model_dump(mode="json", exclude=left_out)
    value["compile"] |= _measured(value["compile"], configuration)
    model = earlier.models[configuration.model].model_copy(update={"parameters": configuration.parameters})
    every = earlier.evaluate_every
    return {
        **value,
        "name": name or f"{earlier.name}-{configuration.number}",
        "models": {configuration.model: model.model_dump(mode="json")},
        "search": {"method": "list", "configurations": [choice_of(value, configuration)]},
        "iterations": iterations,
        "evaluate_every": every if every is not None and every <= iterations else None,
        _KEY: {"experiment": earlier.name, "configurations": {1: configuration.number}},
    }


def choice_of(value: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """Return what a list of configurations has to say of one: where it is not what is the same for all.

    `value`: the experiment's keys as in a file. What was measured stands in the place of what was open. A model's
    parameters are left to the caller.
    """
    compiled, fit = value["compile"], value["fit"]
    asked = configuration.compile | _measured(compiled, configuration)
    own = {key: asked[key] for key in COMPILE_KEYS if key in asked and asked[key] != compiled[key]}
    own |= {key: configuration.fit[key] for key in FIT_KEYS if configuration.fit.get(key) != fit[key]}
    return {"model": configuration.model, **own}


def _earlier(name: str, store: Store) -> Earlier:
    reader = Reader(store, name)
    if reader.stage() != "begun":
        known = experiment_names(store)
        there = f"it has {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else "it has none"
        raise SpecError(
            f"`{_KEY}` is {name}, and {store.url} has no experiment of this name that has begun: {there}."
            f"{did_you_mean(name, known)} Both experiments have to be in one store.",
            (_KEY,),
        )
    return Earlier(name, frozenset(one.number for one in reader.configurations), reader.outcomes())


def _refuse_parts(name: str, specification: Specification) -> None:
    """Raise SpecError where the earlier experiment's numbers are not those of settings."""
    parts = specification.parts
    if parts > 1:
        each = ", ".join(map(specification.part_name, range(min(parts, 3)))) + (", ..." if parts > 3 else "")
        raise SpecError(
            f"each setting of {name} has {parts} configurations ({each}), so equal numbers are not equal settings. Say "
            f"in `{_KEY}.configurations` which numbers here begin with which there.",
            (_KEY,),
        )


def _pairs(wanted: WarmStart, numbers: set[int], earlier: Earlier) -> dict[int, int]:
    """Return which configuration of the earlier experiment belongs to which number."""
    if wanted.configurations is None:
        return {number: number for number in sorted(numbers & earlier.numbers)}
    for here, there in wanted.configurations.items():
        for number, known, whose in ((here, numbers, "this experiment"), (there, earlier.numbers, earlier.name)):
            if number not in known:
                raise SpecError(
                    f"`{_KEY}` names configuration {number}, and those of {whose} are numbered from {min(known)} to "
                    f"{max(known)}.",
                    (_KEY,),
                )
    return dict(wanted.configurations)


def _ended(earlier: Earlier, number: int, *, is_named: bool) -> Outcome:
    outcome = earlier.outcomes.get(number)
    if outcome is None:
        raise SpecError(
            f"configuration {number} of {earlier.name} has not ended, so it has no result to begin with. `modelhopper "
            f"resume {earlier.name}` goes on with it; or say in `{_KEY}.configurations` which numbers here begin with "
            "which there.",
            (_KEY,),
        )
    if is_named and outcome.failure is not None:
        raise SpecError(
            f"configuration {number} of {earlier.name} failed, so it has no result to begin with: "
            f"{outcome.failure.reason}.",
            (_KEY,),
        )
    return outcome


def _digest(origin: Origin, store: Store) -> str:
    name = Names(str(origin.experiment)).checkpoint(origin.configuration, origin.hop)
    try:
        return digest_bytes(store.get(name))
    except ObjectNotFound as error:
        raise SpecError(
            f"{store.url} holds no {name}, which is the result of configuration {origin.configuration} of "
            f"{origin.experiment}.",
            (_KEY,),
        ) from error


def _measured(shared: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """Return what was found by measuring, in the place of what was open."""
    program = configuration.program.model_dump(mode="json", exclude={"lanes"})
    return {key: found for key, found in program.items() if "auto" in (shared[key], configuration.compile.get(key))}
