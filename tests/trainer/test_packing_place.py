"""A packed data set appears whole or not at all, replaces only its like, and takes little memory to make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelhopper_contract.errors import ConflictError, DataError
from modelhopper_trainer.packing import pack
from tests.trainer.packed import column, numbered

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_left_beside_the_data_set(tmp_path: Path) -> None:
    pack(numbered(10), tmp_path / "new" / "out", shards=2)
    assert names(tmp_path / "new") == ["out"]
    assert names(tmp_path / "new" / "out") == ["00000", "00001", "manifest.json"]
    assert names(tmp_path / "new" / "out" / "00000") == ["x.npy", "y.npy"]


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    pack(numbered(10), tmp_path / "out", shards=2)
    with pytest.raises(ConflictError, match="exists already"):
        pack(numbered(20), tmp_path / "out", shards=2)
    assert len(column(tmp_path / "out", "x")) == 10


def test_a_packed_data_set_is_overwritten_when_said(tmp_path: Path) -> None:
    pack(numbered(10), tmp_path / "out", shards=4)
    pack(numbered(20), tmp_path / "out", shards=2, overwrite=True)
    assert len(column(tmp_path / "out", "x")) == 20
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["00000", "00001", "manifest.json"]


def test_a_failed_overwrite_leaves_the_old_data_set(tmp_path: Path) -> None:
    pack(numbered(10), tmp_path / "out", shards=2)
    with pytest.raises(DataError, match="NaN"):
        pack(([[0.0], [float("nan")]], [0, 1]), tmp_path / "out", shards=2, overwrite=True)
    assert len(column(tmp_path / "out", "x")) == 10
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("content", [[], ["notes.txt"], ["index.html", "manifest.json"]])
def test_a_foreign_folder_is_never_overwritten(content: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in content:
        (tmp_path / "out" / name).touch()
    with pytest.raises(ConflictError, match="is not overwritten"):
        pack(numbered(10), tmp_path / "out", shards=2, overwrite=True)
    assert names(tmp_path / "out") == content


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(ConflictError, match="is not overwritten"):
        pack(numbered(10), tmp_path / "out", shards=2, overwrite=True)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="out cannot be written"):
        pack(numbered(10), tmp_path / "file" / "out", shards=2)


def test_no_room_is_an_error_that_can_be_retried_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of a file stops a write in the middle, as a full disk does.
    program = (
        "import resource, sys, numpy as np\n"
        "from modelhopper_contract.errors import StoreUnavailable\n"
        "from modelhopper_trainer.packing import pack\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    pack((np.zeros((1000, 100)), np.zeros(1000)), sys.argv[1], shards=2)\n"
        "except StoreUnavailable as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")], check=True, capture_output=True, text=True, timeout=60
    )
    assert "no room left" in done.stdout
    assert names(tmp_path) == []


def test_a_killed_process_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, numpy as np\n"
        "from modelhopper_trainer.packing import pack, plan\n"
        "plan.scatter = lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL)\n"
        "pack((np.zeros((10, 1)), np.zeros(10)), sys.argv[1], shards=2)\n"
    )
    child = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], check=False, timeout=60)
    assert child.returncode < 0
    assert not (tmp_path / "out").exists()
    pack(numbered(10), tmp_path / "out", shards=2)


MEASURE = """
import sys
from modelhopper_trainer.packing import pack, tables

def peak_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

before = peak_bytes()
pack(sys.argv[1], sys.argv[2], shards=4, labels=["y"])
print(peak_bytes() - before)
"""
COLUMNS = 32
MIB = 1 << 20


def generate(path: Path, size_bytes: int) -> None:
    """Write a table of float32 columns that takes `size_bytes` when packed."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    rows = 50_000
    schema = pa.schema([*((f"x{i}", pa.float32()) for i in range(COLUMNS)), ("y", pa.int64())])
    columns = [np.random.default_rng(i).random(rows, np.float32) for i in range(COLUMNS)]
    table = pa.table([*columns, np.arange(rows) % 5], schema=schema)
    is_csv = path.suffix == ".csv"
    opened = pyarrow.csv.CSVWriter if is_csv else pyarrow.parquet.ParquetWriter
    with opened(str(path), schema, **({} if is_csv else {"compression": "none", "use_dictionary": False})) as writer:
        for _ in range(size_bytes // (rows * COLUMNS * 4)):
            writer.write_table(table)


@LINUX
@pytest.mark.parametrize("suffix", ["parquet", pytest.param("csv", marks=pytest.mark.slow)])
def test_memory_stays_far_below_the_data(suffix: str, tmp_path: Path) -> None:
    generate(tmp_path / f"rows.{suffix}", 320 * MIB)
    arguments = [sys.executable, "-c", MEASURE, str(tmp_path / f"rows.{suffix}"), str(tmp_path / "out")]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=240)
    # About 200 MiB whatever the size of the data: rows that wait, a bucket for each writer, and pyarrow's own buffers.
    assert int(done.stdout) < 300 * MIB
