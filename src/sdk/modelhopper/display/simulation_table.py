"""A simulated run in words: what is to be done, what it takes with so many stations, and who comes to which rung."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelhopper.display.forecast_table import hop_line
from modelhopper.display.sentences import frame
from modelhopper.display.words import count, duration, metric, percent
from modelhopper.tables import Column, Table

if TYPE_CHECKING:
    from modelhopper.simulating import Simulated
    from modelhopper_scheduler.simulation.engine import Simulation
    from modelhopper_scheduler.simulation.play import Rung


def text(simulated: Simulated) -> str:
    """Return a simulation as lines: its frame, what was assumed, a row for each number of stations, and the rungs."""
    lines = [_headline(simulated), _assumed(simulated), "", *_indented(_stations(simulated.runs))]
    first = simulated.runs[0]
    if len(first.rungs) > 1 and all(one.rungs == first.rungs for one in simulated.runs):
        lines += ["", *_indented(_rungs(first.rungs))]
    if simulated.curves is not None:
        lines += ["", *_best(simulated)]
    return "\n".join(lines)


def _headline(simulated: Simulated) -> str:
    specification, first = simulated.specification, simulated.runs[0]
    name, ring = specification.experiment.name, specification.ring
    if not specification.is_judged:
        return frame(name, first.configurations, ring.iterations, ring.shards)
    about = "" if _is_equal(simulated.runs) else "about "
    parts = [
        count(first.configurations, "configuration"),
        f"at most {count(ring.iterations, 'iteration')} each",
        count(ring.shards, "shard"),
    ]
    return f"{name}: {', '.join(parts)}: {about}{_work(first)}"


def _work(one: Simulation) -> str:
    return f"{count(one.model_iterations, 'model-iteration')}, {count(one.hops, 'hop')}"


def _is_equal(runs: Sequence[Simulation]) -> bool:
    return len({(one.configurations, one.model_iterations) for one in runs}) == 1


def _assumed(simulated: Simulated) -> str:
    assumptions = simulated.assumptions
    parts = [hop_line(simulated.hop_s, simulated.origin)]
    parts += [f"give or take {percent(assumptions.jitter)}"] if assumptions.jitter else []
    parts += [f"evaluating takes {duration(assumptions.evaluation_s)} a shard"] if assumptions.evaluation_s else []
    parts += ["one bracket after another"] if assumptions.one_by_one else []
    if simulated.curves is not None:
        parts += [f"values are those of {simulated.curves}"]
    elif simulated.specification.is_judged:
        parts += ["values are modelled"]
    return "; ".join(parts)


def _stations(runs: Sequence[Simulation]) -> Table:
    columns = [
        Column("stations", [f"{one.stations:,}" for one in runs]),
        Column("  makespan", [duration(one.makespan_s) for one in runs]),
        Column("  bound", [duration(one.bound_s) for one in runs]),
        Column("  busy", [percent(one.busy) for one in runs]),
        Column("  idle", [percent(one.idle) for one in runs]),
    ]
    if not _is_equal(runs):
        columns.append(Column("  model-iterations", [f"{one.model_iterations:,}" for one in runs]))
    return Table(columns)


def _rungs(rungs: Sequence[Rung]) -> Table:
    columns = [
        Column("iterations", [f"{one.iterations:,}" for one in rungs]),
        Column("  reached", [f"{one.reached:,}" for one in rungs]),
        Column("  went on", [_some(one.went_on) for one in rungs]),
        Column("  stopped", [_some(one.stopped) for one in rungs]),
        Column("  finished", [_some(one.finished) for one in rungs]),
    ]
    if any(one.failed for one in rungs):
        columns.append(Column("  failed", [_some(one.failed) for one in rungs]))
    return Table(columns)


def _best(simulated: Simulated) -> list[str]:
    """Say which configuration is the best at the end; of modelled values it would mean nothing."""
    found = []
    for one in simulated.runs if len({run.best for run in simulated.runs}) > 1 else simulated.runs[:1]:
        if one.best is None:
            continue
        where = f" with {count(one.stations, 'station')}" if len(simulated.runs) > 1 else ""
        value = f"{simulated.metric} {metric(one.best.value)} at iteration {one.best.iteration}"
        found.append(f"best{where}: configuration {one.best.configuration}, {value}")
    return found


def _some(items: int) -> str:
    return f"{items:,}" if items else ""


def _indented(table: Table) -> list[str]:
    return [f"  {line}" for line in table.lines()]
