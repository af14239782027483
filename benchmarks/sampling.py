"""Where the time of all threads of a process goes, by looking at them again and again. Costs about a hundredth."""

import sys
import threading
from collections import Counter
from contextlib import contextmanager

PERIOD_S = 0.005
_WAITING = ("threading.py", "_base.py", "thread.py", "queue.py")


@contextmanager
def sampled(package):
    """Yield a counter that, afterwards, has the looks at which a thread was in each function of `package`.

    A function counts where it is the innermost of the package: what it calls elsewhere, numpy say, is its own. Threads
    that wait for others count as waiting.
    """
    found, over = Counter(), threading.Event()

    def look():
        mine = threading.get_ident()
        while not over.wait(PERIOD_S):
            for thread, frame in sys._current_frames().items():  # noqa: SLF001 -- documented, for debuggers
                if thread != mine and (name := _innermost(frame, package)) is not None:
                    found[name] += 1

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def _innermost(frame, package):
    waits = frame.f_code.co_filename.endswith(_WAITING)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(package):
            return "waiting for another thread" if waits else frame.f_code.co_qualname
        frame = frame.f_back
    return None
