"""The `modelhopper` command.

What lives here: reading the command line, and saying results and mistakes. What never happens here: a decision that
Python users of `modelhopper` would miss; and nothing heavy is imported before a command needs it, so that
`modelhopper --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, those of the process by default, and return the exit code.

    The codes are `modelhopper_contract.errors.ExitCode`.
    """
    from modelhopper.command.application import application
    from modelhopper.command.ending import exit_code

    given, debug = _without_debug(sys.argv[1:] if arguments is None else arguments)
    return exit_code(lambda: application().main(given, prog_name="modelhopper"), debug=debug)


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take `--debug` out, wherever it stands, so that it can be added to the end of a command that went wrong."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    given = [one for at, one in enumerate(arguments) if one != "--debug" or at > end]
    return given, len(given) < len(arguments) or os.environ.get("MODELHOPPER_DEBUG", "") not in ("", "0")
