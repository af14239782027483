"""The schedule, on a simulated clock: makespan over the lower bound, against MADlib and Cerebro; weak scaling; speed.

python benchmarks/schedule.py [--repeats N] [--write]     a repeat is a seed of costs and jitter
"""

import time
from random import Random
from statistics import mean

from page import Row, Section, main
from schedules import Found, lock_step, random_dispatch

from modelhopper_contract.decisions import Start
from modelhopper_contract.metrics import Metric
from modelhopper_contract.ring import Ring
from modelhopper_scheduler.offsets import offsets
from modelhopper_scheduler.simulation.curves import Modelled
from modelhopper_scheduler.simulation.engine import Conditions, simulate
from modelhopper_scheduler.simulation.play import Together

STATIONS, ITERATIONS, JITTER = (8, 16, 32), 10, 0.2
PER_STATION = (1, 1.5, 2, 3, 4, 8)
SCALED, SCALED_PER_STATION, SCALED_ITERATIONS = (4, 16, 64, 256, 1024), 4, 2
METRIC = Metric("validation", "accuracy", lower_is_better=False)


def section(repeats):
    """Simulate the schedule beside MADlib's and Cerebro's, and with up to 1,024 stations."""
    tables, rows = [], []
    for kind, jitter, target in (
        ("equal", 0, 1.05),
        ("mixed", 0, 1.05),
        ("equal", JITTER, 1.10),
        ("mixed", JITTER, 1.15),
    ):
        found = [(per, cases(kind, jitter, per, repeats)) for per in PER_STATION]
        rows.append(summary(kind, jitter, target, found))
        tables += table(kind, jitter, found)
    scaling, lines = weak_scaling()
    return Section("schedule", [*rows, *scaling], [ABOUT, *tables, *estimates(repeats), *lines])


ABOUT = (
    f"Ours is the simulated engine of `modelhopper simulate`: {', '.join(map(str, STATIONS))} stations, as many "
    f"shards, {ITERATIONS} iterations, evaluation free of charge. Mixed costs are drawn per configuration, "
    "log-uniform from 1 to 8. With jitter each hop's time is its configuration's cost times a log-normal factor "
    f"of mean 1 and standard deviation {JITTER}. The bound is max(all work / stations, the longest configuration), "
    "of the times that were drawn: no schedule can beat it, and often none can reach it. MADlib's lock step and "
    "Cerebro's random dispatch with a barrier after each epoch (`benchmarks/schedules.py`) are given the same "
    "costs, the same draws and no overhead."
)


def cases(kind, jitter, per_station, seeds):
    """Return the ratio to the bound of each number of stations and seed, of each schedule."""
    found = {"ours": [], "MADlib": [], "Cerebro": []}
    for stations in STATIONS:
        for seed in range(seeds):
            drawn = costs(kind, int(stations * per_station), seed)
            for name, schedule in (("ours", ours), ("MADlib", lock_step), ("Cerebro", random_dispatch)):
                found[name].append(schedule(drawn, stations, ITERATIONS, jitter, seed).ratio)
    return found


def costs(kind, count, seed):
    draws = Random(seed)
    return [8 ** draws.random() if kind == "mixed" else 1.0 for _ in range(count)]


def ours(drawn, stations, iterations, jitter=0.0, seed=0):
    run = played(Together([{} for _ in drawn], iterations), drawn, stations, iterations, jitter, seed)
    return Found(run.makespan_s, run.bound_s)


def played(search, drawn, stations, iterations, jitter, seed):
    conditions = Conditions(stations, dict(enumerate(drawn, start=1)), jitter=jitter, seed=seed)
    return simulate(search, METRIC, Ring(stations, iterations, iterations), conditions, Modelled(METRIC, 0))


def summary(kind, jitter, target, found):
    """Return the row of the page: the worst of all cases from 1.5 configurations per station on."""
    worst = {name: max(max(each[name]) for per, each in found if per >= 1.5) for name in ("ours", "MADlib", "Cerebro")}
    times = f"{jitter:.0%} jitter" if jitter else "exact times"
    return Row(
        f"makespan over the lower bound, {kind} costs, {times}, 1.5 to 8 configurations per station, worst case",
        f"{worst['ours']:.3f}",
        f"MADlib {worst['MADlib']:.2f}, Cerebro {worst['Cerebro']:.2f}",
        f"{worst['ours'] / min(worst['MADlib'], worst['Cerebro']):.2f}",
        f"at most {target:.2f}",
        worst["ours"] <= target,
    )


