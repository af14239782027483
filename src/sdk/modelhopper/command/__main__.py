"""`python -m modelhopper.command` is the command `modelhopper`."""

from __future__ import annotations

import sys

from modelhopper.command import main

if __name__ == "__main__":
    sys.exit(main())
