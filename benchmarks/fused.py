"""Configurations trained side by side, by one compiled step, against one after another, by one compiled step each.

python benchmarks/fused.py [--repeats N] [--write]
"""

from measure import in_child
from page import Row, Section, main
from works_fused import WORKS

INTRODUCTION = [
    "A pass over one shard, warm, on one thread: seeds and the order of rows drawn, every row trained on, losses read.",
    "Alone: one configuration after another, each by the program that they share. Fused: the same ones side by side.",
    "Stacking and taking apart states is not in it; `compiled` is what tracing and compiling takes, once in a station.",
    "",
    "| work | configurations | rows | alone, s | fused, s | ratio | compiled alone, s | compiled fused, s |",
    "|---|---|---|---|---|---|---|---|",
]


def section(repeats):
    """Training side by side: passes over a shard, alone and fused."""
    rows, details = [], list(INTRODUCTION)
    for name, (_, _, _, count, _, size, target) in WORKS.items():
        found = in_child("side_by_side", name, str(repeats))
        ratio = found["alone"] / found["fused"]
        rows.append(
            Row(
                f"fused: {count} configurations of {name}",
                f"{found['fused'] * 1e3:.1f} ms",
                f"one after another, {found['alone'] * 1e3:.1f} ms",
                f"{ratio:.1f}x",
                f"at least {target}x" if target else "",
                target is None or ratio >= target,
            )
        )
        details.append(
            f"| {name} | {count} | {size} | {found['alone']:.4f} | {found['fused']:.4f} | {ratio:.1f} "
            f"| {found['compiled alone']:.1f} | {found['compiled fused']:.1f} |"
        )
    return Section("fused", rows, [*details, ""])


if __name__ == "__main__":
    main(section)
