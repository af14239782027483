"""A child process that copies a growing file to its standard output, until whoever started it is gone.

It lives on when its parent is killed or aborts, and so passes on the last words, which the parent no longer can. Run as
a plain script, because then it starts in a few milliseconds.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

_PERIOD_S = 0.1
_PIECE_BYTES = 1 << 16


def forward(path: Path, life: int, out: int) -> None:
    """Copy `path` to the descriptor `out` until `life`, the read end of a pipe, is at its end."""
    is_alive = True
    with path.open("rb", buffering=0) as file:
        while True:
            data = file.read(_PIECE_BYTES)
            if data:
                _write(out, data)
            elif not is_alive:
                return
            else:
                is_alive = not select.select([life], [], [], _PERIOD_S)[0]


def _write(out: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(out, rest) :]


if __name__ == "__main__":
    forward(Path(sys.argv[1]), life=0, out=1)
