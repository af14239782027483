"""Configurations that begin from their own initial state, drawn from the space."""

from __future__ import annotations

from modelhopper_contract.decisions import Start
from modelhopper_scheduler.searches.search import Past, Setting
from modelhopper_scheduler.searches.space import draw


def newcomer(setting: Setting, number: int, until: int, group: str = "") -> Start:
    """Return the start of the configuration that the experiment's seed draws for a number."""
    return Start(
        configuration=number,
        choice=draw(setting.space, setting.seed, number),
        until=until,
        reason=f"a random draw{' for ' + group if group else ''}: trains to iteration {until}",
        group=group,
    )


def replenished(setting: Setting, past: Past, configurations: int, until: int) -> list[Start]:
    """Return the starts that fill the places where nobody trains, while there are configurations left."""
    begun = len(past.trials)
    count = min(setting.parallel - len(past.training), configurations - begun)
    return [newcomer(setting, begun + 1 + at, until) for at in range(count)]
