"""What benchmarks/gpu.py lets processes of their own measure; each prints JSON."""

import json
import subprocess
import sys

import keras
from measure import interleaved
from subepoch import WORK, assembled, made_up, ours

from modelhopper_trainer.blueprint import blueprint
from modelhopper_trainer.device import configure
from modelhopper_trainer.feeding import Feed
from modelhopper_trainer.fused import FusedProgram
from modelhopper_trainer.hop import HopTask, run_hop, run_hops
from modelhopper_trainer.program import make_program


def name(device):
    if device == "cpu":
        return "a CPU"
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.splitlines()
    return listed[0].partition(" (UUID")[0] if listed else "a GPU"


def passes(device, work, deterministic, repeats):
    set_up(device, deterministic=deterministic)
    rows, shape, dtype, classes, batch_size, *_ = WORK[work]
    x, y = made_up(rows, shape, dtype, classes)
    model = assembled(work).model
    scaled = x.astype("float32") / (255.0 if dtype == "uint8" else 1.0)
    targets = y[:, None].astype("float32") if classes == 2 else keras.utils.to_categorical(y, classes)
    run_ours = ours(work, x, y)

    def run_keras():
        model.fit(scaled, targets, batch_size=batch_size, epochs=1, verbose=0)

    run_ours(), run_keras()  # both warm
    return interleaved(repeats, block=3, ours=run_ours, keras=run_keras)


def ways(device, work, given, repeats):
    """Return seconds of a pass, whether it gives the same bytes again, or the error, for each way."""
    set_up(device)
    feed = shard(work)

    def attempt(way):
        assembly = assembled(work, **way)
        program, task = make_program(assembly), HopTask(0, assembly.configuration, 0, 0)
        state = program.read()

        def once():
            program.load(state)
            run_hop(program, feed, task, 0)
            return [program.read()]

        return once

    return measured([lambda way=way: attempt(way) for way in given], repeats)


def sizes(device, work, lanes, repeats):
    """Return the same for one configuration alone, and for one of each number of lanes."""
    set_up(device)
    feed, assembly = shard(work), assembled(work)
    single, numbers = make_program(assembly), blueprint(assembly).numbers
    state = single.read()
    tasks = [
        HopTask(0, assembly.configuration.model_copy(update={"number": at}), 0, 0) for at in range(1, max(lanes) + 1)
    ]

    def alone():
        single.load(state)
        run_hop(single, feed, tasks[0], 0)
        return [single.read()]

    def attempt(count):
        program = FusedProgram(assembly, count)

        def once():
            program.load([state] * count, [numbers] * count)
            run_hops(program, feed, tasks[:count], [0] * count)
            return program.read()

        return once

    return measured([lambda: alone, *[lambda count=count: attempt(count) for count in lanes]], repeats)


def set_up(device, *, deterministic=True):
    configure(threads=1, gpu=device == "gpu", deterministic=deterministic)


def shard(work):
    rows, shape, dtype, classes, *_ = WORK[work]
    x, y = made_up(rows, shape, dtype, classes)
    return Feed({"x": x, "y": y}, rows)


def measured(attempts, repeats):
    """Return, for each attempt, seconds of a state's pass and whether it repeats its bytes, or an error."""
    found, tasks, counts = [], {}, {}
    for at, attempt in enumerate(attempts):
        try:
            once = attempt()
            one, other = once(), once()
        except Exception as error:  # noqa: BLE001 -- whatever this device cannot do is told in the table
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            found.append({"error": lines[0][:80], "seconds": None, "is_same": None})
            continue
        found.append({"error": None, "seconds": None, "is_same": bytes_of(one) == bytes_of(other)})
        tasks[str(at)], counts[str(at)] = once, len(one)
    for at, seconds in interleaved(repeats, block=3, **tasks).items():
        found[int(at)]["seconds"] = seconds / counts[at]
    return found


def bytes_of(states):
    return [[array.tobytes() for array in state.values()] for state in states]


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*json.loads(sys.argv[2]))))
