from __future__ import annotations

import os
import subprocess
import sys

import pytest

from modelhopper_trainer.notices import _hidden, without_notices

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


IN_A_STATION = """
import gc, sys
from modelhopper_trainer.notices import quiet_start

with quiet_start():
    assert not gc.isenabled()
    import pandas
    try:
        import sklearn
    except ImportError:
        sklearn = None
    asked = (pandas.Series, pandas.DataFrame)
assert sklearn is None
assert gc.isenabled()
assert gc.get_freeze_count() > 1000
assert not isinstance([], asked)
assert "pandas" not in sys.modules


class DataFrame:
    pass


sys.modules["pandas"] = sys.modules["__main__"]  # as if it were imported: it has a class of that name
assert isinstance(DataFrame(), asked)
"""


def test_what_no_station_needs_is_not_imported_and_data_frames_are_still_known() -> None:
    subprocess.run([sys.executable, "-c", IN_A_STATION], check=True)


def test_what_was_imported_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", pytest)
    with _hidden("pandas"):
        assert sys.modules["pandas"] is pytest
    assert sys.modules["pandas"] is pytest
