"""The command and the Python interface pack tables of a real PostgreSQL server."""

from __future__ import annotations

from pathlib import Path

import pytest

import modelhopper as mh
from modelhopper.command import main
from modelhopper_contract.errors import ExitCode
from tests.databases import Database


@pytest.fixture
def address(database: Database) -> str:
    database.do(
        "CREATE TABLE credit_card AS SELECT i AS id, i * 0.25 AS amount, i % 2 AS class, i % 4 AS branch "
        "FROM generate_series(1, 40) i"
    )
    return database.address("credit_card")


def test_the_command_and_python_pack_a_table_to_the_same_bytes(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "command"
    arguments = ["--shards", "4", "--features", "amount", "--labels", "class", "--out", str(out)]
    assert main(["pack", address, *arguments]) == ExitCode.DONE
    assert "40 rows in 4 shards of 10 rows" in capsys.readouterr().out
    packed = mh.pack(address, tmp_path / "python", shards=4, features="amount", labels="class")
    assert (out / "manifest.json").read_bytes() == (tmp_path / "python/manifest.json").read_bytes()
    assert packed.outputs[0].classes == (0, 1)


def test_a_column_or_a_segment_decides_the_shard(address: str, tmp_path: Path) -> None:
    by_column = mh.pack(address, tmp_path / "column", shard_by="branch", features="amount", labels="class", id="id")
    assert [shard.rows for shard in by_column.shards] == [10, 10, 10, 10]
    # Where Greenplum has `gp_segment_id`, PostgreSQL has `tableoid`: a column of the system, the same for all rows.
    by_system = mh.pack(address, tmp_path / "system", shard_by="tableoid", features="amount", labels="class")
    assert [shard.rows for shard in by_system.shards] == [40]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("credit_card", "credit_crad"), ExitCode.MISTAKE, "has no table `credit_crad`. Did you mean `credit_card`?"),
        (("127.0.0.1", "nowhere.invalid"), ExitCode.RETRYABLE, "no connection to the database"),
    ],
)
def test_a_mistake_is_one_line(
    change: tuple[str, str], code: ExitCode, message: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", address.replace(*change), "--shards", "1", "--labels", "class", "--out", "nothing"]) == code
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not Path("nothing").exists()
