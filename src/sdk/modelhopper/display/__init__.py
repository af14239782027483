"""What a user sees of a run while it goes on.

What lives here: how far a run is, as a pure fold over events, and two ways to show it: live in a terminal, or as plain
lines. What never happens here: reading or writing the store, or starting anything.
"""

from __future__ import annotations