def table(kind, jitter, found):
    times = f"with {jitter:.0%} jitter" if jitter else "with exact times"
    return [
        "",
        f"{kind.capitalize()} costs, {times}, mean (worst):",
        "",
        "| configurations per station | modelhopper | MADlib | Cerebro |",
        "|---|---|---|---|",
        *[f"| {per:g} | {' | '.join(f'{mean(r):.3f} ({max(r):.3f})' for r in each.values())} |" for per, each in found],
    ]


class Misjudged(Together):
    """The same with offsets that were dealt by estimates of the costs which are wrong."""

    def __init__(self, choices, iterations, estimates, shards):
        super().__init__(choices, iterations)
        object.__setattr__(self, "dealt", offsets(estimates, shards))

    def start(self, past):
        return [Start(**{**one.model_dump(), "offset": self.dealt[one.configuration]}) for one in super().start(past)]


def estimates(seeds):
    """Say what wrong estimates cost: each is off by a factor between 1/3 and 3."""
    found = []
    for per in PER_STATION[1:]:
        ratios = []
        for stations in STATIONS:
            for seed in range(seeds):
                drawn, draws = costs("mixed", int(stations * per), seed), Random(seed + 1000)
                wrong = {n: cost * 9 ** (draws.random() - 0.5) for n, cost in enumerate(drawn, start=1)}
                search = Misjudged([{} for _ in drawn], ITERATIONS, wrong, stations)
                run = played(search, drawn, stations, ITERATIONS, JITTER, seed)
                ratios.append(run.makespan_s / run.bound_s)
        found.append(f"{mean(ratios):.3f} ({max(ratios):.3f})")
    return [
        "",
        "Where a configuration enters the ring comes from an estimate of its cost. Mixed costs with jitter again, "
        "with estimates that are off by up to a factor of 3 either way: "
        + ", ".join(f"{text} for {per:g}" for per, text in zip(PER_STATION[1:], found, strict=True))
        + " configurations per station.",
    ]


def weak_scaling():
    lines = [
        "",
        "| stations | configurations | hops | efficiency | simulated hops per second |",
        "|---|---|---|---|---|",
    ]
    efficiency, speed = {}, 0.0
    for stations in SCALED:
        drawn = [1.0] * (stations * SCALED_PER_STATION)
        began = time.process_time()
        run = played(Together([{} for _ in drawn], SCALED_ITERATIONS), drawn, stations, SCALED_ITERATIONS, JITTER, 0)
        speed = run.hops / (time.process_time() - began)
        efficiency[stations] = run.busy
        lines.append(f"| {stations:,} | {len(drawn):,} | {run.hops:,} | {run.busy:.3f} | {speed:,.0f} |")
    worst = min(efficiency.values())
    row = Row(
        f"weak scaling, simulated {SCALED[0]} to {SCALED[-1]:,} stations, {SCALED_PER_STATION} configurations per "
        f"station, {JITTER:.0%} jitter, worst",
        f"{worst:.3f} of linear",
        f"{SCALED[-1]:,} stations: {efficiency[SCALED[-1]]:.3f}",
        f"{efficiency[SCALED[-1]] / efficiency[SCALED[0]]:.2f}",
        "at least 0.95",
        worst >= 0.95,
    )
    about = (
        "Weak scaling: as many shards as stations, and "
        f"{SCALED_PER_STATION} configurations per station, equal costs, {JITTER:.0%} jitter, {SCALED_ITERATIONS} "
        "iterations. Efficiency is the work done per station and time, by that of one station alone, which never waits."
    )
    engine = f"the simulated engine, {SCALED[-1]:,} stations"
    return [row, Row(engine, f"{speed:,.0f} hops per second", "", "", "", reached=True)], ["", about, *lines]


if __name__ == "__main__":
    main(section, repeats=5)
