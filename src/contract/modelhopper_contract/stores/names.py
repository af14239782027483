"""Which names an object may have: one rule for every store, so that what one store takes every store takes.

The limits are the narrowest of a Linux file system, MinIO and S3. A name that passes cannot lead out of a directory.
"""

from __future__ import annotations

import re

from modelhopper_contract.errors import UserError

MAX_NAME_BYTES = 768  # S3 allows 1,024 for a store's prefix and the name together
MAX_PART_BYTES = 255  # of Linux file systems, and of MinIO, which stores each part as a folder
SCRATCH = ".tmp"  # where the directory store writes before it renames

_ALLOWED = (
    "Allowed: parts separated by `/`, none of them empty, `.` or `..`, none with a space at its ends; no control "
    f"character, no backslash; at most {MAX_NAME_BYTES} bytes, {MAX_PART_BYTES} per part."
)
_FORBIDDEN_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff\ufffe\uffff]")


def is_name(name: str) -> bool:
    """Say whether an object may have this name."""
    return not _fault(name)


def check_name(name: str) -> None:
    """Raise UserError, saying what is wrong, when no object may have this name."""
    if fault := _fault(name):
        raise UserError(f"{_shown(name)} cannot be the name of an object: {fault}. {_ALLOWED}")


def check_prefix(prefix: str) -> None:
    """Raise UserError when no object's name can begin with `prefix`; "" is the beginning of all."""
    folder, slash, beginning = prefix.rpartition("/")
    fault = (_fault(folder) if slash else "") or _fault_of_characters(beginning)
    if fault:
        raise UserError(f"{_shown(prefix)} cannot be the beginning of an object's name: {fault}. {_ALLOWED}")


def _fault(name: str) -> str:
    """Say in words what is wrong with the name; "" when nothing is."""
    if fault := _fault_of_characters(name):
        return fault
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"it has {len(name.encode()):,} bytes"
    parts = name.split("/")
    if parts[0] == SCRATCH:
        return f"`{SCRATCH}` is kept for files that are being written"
    return next((fault for part in parts if (fault := _fault_of_part(part))), "")


def _fault_of_characters(text: str) -> str:
    found = _FORBIDDEN_CHARACTER.search(text)
    return f"it has the character U+{ord(found.group()):04X}" if found else ""


def _fault_of_part(part: str) -> str:
    if not part:
        return "it has an empty part"
    if part in {".", ".."}:
        return f"it has the part `{part}`"
    if part != part.strip():  # MinIO strips a part before it looks for `..`
        return "a part begins or ends with a space"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"a part has {len(part.encode()):,} bytes"
    return ""


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:80] + "…")
