"""Data in S3: fetched once, checked always, shared by processes, and never half there. Volumes filled with a shard."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from modelhopper_contract.errors import CorruptObject, DataError, ExitCode, StoreUnavailable, UserError
from modelhopper_contract.stores import open_store
from modelhopper_trainer.fetching import LEFTOVER_AGE_S, cache_folder
from modelhopper_trainer.filling import fill
from modelhopper_trainer.packing import pack
from modelhopper_trainer.shards import DataSet, open_data
from tests.trainer.packed import Array, column, numbered

FETCH_ALL = """
import sys
from modelhopper_trainer.shards import open_data
data = open_data(sys.argv[1])
sys.stdin.readline()
print(sum(float(data.shard(number).inputs["x"].sum()) for number in range(2)))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELHOPPER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pack(numbered(11), tmp_path / "train", shards=2)
    return tmp_path / "train"


@pytest.fixture
def url(folder: Path, s3_url: str, cache: Path) -> str:
    """The data set in S3."""
    put(folder, f"{s3_url}/train")
    return f"{s3_url}/train"


def put(folder: Path, url: str) -> None:
    store = open_store(url)
    for path in folder.rglob("*.*"):
        store.put(path.relative_to(folder).as_posix(), path.read_bytes())


def digests(data: DataSet) -> set[str]:
    return {file.sha256 for shard in data.manifest.shards for file in shard.files.values()}


def kept(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()}


def test_data_in_s3_is_the_data_of_the_folder(url: str, folder: Path) -> None:
    assert open_data(url).manifest == open_data(folder).manifest
    for name in ("x", "y"):
        assert np.array_equal(column(Path(folder), name), joined(url, name))
    shard = open_data(url).shard(0)
    assert isinstance(shard.inputs["x"].base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        shard.inputs["x"][0] = 0


def joined(url: str, name: str) -> Array:
    data = open_data(url)
    shards = [data.shard(number) for number in range(2)]
    return np.concatenate([{**shard.inputs, **shard.outputs}[name] for shard in shards])


def test_only_the_shard_that_is_asked_for_is_fetched_and_only_once(url: str, cache: Path) -> None:
    data = open_data(url)
    assert not cache.exists()
    data.shard(1)
    assert kept(cache) == {f"{file.sha256}.npy" for file in data.manifest.shards[1].files.values()}
    for field in ("x", "y"):
        open_store(url).delete(f"00001/{field}.npy")
    assert open_data(url).shard(1).rows == data.shard(1).rows


def test_equal_shards_are_kept_once(url: str, folder: Path, cache: Path) -> None:
    put(folder, f"{url}-again")
    for place in (url, f"{url}-again"):
        joined(place, "x")
    assert kept(cache) == {f"{digest}.npy" for digest in digests(open_data(url))}


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_file_of_the_cache_is_fetched_again(damage: bytes | None, url: str, cache: Path) -> None:
    before = np.array(open_data(url).shard(0).inputs["x"])
    for path in cache.iterdir():
        path.write_bytes(bytes(path.stat().st_size) if damage is None else damage)
    assert np.array_equal(open_data(url).shard(0).inputs["x"], before)


@pytest.mark.parametrize("wrong", ["another", "shorter", "missing"])
def test_an_object_that_is_not_what_was_packed_is_refused_and_not_kept(wrong: str, url: str, cache: Path) -> None:
    store, name = open_store(url), "00000/x.npy"
    data = store.get(name)
    store.delete(name) if wrong == "missing" else store.put(name, bytes(len(data) - (wrong == "shorter")))
    says = {"another": "its digest is", "shorter": "bytes, but", "missing": "is missing"}[wrong]
    with pytest.raises(CorruptObject, match=rf"{url}/00000/x\.npy .*{says}.*opy the data set there again"):
        open_data(url).shard(0)
    assert kept(cache) == set()
    store.put(name, data)
    open_data(url).shard(0)


def test_processes_that_fetch_at_once_all_get_whole_files(url: str, cache: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FETCH_ALL, url]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) for _ in range(2)]
    said = [process.communicate("go\n", timeout=60)[0] for process in both]
    assert [float(one) for one in said] == [55.0, 55.0]
    assert kept(cache) == {f"{digest}.npy" for digest in digests(open_data(url))}


