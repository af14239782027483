"""Claims about the directory store: crashes, full disks, missing permissions, files of others."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelhopper_contract.errors import ConflictError, ExitCode, StoreError, StoreUnavailable, UserError
from modelhopper_contract.stores.directory import LEFTOVER_AGE_S, DirectoryStore
from modelhopper_contract.stores.disk_errors import explain
from modelhopper_contract.stores.durability import put_all, put_soft

SIZE_BYTES = 400_000

PUT_FOR_EVER = f"""
import itertools, pathlib, sys
from modelhopper_contract.stores.directory import DirectoryStore

store = DirectoryStore(pathlib.Path(sys.argv[1]))
for number in itertools.count():
    data = bytes([number % 256]) * {SIZE_BYTES}
    store.put("one", data)
    store.put(f"many/{{number}}", data)
    print(number, flush=True)
"""

PUT_WITH_A_LIMIT = f"""
import pathlib, resource, sys
from modelhopper_contract.errors import StoreUnavailable
from modelhopper_contract.stores.directory import DirectoryStore

resource.setrlimit(resource.RLIMIT_FSIZE, ({SIZE_BYTES} // 2, {SIZE_BYTES} // 2))
try:
    DirectoryStore(pathlib.Path(sys.argv[1])).put("a", bytes({SIZE_BYTES}))
except StoreUnavailable as error:
    print(error)
"""


def child(code: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], env=environment, stdout=subprocess.PIPE, text=True
    )


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_process_killed_in_the_middle_of_puts_leaves_no_torn_object(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for phase in range(10):
        with child(PUT_FOR_EVER, tmp_path) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "0\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.wait(phase * 0.0004)  # so that the kill comes at different points of a put
            writer.kill()
        listed = store.list("")
        assert {entry.name for entry in listed} >= {"one", "many/0"}
        assert all(entry.name == "one" or entry.name.startswith("many/") for entry in listed)
        for entry in listed:
            data = store.get(entry.name)
            assert data == data[:1] * SIZE_BYTES


def test_leftovers_of_killed_processes_go_when_they_are_old(tmp_path: Path) -> None:
    scratch = tmp_path / ".tmp"
    scratch.mkdir()
    for name, age_s in {"old": LEFTOVER_AGE_S + 60, "young": 60}.items():
        (scratch / name).write_bytes(b"torn")
        os.utime(scratch / name, (time.time() - age_s,) * 2)
    store = DirectoryStore(tmp_path)
    assert store.list("") == []
    store.put("a", b"")
    assert files(tmp_path) == {"a", ".tmp/young"}


def test_a_put_leaves_nothing_else(tmp_path: Path) -> None:
    DirectoryStore(tmp_path).put("a/b", b"")
    assert files(tmp_path) == {"a/b"}


def test_a_full_disk_leaves_the_old_object(small_disk: Path) -> None:
    store = DirectoryStore(small_disk)
    store.put("a", b"old" * 100_000)
    with pytest.raises(
        StoreUnavailable, match=r"a: no space left on device while writing 0\.9 MB; free some"
    ) as caught:
        store.put("a", b"new" * 300_000)
    assert str(small_disk) in str(caught.value)
    assert caught.value.exit_code is ExitCode.RETRYABLE
    assert store.get("a") == b"old" * 100_000
    assert files(small_disk) == {"a"}
    store.delete("a")
    store.put("a", b"new" * 300_000)


def test_a_disk_without_room_for_a_folder_is_unavailable(small_disk: Path) -> None:
    store = DirectoryStore(small_disk)

    def fill() -> None:
        for number in range(100):
            store.put(f"{number}/a", b"")

    with pytest.raises(StoreUnavailable, match="free some space and run the same command again"):
        fill()
    assert len(store.list("")) >= 15
    assert all(store.get(entry.name) == b"" for entry in store.list(""))


def test_a_read_only_disk_is_a_clear_error(small_disk: Path) -> None:
    store = DirectoryStore(small_disk)
    store.put("a", b"old")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    calls: list[Callable[[], None]] = [lambda: store.put("a", b"new"), lambda: store.delete("a")]
    for call in calls:
        with pytest.raises(UserError, match="read-only file system"):
            call()
    assert store.get("a") == b"old"


def test_a_file_size_limit_leaves_the_old_object(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a", b"old")
    with child(PUT_WITH_A_LIMIT, tmp_path) as writer:
        assert writer.stdout is not None
        assert "file too large while writing 0.4 MB; free some space" in writer.stdout.read()
    assert store.get("a") == b"old"
    assert files(tmp_path) == {"a"}


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.ENOSPC, StoreUnavailable, "free some space and run the same command again"),
        (errno.EDQUOT, StoreUnavailable, "free some space and run the same command again"),
        (errno.EIO, StoreUnavailable, "run the same command again"),
        (errno.ESTALE, StoreUnavailable, "run the same command again"),
        (errno.EACCES, UserError, "permission denied while writing 7 bytes"),
        (errno.EROFS, UserError, "may write"),
        (errno.ENOTDIR, ConflictError, "Move it away"),
        (errno.EXDEV, UserError, "one file system"),
        (errno.EBADF, StoreError, "bad file descriptor"),
    ],
)
def test_each_error_of_the_disk_says_what_to_do(number: int, kind: type[Exception], says: str) -> None:
    error = explain(OSError(number, "?"), Path("/runs/a"), "writing 7 bytes")
    assert type(error) is kind
    assert "/runs/a: " in str(error)
    assert says in str(error)


def test_a_folder_that_may_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permission denied while writing 3 bytes"):
        DirectoryStore(tmp_path).put("a", b"new")


def test_a_file_where_the_store_should_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    for folder in [tmp_path / "file", tmp_path / "file/below"]:
        store = DirectoryStore(folder)
        assert store.list("") == []
        with pytest.raises(ConflictError, match="Move it away"):
            store.put("a", b"")
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_links_and_impossible_names_are_not_listed(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put("a", b"")
    (tmp_path / "store/loop").symlink_to(tmp_path / "store")
    (tmp_path / "store/link").symlink_to(tmp_path / "store/a")
    (tmp_path / "store/line\nbreak").write_bytes(b"")
    Path(os.fsdecode(bytes(tmp_path / "store") + b"/not-\xff-unicode")).write_bytes(b"")
    assert [entry.name for entry in store.list("")] == ["a"]


def test_listing_survives_objects_that_vanish_and_misses_none_that_stay(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    stays = {f"inbox/0/stays {number}" for number in range(20)}
    for name in stays:
        store.put(name, b"")
    over = threading.Event()

    def disturb() -> None:
        while not over.is_set():
            for number in range(20):
                store.put(f"inbox/0/goes {number}", b"")
                store.delete(f"inbox/0/goes {number}")

    with ThreadPoolExecutor(1) as pool:
        disturbing = pool.submit(disturb)
        try:
            for _ in range(300):
                assert stays <= {entry.name for entry in store.list("inbox/0/")}
        finally:
            over.set()
        disturbing.result()


def test_a_prefix_that_ends_with_a_slash_reads_that_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path)
    for name in ["inbox/0/1", "inbox/1/2", "checkpoints/1/0"]:
        store.put(name, b"")
    scanned: list[str] = []
    scan = os.scandir

    def noted(folder: str) -> object:
        scanned.append(folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", noted)
    assert [entry.name for entry in store.list("inbox/0/")] == ["inbox/0/1"]
    assert scanned == [f"{tmp_path}/inbox/0/"]


class Disk:
    """Notes what is flushed and renamed, as paths below the store."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, str]] = []
        self._root = root
        self._flush, self._rename = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self.flush)
        monkeypatch.setattr(os, "replace", self.rename)

    def flush(self, descriptor: int) -> None:
        self._flush(descriptor)
        self._note("flush", str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def rename(self, source: Path, target: Path) -> None:
        self._rename(source, target)
        self._note("rename to", str(target))

    def _note(self, what: str, path: str) -> None:
        name = os.path.relpath(path, self._root)
        self.done.append((what, "file" if name.startswith(".tmp/") else name))


def test_a_put_flushes_the_file_before_it_has_its_name_and_the_folder_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a/0", b"")
    disk = Disk(tmp_path, monkeypatch)
    store.put("a/1", b"data")
    assert disk.done == [("flush", "file"), ("rename to", "a/1"), ("flush", "a")]


def test_a_soft_put_is_as_whole_for_readers_and_flushes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, disk = DirectoryStore(tmp_path), Disk(tmp_path, monkeypatch)
    put_soft(store, "a/b/0", b"data")
    put_soft(store, "a/b/0", b"more")
    assert disk.done == [("rename to", "a/b/0"), ("rename to", "a/b/0")]
    assert store.get("a/b/0") == b"more"
    assert files(tmp_path) == {"a/b/0"}


def test_a_put_flushes_once_the_folders_that_soft_puts_of_anybody_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_soft(DirectoryStore(tmp_path), "a/b/0", b"")
    store, disk = DirectoryStore(tmp_path), Disk(tmp_path, monkeypatch)
    for number in (1, 2):
        store.put(f"a/b/{number}", b"")
    flushed = [name for what, name in disk.done if what == "flush"]
    assert flushed == ["file", "a/b", ".", "a", "file", "a/b"]


def test_a_new_store_s_own_folder_is_flushed_where_it_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, monkeypatch)
    put_soft(DirectoryStore(tmp_path / "x" / "store"), "a", b"")
    assert [name for what, name in disk.done if what == "flush"] == [".", "x"]


def test_many_puts_at_once_are_each_durable_and_one_s_error_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, disk = DirectoryStore(tmp_path), Disk(tmp_path, monkeypatch)
    objects = {f"a/{number}": bytes([number]) for number in range(20)}
    put_all(store, objects)
    assert {name: store.get(name) for name in objects} == objects
    assert disk.done.count(("flush", "file")) == 20
    assert disk.done[-1][0] == "flush"
    with pytest.raises(ConflictError):
        put_all(store, {"b/0": b"", "a/0/below": b"", "b/1": b""})
