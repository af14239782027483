"""A pytest plugin with a disk that is soon full."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB and 40 files."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if mount is None or unmount is None:
        pytest.skip("mounting a small file system needs `mount`")
    folder = tmp_path / "disk"
    folder.mkdir()
    command: list[str | Path] = [mount, "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "tmpfs", folder]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run([unmount, folder], check=True)
