"""Ranges of a CSV file's rows: the same rows as the whole file, whatever stands in them and wherever it is cut."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_trainer.scoring import csv_ranges
from modelhopper_trainer.scoring.csv_ranges import header, ranges

TEXTS = st.text(st.sampled_from('ab ,"\n\r1'), max_size=6)


@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=12),
    end=st.sampled_from(["\n", "\r\n"]),
    part_rows=st.integers(1, 5),
    block=st.integers(1, 40),
    is_ended=st.booleans(),
)
def test_ranges_hold_all_rows_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    end: str,
    part_rows: int,
    block: int,
    is_ended: bool,
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("x", "y\nz"), *rows])
    path.write_bytes(text.getvalue()[: None if is_ended else -len(end)].encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_ranges, "BLOCK_BYTES", block)
        names, begin = header(path)
        found = list(ranges(path, begin, part_rows))
    assert names == ["x", "y\nz"]
    data = path.read_bytes()
    parts = [list(csv.reader(io.StringIO(data[one.begin : one.end].decode(), newline=""))) for one in found]
    assert [len(part) for part in parts] == [one.rows for one in found]
    assert all(one.rows == part_rows for one in found[:-1])
    assert [tuple(row) for part in parts for row in part] == rows


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x,y\n\n1,2\r\n\r\n3,4\n\n")
    assert [one.rows for one in ranges(path, header(path)[1], 1)] == [1, 1]


def test_a_compressed_file_has_the_ranges_of_what_is_in_it(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    plain.write_text("x\n" + "\n".join(map(str, range(100))))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(ranges(packed, header(packed)[1], 7)) == list(ranges(plain, header(plain)[1], 7))


def test_a_mark_of_its_encoding_is_not_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfx,y\n1,2\n")
    assert header(path) == (["x", "y"], 7)
