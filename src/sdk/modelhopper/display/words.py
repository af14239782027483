"""Numbers in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a time as a person says it: "0.8 s", "42 s", "3 m 12 s", "4 h 25 m", "2 d 3 h"."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for size, unit, smaller, unit_below in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size and whole >= 100:
            return f"{whole // size} {unit} {whole % size // smaller} {unit_below}"
    return f"{whole} s"


def count(items: int, noun: str) -> str:
    """Return a number with its noun: "1 hop", "12 hops"."""
    return f"{items:,} {noun}{'' if items == 1 else 's'}"


def total(items: int, *, is_decided: bool) -> str:
    """Return what all of them come to: "480"; "at least 102" while a search may ask for more."""
    return f"{items:,}" if is_decided else f"at least {items:,}"


def percent(share: float) -> str:
    """Return a share of one: "96 %"."""
    return f"{100 * min(1.0, max(0.0, share)):.0f} %"


def metric(value: float) -> str:
    """Return a metric's value: three decimals where they say something, else three digits."""
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.3g}"


def size(size_bytes: float) -> str:
    """Return a number of bytes as a person says it: "0 B", "12 kB", "3.4 MB", "1.2 GB"."""
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB")):
        if size_bytes >= 10**power:
            return f"{size_bytes / 10**power:.1f} {unit}"
    return f"{size_bytes / 1000:.0f} kB" if size_bytes >= 1000 else f"{size_bytes:.0f} B"
