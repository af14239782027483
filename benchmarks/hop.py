"""What a hop costs beside training, phase by phase, and what of it a device that trains for a second has to wait for.

python benchmarks/hop.py [--repeats N] [--write]     MinIO is measured where `make minio` has built it
"""

import contextlib
import hashlib
import io
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import numpy as np
from measure import ROOT, interleaved
from page import Row, Section, main

import modelhopper as mh
from modelhopper.running import make_ready, run_job
from modelhopper_contract import checkpoint
from modelhopper_contract.experiment import Model
from modelhopper_contract.manifest import Input, Manifest, Output
from modelhopper_contract.messages import Started, Trained
from modelhopper_contract.records import Configuration, HopRecord
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.durability import put_soft

HERE = Path(__file__).parent
SIZES = {0.2: 218, 10: 1576, 500: 11_176}  # megabytes of weights: units of each of two layers
RECORD = HopRecord(configuration=1, hop=1, shard=0, steps=40, loss=0.25)
TOKEN = b'{"action":"train","configuration":1,"hop":1,"until":null}'
IDLE_TARGET = 0.05


def section(repeats):
    """Hop overhead by phase, and the idle share of a device whose sub-epochs take a second."""
    rows, details = [], []
    with tempfile.TemporaryDirectory() as folder, minio(Path(folder)) as bucket:
        stores = {"directory": str(Path(folder, "store")), **({"MinIO": bucket} if bucket else {})}
        for kind, url in stores.items():
            found = [idle_share(Path(folder), f"{url}-{turn}") for turn in range(2)]
            rows.append(idle_row(kind, min(found, key=lambda one: one["share"])))
        moved = {size: on_the_device(size, repeats) for size in SIZES}
        for kind, url in stores.items():
            for size, (data, phases) in moved.items():
                times = in_store(Path(folder), url, data, few(size, repeats)) | phases
                rows.append(whole_row(kind, size, times))
                details += table(kind, size, times)
        details += tokens_table({kind: tokens(url, repeats) for kind, url in stores.items()})
    return Section("hop", rows, [*INTRODUCTION, *details, *([] if bucket else [NO_MINIO])])


INTRODUCTION = [
    "Each phase beside what the machine needs for as many bytes: a file read into memory that is there (get), SHA-256",
    "alone (check, serialise), a copy in memory (load, read), a file written, flushed, renamed (put to a folder), and",
    "bytes through a loopback socket (get from and put to MinIO, which also digests them and writes them to its disk).",
    "The phases are measured one after another. At a station, reading threads get and check, and a writing thread",
    "serialises and puts, while the device trains: only load, read, and a look into the inbox are left to it.",
    "",
    "Idle share: one station, three configurations of 10 MB, sub-epochs of about a second on one CPU thread, while the",
    "other threads have a core; the part of the time from the first to the last hop in which no hop trained.",
    "",
]
NO_MINIO = "MinIO was not measured: `make minio` builds it."


# --- Phases -----------------------------------------------------------------------------------------------------------


def on_the_device(size, repeats):
    """Return a checkpoint of `size` megabytes, and the times of what needs no store: {phase: (ours, against)}."""
    program = program_of(SIZES[size])
    state = program.read()
    data = checkpoint.to_bytes(state, RECORD)
    views = checkpoint.from_bytes(data, "c").state
    arrays = list(state.values())
    there = [np.empty_like(array) for array in arrays]
    best = interleaved(
        few(size, repeats),
        block=3,
        load=lambda: program.load(views),
        read=program.read,
        serialise=lambda: checkpoint.to_bytes(state, RECORD),
        check=lambda: checkpoint.from_bytes(data, "c"),
        copy=lambda: [np.copyto(to, array) for to, array in zip(there, arrays, strict=True)],
        sha256=lambda: [hashlib.sha256(array) for array in arrays],
    )
    against = {"check": "sha256", "load": "copy", "read": "copy", "serialise": "sha256"}
    return data, {phase: (best[phase], best[other]) for phase, other in against.items()}


