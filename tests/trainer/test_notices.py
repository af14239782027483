from __future__ import annotations

import os

import pytest

from modelhopper_trainer.notices import without_notices

NOTICE = "I0000 00:00:1.5 930 port.cc:153] oneDNN custom operations are on. You may see slightly different results\n"


def test_only_tensorflows_notices_are_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with without_notices():
        os.write(2, f"{NOTICE}the disk is full\n".encode())
    assert capfd.readouterr().err == "the disk is full\n"


def test_what_was_written_before_an_error_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        os.write(2, b"why it cannot be imported\n")
        raise ImportError

    with pytest.raises(ImportError), without_notices():
        fail()
    os.write(2, b"and on it goes\n")
    assert capfd.readouterr().err == "why it cannot be imported\nand on it goes\n"
