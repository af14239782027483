"""Being stopped: Ctrl-C by a person, SIGTERM by a scheduler."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from modelhopper_contract.errors import ExitCode


class Stopped(KeyboardInterrupt):
    """The process was asked to stop."""

    def __init__(self, exit_code: ExitCode) -> None:
        super().__init__()
        self.exit_code = exit_code


@contextmanager
def stoppable(on_stop: Callable[[], None]) -> Iterator[None]:
    """Turn signals into Stopped while the body runs; `on_stop` is called first, as stopping can take seconds."""
    codes = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.RETRYABLE}

    def stop(number: int, _: FrameType | None) -> None:
        on_stop()
        raise Stopped(codes[signal.Signals(number)])

    # A signal that is ignored, as under nohup, stays so; and only the main thread may set handlers.
    is_main = threading.current_thread() is threading.main_thread()
    before = {one: signal.getsignal(one) for one in codes if is_main and signal.getsignal(one) is not signal.SIG_IGN}
    try:
        for one in before:
            signal.signal(one, stop)
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
