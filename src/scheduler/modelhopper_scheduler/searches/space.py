"""Choosing a point of a space: any way of picking values, and the one by seeded draws.

A space is walked in one place, `filled`; who picks the values is up to the caller: `draw` by a seed, Optuna by its
sampler, population based training by changing another's.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from modelhopper_contract.spaces import CONDITIONAL_KEYS, Range, varied

# Where a value belongs: ("batch_size",), or ("optimizer", "Adam", "learning_rate") for a parameter of the dictionary
# with that name. A second dictionary of the same name is "Adam#2". It does not depend on the order of keys.
Path = tuple[str, ...]
Pick = Callable[[Path, Sequence[Any] | Range], Any]
Choice = dict[str, Any]  # a value for each key of a space

MOST_DRAWS = 10_000  # for one configuration that is to differ from all before it


def filled(space: Mapping[str, Any], pick: Pick) -> Choice:
    """Return a choice: a value for each key of a space, picked by `pick(path, options)`.

    `options` are the values of a list, of which one is to be returned, or a Range, of which `at` and `nearest` give
    values. It is asked only where there is something to pick. Of a list of optimizers or models it picks one first, as
    it stands in the space; then it is asked for the parameters of that one, and of no other.
    """
    return {key: _filled(key, values, pick) for key, values in space.items()}


def draw(space: Mapping[str, Any], seed: int, number: int, attempt: int = 0) -> Choice:
    """Return the choice that an experiment's seed draws for a configuration's number.

    Every value has a random number of its own, made from (seed, number, attempt, path) alone by SHA-256. So no two
    values are correlated, as they are where one stream of random numbers is started anew for each (in MADlib and in
    Cerebro's searches); a value stays the same when other keys come, go or change places; and draws are the same on
    every platform and with every version of Python and its libraries. `attempt` draws again.
    """
    return filled(space, seeded(seed, number, attempt))


def fresh(space: Mapping[str, Any], seed: int, number: int, is_new: Callable[[Choice], bool]) -> Choice | None:
    """Return the first draw for a number that is new; None when MOST_DRAWS draws are not."""
    draws = (draw(space, seed, number, attempt) for attempt in range(MOST_DRAWS))
    return next((choice for choice in draws if is_new(choice)), None)


def product(space: Mapping[str, Any]) -> Iterator[Choice]:
    """Yield all combinations of a space without ranges, the last key varying fastest.

    A dictionary of an optimizer or model stands for all combinations of its own parameters.
    """
    expanded = {key: [one for value in values for one in _expanded(key, value)] for key, values in space.items()}
    yield from _combinations(expanded)


def seeded(seed: int, number: int, attempt: int = 0) -> Pick:
    """Return the pick that `draw` makes: uniform among the values of a list, and on the scale of a range."""

    def pick(path: Path, options: Sequence[Any] | Range) -> Any:
        fraction = uniform(seed, number, attempt, *path)
        return options.at(fraction) if isinstance(options, Range) else options[int(fraction * len(options))]

    return pick


def uniform(*what: int | str) -> float:
    """Return the random number that belongs to `what`, uniform from 0 to below 1: the same whenever it is asked for."""
    # A JSON list, which `json.dumps` takes twice as long to write.
    text = f"[{', '.join([quoted(part) if isinstance(part, str) else str(part) for part in what])}]"
    digest = hashlib.sha256(text.encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53  # as many bits as a float holds


def _expanded(key: str, value: Any) -> Iterable[Any]:
    if key not in CONDITIONAL_KEYS or not isinstance(value, Mapping):
        return [value]
    return _combinations({name: given if isinstance(given, list) else [given] for name, given in value.items()})


def _combinations(lists: Mapping[str, Sequence[Any]]) -> Iterator[Choice]:
    for combination in itertools.product(*lists.values()):
        yield dict(zip(lists, combination, strict=True))


def _filled(key: str, values: Any, pick: Pick) -> Any:
    options = varied(values)
    chosen = _picked((key,), options, pick)
    if key not in CONDITIONAL_KEYS or not isinstance(chosen, Mapping) or isinstance(options, Range):
        return chosen
    place = (key, _name(options, chosen))
    return {inner: _picked((*place, inner), varied(given), pick) for inner, given in chosen.items()}


def _picked(path: Path, options: Sequence[Any] | Range, pick: Pick) -> Any:
    if isinstance(options, Range) or len(options) > 1:
        return pick(path, options)
    return options[0]


def _name(options: Sequence[Any], chosen: Mapping[str, Any]) -> str:
    dictionaries = [one for one in options if isinstance(one, Mapping)]
    names = [_text(one.get("name")) for one in dictionaries]
    at = dictionaries.index(chosen)
    earlier = names[:at].count(names[at])
    return f"{names[at]}#{earlier + 1}" if earlier else names[at]


def _text(name: Any) -> str:
    return "|".join(map(str, name)) if isinstance(name, list) else str(name)
