"""A warm pass over a shard against Keras' fit for one epoch, one thread each: python benchmarks/warm.py [--write]."""

from measure import in_child
from page import Row, Section, main

WORKS = [
    ("iris_mlp", "warm pass over 30 rows, iris MLP, batch 4", 20),
    ("table_mlp", "warm pass over 12,500 rows x 28, MLP of 50,689 parameters, batch 32", 1.5),
    ("image_cnn", "warm pass over 2,500 images 32x32x3, small CNN, batch 32", 1.5),
]
ABOUT = [
    "One pass over a shard by the compiled program, with the state put in and taken out as at a hop, against",
    "`model.fit` for one epoch with Keras' own choice of XLA. Both use one thread, in one process, after a first pass",
    "that compiles. They take turns of three passes, and the shortest pass counts.",
]


def section(repeats):
    """Time the warm pass, `repeats` times each in a process of its own."""
    return Section("warm", [row(repeats, *work) for work in WORKS], ABOUT)


def row(repeats, model, work, target):
    """A row of the best of each over all processes."""
    found = [in_child("subepoch", model) for _ in range(repeats)]
    ours, keras = (min(one[side] for one in found) for side in ("ours", "keras"))
    shown = f"{ours * 1e3:.1f} ms", f"Keras' fit: {keras * 1e3:.1f} ms", f"{keras / ours:.2f}x"
    return Row(work, *shown, f"at least {target}x", reached=keras / ours >= target)


if __name__ == "__main__":
    main(section, repeats=1)
