"""What population based training changes in a copy: numbers that leave the copied state as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelhopper_contract.record import canonical_json
from modelhopper_contract.searches import Pbt
from modelhopper_contract.spaces import CONDITIONAL_KEYS, FIT_KEYS, Range, varied
from modelhopper_scheduler.searches.space import Path, filled, seeded, uniform


@dataclass(frozen=True)
class Perturbation:
    """Changes of one copy, drawn from the experiment's seed and the copy's number.

    What says how to fit may change: batch_size, epochs, shuffle, class_weight. So may an optimizer's numbers, except
    that 0 stays 0 and nothing becomes 0: a momentum of 0 is an optimizer without momenta, whose state has another form.
    Everything else is inherited: the model and its parameters, the kind of optimizer, its switches, loss and metrics.
    """

    part: Pbt
    seed: int
    number: int

    def of(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Return a choice like another, with changes."""

        def pick(path: Path, options: Sequence[Any] | Range) -> Any:
            top, *inner = path
            if top in CONDITIONAL_KEYS and not inner:
                return choice[top] if isinstance(options, Range) else _origin(options, choice[top])
            value = choice[top][inner[-1]] if inner else choice[top]
            changed = self._changed(path, options, value)
            return changed if _may_become(path, value, changed) else value

        return filled(self.part.space, pick)

    def _changed(self, path: Path, options: Sequence[Any] | Range, value: Any) -> Any:
        if self._uniform("resample", path) < self.part.resample:
            return seeded(self.seed, self.number)(path, options)
        if isinstance(options, Range):
            return self._scaled(path, options, value)
        at = _index(options, value)
        neighbours = [options[beside] for beside in (at - 1, at + 1) if 0 <= beside < len(options)]
        return neighbours[int(self._uniform("neighbour", path) * len(neighbours))]

    def _scaled(self, path: Path, options: Range, value: float) -> float:
        factors = self.part.factors
        factor = factors[int(self._uniform("factor", path) * len(factors))]
        # On the scale that is near one the distance from 1 is what counts, so that is what grows or shrinks.
        near_one = options.scale == "log_near_one"
        changed = options.nearest(1 - (1 - value) * factor if near_one else value * factor)
        if options.is_integer and changed == value:
            # A fifth of a small whole number rounds to nothing.
            changed = options.nearest(value + (factor > 1) - (factor < 1))
        return changed

    def _uniform(self, purpose: str, path: Path) -> float:
        return uniform(self.seed, self.number, purpose, *path)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return in words what differs between two choices with the same keys: "learning_rate 0.1 to 0.12"."""
    old, new = _flat(before), _flat(after)
    changes = [f"{key} {old[key]} to {new[key]}" for key in new if key in old and old[key] != new[key]]
    return ", ".join(changes) or "nothing changed"


def _may_become(path: Path, value: Any, changed: Any) -> bool:
    if path[0] in FIT_KEYS:
        return True
    return path[0] == "optimizer" and all(_is_number(one) and one != 0 for one in (value, changed))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _origin(options: Sequence[Any], chosen: Any) -> Any:
    """Return the option of a space that a choice of an optimizer or a model was filled from."""
    for option in options:
        if not isinstance(option, Mapping) or not isinstance(chosen, Mapping):
            if option == chosen:
                return option
        elif option.keys() == chosen.keys() and all(_has(varied(option[key]), chosen[key]) for key in option):
            return option
    raise ValueError(f"{chosen} is not in the space")


def _has(options: Sequence[Any] | Range, value: Any) -> bool:
    if isinstance(options, Range):
        return _is_number(value) and options.low <= value <= options.high
    return any(_is_same(option, value) for option in options)


def _index(options: Sequence[Any], value: Any) -> int:
    return next(at for at, option in enumerate(options) if _is_same(option, value))


def _is_same(option: Any, value: Any) -> bool:
    # A choice went through JSON: a tuple came back as a list, a class as a word.
    return option == value or canonical_json(option) == canonical_json(value)


def _flat(choice: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in choice.items():
        flat |= value if key in CONDITIONAL_KEYS and isinstance(value, Mapping) else {key: value}
    return flat
