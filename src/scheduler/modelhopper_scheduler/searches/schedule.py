"""Budgets of searches that judge at rungs: Hyperband's published schedule, and rungs that grow by a factor.

Integer arithmetic only: a floating-point logarithm says that 243 is less than three to the fifth, and loses a bracket.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from modelhopper_contract import searches as parts
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.part import Part

Rounding = Literal["up", "down"]


class ScheduleRow(NamedTuple):
    """One rung of one bracket, in the letters of the Hyperband paper."""

    s: int  # the bracket; the one of the largest s begins with the most configurations
    i: int  # the rung, from 0
    n_i: int  # configurations that train to it
    r_i: int  # iterations of each, from the beginning; with MADlib's additive budgets, on top of those before


class Schedule(tuple[ScheduleRow, ...]):
    """All rungs of all brackets, the largest bracket first. Shows itself as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        lines = [ScheduleRow._fields, *[tuple(map(str, row)) for row in self]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


def hyperband_schedule(
    R: int,  # noqa: N803 -- the paper's and MADlib's name
    eta: int = 3,
    skip_last: int = 0,
    *,
    rounding: Rounding = "up",
) -> Schedule:
    """Return how many configurations each bracket of Hyperband trains, and how long, before anything runs.

    `R` is the iterations of the longest training. At each rung one of every `eta` goes on. `skip_last` rungs at the end
    of each bracket are left out, and brackets that have no others.

    Bracket s begins with (s_max + 1) / (s + 1) * eta**s configurations, where s_max is the largest s with
    eta**s <= R. `rounding="up"` rounds that product up, as the paper's table does (Li et al., JMLR 2018: 81, 34, 15, 8
    and 5 for R=81); `"down"` rounds the quotient down first, as MADlib's hyperband_schedule does (81, 27, 9, 6 and 5).
    After rung i, n // eta**i are left. r_i is R * eta**(i - s), rounded to the nearest whole number, half upwards.

    Raises UserError for numbers that give no schedule.
    """
    given = {"R": R, "eta": eta, "skip_last": skip_last}
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise UserError(f"{name} is {value!r}: give a whole number.")
    if rounding not in ("up", "down"):
        raise UserError(f"rounding is {rounding!r}: use up, as in the Hyperband paper, or down, as in MADlib.")
    if found := _mistake(R, eta, skip_last, "R"):
        raise UserError(found[1])
    return Schedule(_rows(R, eta, skip_last, rounding))


def growing(first: int, eta: int, iterations: int) -> list[int]:
    """Return the rungs first, first * eta, first * eta**2, ... below `iterations`, and `iterations`."""
    found = []
    while first < iterations:
        found.append(first)
        first *= eta
    return [*found, iterations]


def check(part: Part, iterations: int) -> None:
    """Raise SpecError for a search that would never judge anybody, or whose numbers do not fit together."""
    match part:
        case parts.Hyperband():
            if found := _mistake(iterations, part.eta, part.skip_last, "iterations"):
                where, message = found
                raise SpecError(message, ("iterations",) if where == "R" else ("search", where))
        case parts.Halving() | parts.Asha():
            _check_first(part, "first", iterations)
        case parts.Median():
            _check_first(part, "grace", iterations)
        case parts.Pbt():
            _check_first(part, "every", iterations)


def _mistake(longest: int, eta: int, skip_last: int, name: str) -> tuple[str, str] | None:
    """Return which number is wrong and why, or None. `name` is what its giver calls the longest training."""
    if eta < 2:
        return "eta", f"eta is {eta}: one of every `eta` goes on, so it is at least 2."
    if longest < eta:
        return "R", f"{name} is {longest} and eta {eta}: Hyperband needs at least {eta} iterations, to halve even once."
    largest = _s_max(longest, eta)
    if not 0 <= skip_last <= largest:
        return "skip_last", (
            f"skip_last is {skip_last}: with {name} {longest} and eta {eta} the longest bracket has {largest + 1} "
            f"rungs: use 0 to {largest}."
        )
    return None


def _check_first(part: Any, key: str, iterations: int) -> None:
    first = getattr(part, key)
    if first >= iterations:
        raise SpecError(
            f"{key} is {first}, and configurations train for {iterations} iterations: nothing is ever decided. Use a "
            f"smaller `{key}`, or more `iterations`.",
            ("search", key),
        )


def _s_max(longest: int, eta: int) -> int:
    s = 0
    while eta ** (s + 1) <= longest:
        s += 1
    return s


def _rows(longest: int, eta: int, skip_last: int, rounding: Rounding) -> list[ScheduleRow]:
    s_max = _s_max(longest, eta)
    return [
        ScheduleRow(s, i, _size(s_max, s, eta, rounding) // eta**i, _nearest(longest * eta**i, eta**s))
        for s in range(s_max, -1, -1)
        for i in range(s + 1 - skip_last)
    ]


def _size(s_max: int, s: int, eta: int, rounding: Rounding) -> int:
    most: int = eta**s
    return (s_max + 1) // (s + 1) * most if rounding == "down" else -(-(s_max + 1) * most // (s + 1))


def _nearest(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
