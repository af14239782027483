"""Every store keeps the store's contract; `open_store` finds the right one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import ConflictError, UserError
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.stores.names import is_name
from tests.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return open_store("memory:")


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(str(tmp_path / "it's a" / '"store" with 100 %'))


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, s3_url: str) -> Store:
        return open_store(s3_url)


@pytest.mark.parametrize("url", ["memory:", "directory"])
def test_an_object_is_never_the_folder_of_another(url: str, tmp_path: Path) -> None:
    store = open_store(url if url == "memory:" else str(tmp_path))
    store.put("a/b", b"")
    for name in ["a", "a/b/c"]:
        with pytest.raises(ConflictError, match=name):
            store.put(name, b"")
    assert [entry.name for entry in store.list("")] == ["a/b"]


@given(st.lists(st.sampled_from(["..", ".", "/", "a", " ", "\\", "\0", ".tmp", "é", "%2e"])).map("".join))
def test_no_name_leads_out_of_the_directory(name: str) -> None:
    if is_name(name):
        assert os.path.normpath(name) == name
        assert Path(os.path.normpath(f"/store/{name}")).is_relative_to("/store")


# --- open_store -------------------------------------------------------------------------------------------------------


def test_a_path_or_a_file_url_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for url in ["runs/my iris", "./runs/my iris", "~/runs/my iris", f"file://{tmp_path}/runs/my%20iris"]:
        store = open_store(url)
        assert isinstance(store, DirectoryStore)
        assert store.url == str(tmp_path / "runs/my iris")
        assert open_store(store.url).url == store.url


def test_a_directory_is_made_by_the_first_put_only(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "a/b"))
    assert store.list("") == []
    assert not (tmp_path / "a").exists()
    store.put("c", b"")
    assert (tmp_path / "a/b/c").exists()


def test_each_memory_store_is_its_own() -> None:
    first, second = open_store("memory:"), open_store("memory:")
    assert isinstance(first, MemoryStore)
    first.put("a", b"")
    assert second.list("") == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is empty"),
        ("gs://bucket/runs", "s3://bucket/prefix"),
        ("fil:///runs", "Did you mean `file`"),
        ("memory:mine", "memory:"),
        ("s3:bucket", "s3://bucket/prefix"),
        ("s33://bucket", "Did you mean `s3`"),
        ("runs:today", "./runs:today"),
        ("file://host/runs", "file:///path"),
        ("file:runs", "file:///path"),
        ("nul\0", "cannot be a path"),
    ],
)
def test_any_other_url_is_refused_with_what_is_allowed(url: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        open_store(url)
    assert says in str(caught.value)


def test_a_refused_url_shows_no_password() -> None:
    for url in ["minio://key:hunter2@host/bucket", "s3://key:hunter2@bucket/runs"]:
        with pytest.raises(UserError) as caught:
            open_store(url)
        assert "hunter2" not in str(caught.value)


def test_s3_without_the_package_minio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "modelhopper_contract.stores.s3", raising=False)
    monkeypatch.setitem(sys.modules, "minio", None)
    with pytest.raises(UserError, match="pip install minio"):
        open_store("s3://bucket/runs")


def test_minio_is_imported_for_s3_only() -> None:
    code = "import sys, modelhopper_contract.stores as s; s.open_store('memory:'); assert 'minio' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
