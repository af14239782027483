"""Where results are when nobody says. Light, because the command's options name it."""

from __future__ import annotations

DEFAULT_STORE = "runs"
