"""Copying packed data between a folder and S3: checked, resumed, and a data set only when it is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import modelhopper
from modelhopper.command import main
from modelhopper.copying import COPYING, Progress, copy_data
from modelhopper_contract.errors import ConflictError, CorruptObject, DataError, StoreUnavailable, UserError
from modelhopper_contract.stores import open_store
from modelhopper_trainer.packing import pack
from modelhopper_trainer.shards import open_data
from tests import faults
from tests.servers import S3Server, use_server
from tests.trainer.packed import numbered


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pack(numbered(20), tmp_path / "train", shards=3)
    return tmp_path / "train"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_and_back_again_is_the_same_data_set(folder: Path, s3_url: str, tmp_path: Path) -> None:
    seen: list[Progress] = []
    made = copy_data(str(folder), f"{s3_url}/train", seen.append)
    assert made == open_data(folder).manifest == open_data(f"{s3_url}/train").manifest
    assert [one.files for one in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[-1] == Progress(6, 6, made.size_bytes, made.size_bytes, 0)
    copy_data(f"{s3_url}/train", str(tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(folder)
    assert {entry.name for entry in open_store(f"{s3_url}/train").list("")} == contents(folder).keys()


def test_the_command_says_what_it_did_and_leaves_alone_what_is_there(
    folder: Path, s3_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, back = f"{s3_url}/train", str(tmp_path / "back")
    for source, target in ((str(folder), there), (there, back)):
        assert main(["copy", source, target]) == 0
        assert capsys.readouterr() == (f"{target}: 6 files of 3 shards, 0.00 MB\n", "")
        assert main(["copy", source, target]) == 0
        assert capsys.readouterr().out.endswith("0.00 MB, 6 of them were there already\n")
    assert main(["pack", "--describe", there]) == 0
    assert "20 rows" in capsys.readouterr().out


def test_an_interrupted_copy_is_no_data_set_and_goes_on(
    folder: Path, s3_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{s3_url}/train"
    with faults.proxy(s3_server.port, *[faults.pass_on] * 6, *[faults.storage_full] * 10) as proxy:
        use_server(monkeypatch, proxy.port)
        with pytest.raises(StoreUnavailable, match="no room left"):
            copy_data(str(folder), url)
    use_server(monkeypatch, s3_server.port)
    with pytest.raises(DataError, match=r"has no manifest\.json"):
        open_data(url)
    uploaded = {entry.name for entry in open_store(url).list("")} - {COPYING}
    assert 0 < len(uploaded) < 6
    seen: list[Progress] = []
    copy_data(str(folder), url, seen.append)
    assert seen[-1].already_there == len(uploaded)
    assert open_data(url).shard(2).rows == open_data(folder).shard(2).rows


def test_what_lies_there_by_chance_is_not_taken_for_a_copy(folder: Path, s3_url: str) -> None:
    url = f"{s3_url}/train"
    content = (folder / "00001" / "x.npy").read_bytes()
    open_store(url).put("00001/x.npy", bytes(len(content)))
    copy_data(str(folder), url)
    assert open_store(url).get("00001/x.npy") == content


def test_damaged_files_are_not_copied_and_damaged_copies_are_mended(folder: Path, s3_url: str, tmp_path: Path) -> None:
    url, back = f"{s3_url}/train", tmp_path / "back"
    copy_data(str(folder), url)
    copy_data(url, str(back))
    (back / "00000" / "x.npy").write_bytes(bytes((back / "00000" / "x.npy").stat().st_size))
    copy_data(url, str(back))
    assert contents(back) == contents(folder)
    open_store(url).put("00002/y.npy", b"damaged")
    shutil.rmtree(back)
    with pytest.raises(CorruptObject, match=r"00002/y\.npy is not what was packed.*Remove that object and copy"):
        copy_data(url, str(back))
    assert not (back / "manifest.json").exists()
    copy_data(str(folder), url)
    copy_data(url, str(back))
    (folder / "00000" / "x.npy").write_bytes(b"damaged")
    with pytest.raises(CorruptObject, match="Pack the data set again"):
        copy_data(str(folder), f"{s3_url}/another")


def test_something_else_is_never_overwritten(folder: Path, s3_url: str, tmp_path: Path) -> None:
    pack(numbered(8), tmp_path / "other", shards=1)
    copy_data(str(tmp_path / "other"), f"{s3_url}/other")
    with pytest.raises(ConflictError, match="other holds something else already"):
        copy_data(str(folder), f"{s3_url}/other")
    before = contents(tmp_path / "other")
    copy_data(str(folder), f"{s3_url}/train")
    with pytest.raises(ConflictError, match="other holds something else already"):
        copy_data(f"{s3_url}/train", str(tmp_path / "other"))
    assert contents(tmp_path / "other") == before
    with pytest.raises(ConflictError, match="holds something else already"):
        copy_data(f"{s3_url}/train", str(tmp_path))


def test_a_full_disk_is_one_clear_message(s3_url: str, small_disk: Path, tmp_path: Path) -> None:
    pack(numbered(400_000), tmp_path / "large", shards=2)
    copy_data(str(tmp_path / "large"), f"{s3_url}/large")
    with pytest.raises(StoreUnavailable, match=r"no space left on device while writing it.*free some space"):
        copy_data(f"{s3_url}/large", str(small_disk / "large"))
    assert not list(small_disk.rglob(".*"))


def test_one_end_is_a_folder_and_the_other_is_not(folder: Path) -> None:
    with pytest.raises(UserError, match="are both folders: copy goes from a folder to s3://bucket/prefix, or back"):
        copy_data(str(folder), "elsewhere")
    with pytest.raises(UserError, match="are both on servers"):
        copy_data("s3://bucket/a", "s3://bucket/b")
    assert modelhopper.copy_data is copy_data
