"""Digests of what is stored: SHA-256, written as 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """Return the digest of bytes in memory."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the digest of a file, read in pieces, so memory stays bounded."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
