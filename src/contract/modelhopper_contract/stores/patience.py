"""How long to try a store that does not answer: exponential back-off with jitter, and an end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """The bounds of trying again. By default 5 tries in about 12 s.

    A server that takes a connection and then never answers is tried twice, for `read_s` each.
    """

    tries: int = 5
    first_wait_s: float = 0.8  # doubles with each try: 0.8, 1.6, 3.2, 6.4
    total_s: float = 12.0  # no further try begins later than this, once there were two
    connect_s: float = 5.0
    read_s: float = 30.0  # without a single byte

    def wait_s(self, tried: int, chance: float) -> float:
        """Return the seconds to wait after `tried` tries; `chance` in [0, 1) keeps clients from coming in step."""
        return self.first_wait_s * 2.0 ** (tried - 1) * (0.75 + chance / 2)

    def is_over(self, tried: int, since_s: float) -> bool:
        """Say whether to give up after `tried` tries, the first of which began `since_s` ago."""
        return tried >= self.tries or (tried >= 2 and since_s >= self.total_s)
