"""Where predictions go: all of them or nothing, and nothing that is there is replaced unasked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from modelhopper_contract.errors import ConflictError, UserError
from modelhopper_contract.stores import open_store
from modelhopper_trainer.scoring import destination as module
from modelhopper_trainer.scoring.destination import COMPLETE, Destination, destination

TABLE = pa.table(
    {"id": [1, 2, 3], "class_value": ["a", None, 'b"c'], "probability": pa.array([0.5, 0.25, 0.1], pa.float32())}
)


def write(out: str | Path, *, overwrite: bool = False, batches: Iterator[Any] | None = None) -> Destination:
    place = destination(str(out), overwrite=overwrite)
    place.refuse_existing()
    place.write(TABLE.schema, batches or iter(TABLE.to_batches()), "token", lambda: None)
    return place


def broken() -> Iterator[Any]:
    yield from TABLE.to_batches()
    raise OSError(28, "No space left on device")


def test_a_parquet_file_holds_all_lines(tmp_path: Path) -> None:
    write(tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").equals(TABLE)


def test_a_csv_file_holds_all_lines(tmp_path: Path) -> None:
    write(tmp_path / "out.csv")
    found = pacsv.read_csv(tmp_path / "out.csv", convert_options=pacsv.ConvertOptions(strings_can_be_null=True))
    assert found.column("class_value").to_pylist() == ["a", None, 'b"c']
    assert found.column("probability").to_pylist() == pytest.approx([0.5, 0.25, 0.1])


def test_lists_are_json_in_a_csv_file(tmp_path: Path) -> None:
    table = pa.table({"value": pa.array([[1.5, 2.0], None], pa.list_(pa.float32()))})
    destination(str(tmp_path / "a.csv"), overwrite=False).write(
        table.schema, iter(table.to_batches()), "token", lambda: None
    )
    assert (tmp_path / "a.csv").read_text() == '"value"\n"[1.5, 2.0]"\n\n'


def test_a_folder_holds_files_of_whole_rows_and_a_mark_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_ROWS", 2)
    write(f"{tmp_path}/out/")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        COMPLETE,
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert pq.read_table(tmp_path / "out").equals(TABLE)


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out/"])
def test_what_fails_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(Exception, match="no space left"):
        write(f"{tmp_path}/{name}", batches=broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out/"])
def test_what_is_there_stays_until_it_is_replaced_whole(tmp_path: Path, name: str) -> None:
    write(f"{tmp_path}/{name}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConflictError, match=r"exists already\. Choose another name, or say --overwrite"):
        write(f"{tmp_path}/{name}")
    with pytest.raises(Exception, match="no space left"):
        write(f"{tmp_path}/{name}", overwrite=True, batches=broken())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    write(f"{tmp_path}/{name}", overwrite=True)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(ConflictError, match="is not a result of predict, so it is not replaced"):
        write(tmp_path / "out", overwrite=True)


def test_a_file_and_a_folder_go_to_a_bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_ROWS", 2)
    store = open_store(s3_url)
    write(f"{s3_url}/out.csv")
    assert store.get("out.csv").startswith(b'"id","class_value","probability"\n1,"a",0.5\n')
    write(f"{s3_url}/all/")
    store.put("all/part-00009.parquet", b"of an earlier, larger result")
    with pytest.raises(ConflictError, match="exists already"):
        write(f"{s3_url}/all/")
    write(f"{s3_url}/all/", overwrite=True)
    found = [entry.name for entry in store.list("all/")]
    assert found == ["all/_SUCCESS", "all/part-00000.parquet", "all/part-00001.parquet"]
    assert pq.read_table(pa.BufferReader(store.get("all/part-00001.parquet"))).num_rows == 1


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("out", r"`out` does not say what to write: give a file that ends in \.parquet or \.csv"),
        ("out.parqet", r"Did you mean `\.parquet`\?"),
        ("gs://bucket/out.parquet", "`gs://bucket/out.parquet` cannot be written"),
        ("nowhere/out.parquet", "there is no folder nowhere"),
    ],
)
def test_a_place_that_cannot_be_is_refused(
    out: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        write(out)