def in_store(folder, url, data, repeats):
    """Return the times of get and put, beside those of the disk or of a loopback socket."""
    store, path, room = open_store(url), folder / "plain", bytearray(len(data))
    store.put("object", data)
    path.write_bytes(data)

    def read():
        with path.open("rb", buffering=0) as file:
            file.readinto(room)

    def write():
        new = path.with_name("new")
        with new.open("wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        new.replace(path)

    local = not url.startswith("s3:")
    best = interleaved(
        repeats,
        get=lambda: store.get("object"),
        read=read if local else lambda: through_loopback(data, room),
        put=lambda: store.put("object", data),
        write=write if local else lambda: through_loopback(data, room),
    )
    store.delete("object")
    path.unlink()
    return {"get": (best["get"], best["read"]), "put": (best["put"], best["write"])}


def tokens(url, repeats):
    """Return the times of the small things, in seconds."""
    store = open_store(url)
    for number in range(8):
        put_soft(store, f"e/inbox/00000/0000{number}-train-00000001", TOKEN)
    best = interleaved(
        max(repeats, 5),
        block=10,
        put=lambda: put_soft(store, "e/inbox/00001/00001-train-00000001", TOKEN),
        list=lambda: store.list("e/inbox/00000/"),
        delete=lambda: store.delete("e/inbox/00001/00001-train-00000001"),
    )
    return best | {"notice": statistics.median(notice(store) for _ in range(5 * max(repeats, 3)))}


def notice(store):
    """Return how long after a token was put a station that waits has it in its listing."""
    from modelhopper_trainer.ear import Ear  # noqa: PLC0415 -- after TensorFlow's settings

    ear, folder = Ear(io.BytesIO()), f"e/inbox/{uuid.uuid4().hex}/"
    seen, started = [], threading.Event()

    def wait():
        looks = 0
        started.set()
        while not store.list(folder):
            ear.wait(looks)
            looks += 1
        seen.append(time.perf_counter())

    waiting = threading.Thread(target=wait)
    waiting.start()
    started.wait()
    time.sleep(random.uniform(0.05, 0.15))
    put_soft(store, folder + "token", TOKEN)
    put_s = time.perf_counter()
    waiting.join()
    return max(0.0, seen[0] - put_s)


def program_of(units):
    """Return a compiled model with two layers of so many units, 4 bytes for each of its numbers."""
    from modelhopper_trainer.assembly import assemble  # noqa: PLC0415 -- TensorFlow starts here
    from modelhopper_trainer.device import configure  # noqa: PLC0415
    from modelhopper_trainer.program import make_program  # noqa: PLC0415

    configure(threads=1, gpu=False, deterministic=True)
    classes = Output(name="y", kind="classes", shape=(), dtype="uint8", classes=(0, 1, 2), num_classes=3)
    x = Input(name="x", shape=(4,), dtype="float32")
    manifest = Manifest(inputs=(x,), outputs=(classes,), normalize=1.0, seed=0, rows=1, shards=())
    compiled = {"optimizer": {"name": "SGD"}, "loss": "categorical_crossentropy", "metrics": []}
    fit = {"batch_size": 32, "epochs": 1, "shuffle": True, "class_weight": None}
    given = Configuration(number=1, name="", model="m", parameters={"units": units}, compile=compiled, fit=fit)
    return make_program(assemble(given, Model(build="models.py:square_mlp", units=units), manifest, 0, HERE))


def through_loopback(data, room):
    """Send bytes through a TCP connection of this machine, into memory that is there."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver = server.accept()[0]
        thread = threading.Thread(target=sender.sendall, args=(data,))
        thread.start()
        view = memoryview(room)
        with receiver:
            while view:
                view = view[receiver.recv_into(view) :]
        thread.join()


def few(size, repeats):
    return min(2, repeats) if size > 100 else repeats * 3


# --- The idle share ---------------------------------------------------------------------------------------------------


def idle_share(folder, url):
    """Train three configurations of 10 MB at one station; return the idle share, and seconds of a hop."""
    data = folder / "data"
    if not data.exists():
        generator = np.random.default_rng(0)
        mh.pack((generator.normal(size=(2_048, 4)), np.arange(2_048) % 3), data, shards=1, seed=1)
    experiment = mh.Experiment(
        name="idle",
        data=mh.Data(train=str(data)),
        models={"model": {"build": f"{HERE}/models.py:square_mlp", "units": SIZES[10]}},
        compile={"loss": "categorical_crossentropy"},
        search=mh.Grid(optimizer=[{"name": "SGD", "learning_rate": [0.01, 0.02, 0.03]}], batch_size=[32]),
        iterations=5,
        evaluate_every=5,
        devices={"stations": 1, "kind": "cpu"},
    )
    events = []
    run_job(make_ready(experiment, folder, store=url), events.append)
    assert any(isinstance(event, Started) for event in events)
    hops = sum(isinstance(event, Trained) for event in events)
    stays = sorted(mh.Run(open_store(url), "idle").reader.stays(), key=lambda stay: stay.started_s)
    assert hops == len(stays) == 15, (hops, len(stays))
    warm = stays[3:]  # the first of all compiles
    span_s = warm[-1].started_s - warm[0].started_s
    train_s = sum(stay.train_s for stay in warm[:-1])
    return {"share": 1 - train_s / span_s, "hop_s": span_s / (len(warm) - 1)}


# --- Rows and tables --------------------------------------------------------------------------------------------------


def idle_row(kind, found):
    share = found["share"]
    work = f"device idle, 10 MB model, sub-epochs of about a second, {kind}"
    measured, against = f"{share:.1%}", f"a hop of {found['hop_s']:.2f} s"
    return Row(work, measured, against, "", f"under {IDLE_TARGET:.0%}", share < IDLE_TARGET)


def whole_row(kind, size, times):
    ours, against = (sum(pair[side] for pair in times.values()) for side in (0, 1))
    work = f"hop of {size} MB, all phases one after another, {kind}"
    return Row(work, ms(ours), f"{ms(against)} for the bytes alone", f"{ours / against:.1f}x", "", reached=True)


def table(kind, size, times):
    """Return a table of phases in the order of a hop."""
    lines = [f"#### {size} MB, {kind}", "", "| phase | ms | the bytes alone, ms | ratio |", "|---|---|---|---|"]
    for phase in ("get", "check", "load", "read", "serialise", "put"):
        ours, against = times[phase]
        lines.append(f"| {phase} | {ours * 1e3:.2f} | {against * 1e3:.2f} | {ours / against:.1f}x |")
    return [*lines, ""]


def tokens_table(found):
    lines = ["#### Tokens", "", f"| | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    words = {
        "put": "put a token",
        "list": "list an inbox of eight",
        "delete": "delete a token",
        "notice": "a station that waits notices one",
    }
    for name, what in words.items():
        lines.append(f"| {what} | {' | '.join(ms(times[name]) for times in found.values())} |")
    return [*lines, ""]


def ms(seconds):
    return f"{seconds * 1e3:,.2f} ms" if seconds < 0.1 else f"{seconds * 1e3:,.0f} ms"


@contextlib.contextmanager
def minio(folder):
    """Start a MinIO with a bucket and yield its URL, with the environment set to reach it; None where there is none."""
    sys.path.insert(0, str(ROOT))
    from tests.servers import KEY, REGION, SECRET, MinioServer, find_minio, new_bucket  # noqa: PLC0415 -- not installed

    binary = find_minio()
    if binary is None:
        yield None
        return
    (folder / "minio").mkdir()
    server = MinioServer(binary, folder / "minio")
    server.start()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
    }
    try:
        yield f"s3://{new_bucket(server)}/runs"
    finally:
        server.stop()


if __name__ == "__main__":
    main(section)
