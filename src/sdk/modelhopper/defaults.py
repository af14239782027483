"""Where results are when nobody says. Light, because the command's options name it."""

from __future__ import annotations

DEFAULT_STORE = "runs"
STORE_VARIABLE = "MODELHOPPER_STORE"  # of the environment: the default of the command's --store
