"""Numbers and a run's frame in words."""

from __future__ import annotations

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """Return a time as a person says it: "0.8 s", "42 s", "3 m 12 s", "4 h 25 m", "2 d 3 h"."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    for limit_s, big, small, big_s, small_s in (
        (3600, "m", "s", 60, 1),
        (86400, "h", "m", 3600, 60),
        (float("inf"), "d", "h", 86400, 3600),
    ):
        if whole < limit_s:
            break
    return f"{whole // big_s} {big} {whole % big_s // small_s} {small}"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: "1 hop", "12 hops"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share of one: "96 %"."""
    return f"{100 * min(1.0, max(0.0, share)):.0f} %"


def metric(value: float) -> str:
    """Return a metric's value: three decimals where they say something, else three digits."""
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def on_devices(gpus: Sequence[str | None]) -> str:
    """Return where a run trains: "2 stations", "4 GPUs", "4 stations that share 2 GPUs"."""
    different = len({gpu for gpu in gpus if gpu is not None})
    if different == 0:
        return count(len(gpus), "station")
    if different == len(gpus):
        return count(different, "GPU")
    return f"{count(len(gpus), 'station')} that share {count(different, 'GPU')}"


def headline(name: str, configurations: int, iterations: int, shards: int, where: str) -> str:
    """Return a run's frame in one line, ending with its number of hops."""
    parts = [count(configurations, "configuration"), count(iterations, "iteration"), count(shards, "shard")]
    hops = count(configurations * iterations * shards, "hop")
    return f"{name}: {', '.join(parts)}: {hops}{f' on {where}' if where else ''}"
