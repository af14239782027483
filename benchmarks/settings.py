"""Tries the competitors' settings, a whole process each: python benchmarks/settings.py [--repeats N] [--write].

Put the fastest of them into works.py: what stands there was chosen from few runs.
"""

import json
import tempfile
from pathlib import Path

from comparison import NAMES, Place, told, turns
from page import Section, main
from works import WORKS

PLAIN = {"jit_compile": False}
KERAS = [
    {},
    PLAIN,
    PLAIN | {"steps_per_execution": 16},
    PLAIN | {"steps_per_execution": 64},
    {"jit_compile": True, "steps_per_execution": 16},
    PLAIN | {"feed": "tf.data"},
    PLAIN | {"feed": "tf.data", "steps_per_execution": 16},
    PLAIN | {"feed": "tf.data", "steps_per_execution": 16, "clear": True},
]
ACTORS = [{"keep": False}, {"keep": True}, {"keep": True, "threads": 2}]
ABOUT = [
    "Whole processes, as in the comparisons; the shortest of the turns. The defaults are Keras': `jit_compile=auto`,",
    "which is XLA wherever the model allows it, a step per execution, and NumPy arrays. Ray's lines have the settings",
    "that are used for sequential Keras, and besides: `keep`, an actor keeps its compiled models; `threads`, of an",
    "actor's TensorFlow. The last two lines, `training=False`, say what it would be if the competitors evaluated the",
    "validation data only, and not the training data, as modelhopper does.",
]


def section(repeats):
    """Try the settings of sequential Keras and of Ray Tune on every work."""
    details = list(ABOUT)
    for work in WORKS.values():
        details += ["", f"#### Settings for {work.name}", "", *tried(work, repeats)]
    return Section("settings", [], details)


def tried(work, repeats):
    """Return a table of what was tried for a work."""
    choices = [("keras", one) for one in KERAS] + [("ray", work.keras | one) for one in ACTORS] + [("ray", work.ray)]
    choices += [(rival, getattr(work, rival) | {"training": False}) for rival in ("keras", "ray")]
    with tempfile.TemporaryDirectory() as folder:
        place = Place(work, Path(folder))
        place.pack()
        tasks = {
            json.dumps([rival, one]): lambda rival=rival, one=one: getattr(place, rival)(alone(one))
            for rival, one in choices
        }
        times, _ = turns(repeats, tasks)
    lines = [
        f"| {NAMES[rival]} | {told(one)} | {min(times[json.dumps([rival, one])]):.1f} s |" for rival, one in choices
    ]
    return ["| side | settings | time |", "|---|---|---|", *lines]


def alone(settings):
    """Return settings that leave nothing of the work's own."""
    nothing = {"jit_compile": "auto", "steps_per_execution": 1, "feed": "numpy", "clear": False}
    return nothing | settings


if __name__ == "__main__":
    main(section, repeats=1)
