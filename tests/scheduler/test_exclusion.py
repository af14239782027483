"""One engine of this machine runs an experiment at a time."""

from __future__ import annotations

import fcntl
import os

import pytest

from modelhopper_contract.errors import ConflictError
from modelhopper_scheduler import exclusion
from modelhopper_scheduler.exclusion import exclusive


def test_a_second_run_is_refused_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(exclusion, "_PATIENCE_S", 0.0)
    url = f"memory:{tmp_path}"
    with exclusive(url, "iris"):
        with pytest.raises(ConflictError, match="iris is being run by another process"), exclusive(url, "iris"):
            pass
        with exclusive(url, "other"), exclusive(url + "x", "iris"):
            pass
    with exclusive(url, "iris"):
        pass


def test_whoever_inherits_the_lock_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(exclusion, "_PATIENCE_S", 0.0)
    with exclusive(f"memory:{tmp_path}", "iris") as descriptor:
        inherited = os.dup(descriptor)
    try:
        with pytest.raises(ConflictError), exclusive(f"memory:{tmp_path}", "iris"):
            pass
    finally:
        fcntl.flock(inherited, fcntl.LOCK_UN)
        os.close(inherited)
    with exclusive(f"memory:{tmp_path}", "iris"):
        pass
