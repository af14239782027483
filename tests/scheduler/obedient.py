"""A process that answers an engine as a station does, and does nothing: for claims about processes, without TensorFlow.

Run as `python -m tests.scheduler.obedient`, with the arguments of a station.
"""

from __future__ import annotations

import json
import os
import socket
import sys

MISTAKE = {"configuration": 0, "problem": "no such loss", "path": ["loss"]}
ANSWERS = {
    "begin": {"kind": "begun"},
    "release": {"kind": "released"},
    "measure": {"kind": "measured", "problem": MISTAKE},
}


def main(arguments: list[str]) -> None:
    given = dict(zip(arguments[::2], arguments[1::2], strict=False))
    channel = socket.socket(fileno=int(given["--descriptors"]))
    held: list[int] = []
    sys.stdout.write("here I am\n")
    sys.stdout.flush()
    for line in sys.stdin:
        kind = json.loads(line)["kind"]
        if kind == "begin":
            held = socket.recv_fds(channel, 1, 4)[1]
        if kind == "release":
            for one in held:
                os.close(one)
        if kind in ANSWERS:
            os.write(int(given["--events"]), json.dumps(ANSWERS[kind]).encode() + b"\n")
        if kind == "stop":
            return


if __name__ == "__main__":
    main(sys.argv[1:])
