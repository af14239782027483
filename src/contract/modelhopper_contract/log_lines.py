"""What is worth reading in a station's log file."""

from __future__ import annotations

import re

# TensorFlow says these at every start, whatever its log level, and nothing follows from them.
_NOTICE = re.compile(r"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} .*oneDNN custom operations")


def last_lines(log: str, count: int) -> list[str]:
    """Return the last lines of a log file's text, without TensorFlow's notices."""
    return [line for line in log.splitlines() if not _NOTICE.match(line)][-count:]