def test_what_killed_processes_left_is_removed_and_what_is_being_written_is_not(url: str, cache: Path) -> None:
    cache.mkdir()
    for name in ("old", "young"):
        (cache / f".{name}.npy.0.fetching").touch()
    long_ago_s = time.time() - LEFTOVER_AGE_S - 60
    os.utime(cache / ".old.npy.0.fetching", (long_ago_s, long_ago_s))
    open_data(url).shard(0)
    assert [name for name in kept(cache) if name.startswith(".")] == [".young.npy.0.fetching"]


@pytest.fixture
def large_url(s3_url: str, tmp_path: Path) -> str:
    pack((np.zeros((300_000, 1), np.float32), np.arange(300_000) % 2), tmp_path / "large", shards=1)
    put(tmp_path / "large", f"{s3_url}/large")
    return f"{s3_url}/large"


def test_a_full_disk_is_one_clear_message(large_url: str, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOPPER_CACHE", str(small_disk))
    says = r"no space left on device while writing it, after .*free some space.*1\.2 MB.*MODELHOPPER_CACHE can name"
    with pytest.raises(StoreUnavailable, match=says) as caught:
        open_data(large_url).shard(0)
    assert caught.value.exit_code is ExitCode.RETRYABLE
    assert list(small_disk.iterdir()) == []


def test_the_cache_is_in_the_home_folder_unless_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MODELHOPPER_CACHE", raising=False)
    assert cache_folder() == tmp_path / ".cache/modelhopper"
    monkeypatch.setenv("MODELHOPPER_CACHE", "~/elsewhere")
    assert cache_folder() == tmp_path / "elsewhere"


def test_a_cache_that_cannot_be_made_is_told(url: str, cache: Path) -> None:
    cache.touch()
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        open_data(url).shard(0)


def test_what_is_no_data_set_says_what_to_do(s3_url: str) -> None:
    with pytest.raises(DataError, match=r"has no manifest\.json. `modelhopper copy FOLDER s3://"):
        open_data(f"{s3_url}/nothing")
    with pytest.raises(DataError, match="give a folder, or s3://bucket/prefix"):
        open_data("gs://bucket/train")


# --- Volumes ----------------------------------------------------------------------------------------------------------


def test_a_volume_is_filled_with_one_shard_and_filled_again_for_nothing(url: str, folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    fill(url, 1, tmp_path / "volume", said.append)
    for field in ("x", "y"):
        assert (tmp_path / f"volume/{field}.npy").read_bytes() == (folder / f"00001/{field}.npy").read_bytes()
    (tmp_path / "volume/x.npy").write_bytes(b"damaged")
    said.clear()
    fill(url, 1, tmp_path / "volume", said.append)
    assert [line.endswith("is there already") for line in said] == [False, True, False]
    assert said[-1].startswith(f"{tmp_path}/volume holds shard 1 of {url}: 2 files")
    assert (tmp_path / "volume/x.npy").read_bytes() == (folder / "00001/x.npy").read_bytes()
    assert kept(tmp_path / "volume") == {"x.npy", "y.npy"}


def test_a_full_volume_is_one_clear_message(large_url: str, small_disk: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"no space left on device while writing it.*free some space"):
        fill(large_url, 0, small_disk)
    assert {path.name for path in small_disk.iterdir()} <= {"y.npy"}


def test_a_shard_that_is_not_there_is_told(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no shard 2; it has 2, numbered from 0 to 1"):
        fill(url, 2, tmp_path)


def test_filling_needs_no_tensorflow() -> None:
    code = "import sys, modelhopper_trainer.filling; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
