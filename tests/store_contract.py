"""The suite that every store passes: one test per guarantee of `modelhopper_contract.store.Store`.

A subclass named `Test...` with a fixture `store`, an empty store, runs it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from modelhopper_contract.errors import ObjectNotFound, UserError
from modelhopper_contract.store import Store

T = TypeVar("T")

ODD_NAMES = [
    "with space",
    "it's",
    'say "hi"',
    "100%",
    "%2F%20",
    "a+b=c&d",
    "#?;:,@!$*()[]{}<>|^`~",
    "naïve",
    "模型/第一",
    "🦘",
    ".hidden",
    "..two dots",
    "three...",
    "-dash",
    "a" * 255,
    "/".join(["deep"] * 100),
]
HOSTILE_NAMES = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../up",
    "a/../../up",
    "a/..",
    "a/.. /b",
    ".",
    "./a",
    "a/./b",
    "a//b",
    "a/",
    "a\\..\\b",
    "nul\0",
    "line\nbreak",
    "\x7f",
    "\udcff",
    " ",
    "a" * 256,
    "/".join(["a" * 100] * 10),
    ".tmp/a",
]


class StoreContract:
    """What holds for every store."""

    def test_get_returns_what_was_put(self, store: Store) -> None:
        store.put("a/b", b"one")
        assert store.get("a/b") == b"one"

    def test_a_second_put_replaces_the_object(self, store: Store) -> None:
        store.put("a", b"a long first version")
        store.put("a", b"second")
        assert store.get("a") == b"second"
        assert names(store, "") == ["a"]

    def test_a_missing_object_is_not_found_and_named(self, store: Store) -> None:
        store.put("folder/a", b"")
        for name in ["b", "folder", "folder/b", "folder/a/b", "no/such/folder"]:
            with pytest.raises(ObjectNotFound, match=name):
                store.get(name)

    def test_delete_removes_the_object_and_no_other(self, store: Store) -> None:
        store.put("a/b", b"")
        store.put("a/bc", b"")
        store.delete("a/b")
        assert names(store, "") == ["a/bc"]
        with pytest.raises(ObjectNotFound):
            store.get("a/b")

    def test_delete_may_be_repeated(self, store: Store) -> None:
        store.put("a/b", b"")
        for name in ["a/b", "a/b", "never/was", "a", "a/b/c"]:
            store.delete(name)
        assert names(store, "") == []

    def test_an_object_can_be_put_again_after_delete(self, store: Store) -> None:
        for data in [b"1", b"2"]:
            store.put("a/b/c", data)
            assert store.get("a/b/c") == data
            store.delete("a/b/c")

    def test_an_empty_store_lists_nothing(self, store: Store) -> None:
        assert store.list("") == []
        assert store.list("a/") == []
        assert store.list("a") == []

    def test_list_is_sorted_by_name(self, store: Store) -> None:
        put = ["b", "a/c", "a-c", "a.c", "B", "é", "z", "a/b/c", "ab"]
        for name in put:
            store.put(name, b"")
        assert names(store, "") == sorted(put)

    def test_list_takes_beginnings_of_names_not_folders(self, store: Store) -> None:
        for name in ["a/b/c", "a/bc", "a/c", "ab", "b"]:
            store.put(name, b"")
        assert names(store, "a/b") == ["a/b/c", "a/bc"]
        assert names(store, "a/b/") == ["a/b/c"]
        assert names(store, "a/") == ["a/b/c", "a/bc", "a/c"]
        assert names(store, "a") == ["a/b/c", "a/bc", "a/c", "ab"]
        assert names(store, "a/c") == ["a/c"]
        assert names(store, "a/c/") == []
        assert names(store, "c") == []

    def test_list_tells_size_and_time(self, store: Store) -> None:
        before_s = time.time()
        store.put("a", b"123")
        [entry] = store.list("")
        assert (entry.name, entry.size_bytes) == ("a", 3)
        assert before_s - 2 <= entry.modified_s <= time.time() + 2  # S3 tells whole seconds

    def test_list_sees_each_put_and_each_delete_that_came_before(self, store: Store) -> None:
        for number in range(20):
            store.put(f"inbox/0/{number}", b"")
            assert f"inbox/0/{number}" in names(store, "inbox/0/")
            if number % 2:
                store.delete(f"inbox/0/{number}")
                assert f"inbox/0/{number}" not in names(store, "inbox/0/")

    @pytest.mark.parametrize("size_bytes", [0, 1, 20_000_000])
    def test_an_object_of_any_size_comes_back_whole(self, store: Store, size_bytes: int) -> None:
        data = (bytes(range(256)) * (size_bytes // 256 + 1))[:size_bytes]
        store.put("a", data)
        assert store.get("a") == data
        assert store.list("")[0].size_bytes == size_bytes

    def test_names_may_be_odd(self, store: Store) -> None:
        for name in ODD_NAMES:
            store.put(name, name.encode())
            assert store.get(name) == name.encode()
            assert names(store, name) == [name]
        assert names(store, "") == sorted(ODD_NAMES)
        for name in ODD_NAMES:
            store.delete(name)
        assert names(store, "") == []

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_name_is_refused(self, store: Store, name: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.put(name, b""),
            lambda: store.get(name),
            lambda: store.delete(name),
        ]
        for call in calls:
            with pytest.raises(UserError, match="cannot be the name"):
                call()

    @pytest.mark.parametrize("prefix", ["/", "../", "a/../b", "a//", "./", "\0", "a/\n", "\\"], ids=ascii)
    def test_a_hostile_prefix_is_refused(self, store: Store, prefix: str) -> None:
        with pytest.raises(UserError, match="cannot be the beginning"):
            store.list(prefix)

    def test_more_than_1000_objects_are_listed(self, store: Store) -> None:
        expected = sorted(f"many/{number}" for number in range(1_050))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: store.put(name, b"x"), expected))
        assert names(store, "many/") == expected
        assert names(store, "many/99") == [name for name in expected if name.startswith("many/99")]

    def test_concurrent_puts_of_one_name_leave_one_of_them_whole(self, store: Store) -> None:
        versions = [bytes([number]) * 300_000 for number in range(4)]
        store.put("a", versions[0])

        def write(version: bytes) -> None:
            for _ in range(10):
                store.put("a", version)
                assert store.get("a") in versions

        in_parallel(write, versions)
        assert store.get("a") in versions
        assert names(store, "") == ["a"]

    def test_threads_do_not_disturb_each_other(self, store: Store) -> None:
        def work(folder: str) -> None:
            for number in range(20):
                store.put(f"{folder}/{number}", folder.encode())
                assert store.get(f"{folder}/{number}") == folder.encode()
                assert len(store.list(f"{folder}/")) == 1
                store.delete(f"{folder}/{number}")

        in_parallel(work, ["a", "b", "c", "d"])
        assert names(store, "") == []

    def test_any_sequence_of_calls_agrees_with_a_dict(self, store: Store) -> None:
        folders = (f"example {number}/" for number in itertools.count())

        class Example(AgreesWithADict):
            def __init__(self) -> None:
                super().__init__(store, next(folders))

        run_state_machine_as_test(Example)


class AgreesWithADict(RuleBasedStateMachine):
    """Puts, gets, deletes and lists, and compares with a dict. No name is the folder of another."""

    folders = st.sampled_from(["", "a/", "a/b/", "a b/ü/"])
    leaves = st.sampled_from(["1", "12", "x y", "it's", "100%", "%2F", "a+b", "ключ", "~"])
    object_names = st.builds(str.__add__, folders, leaves)
    prefixes = st.builds(lambda name, end: name[:end], object_names, st.integers(0, 8))

    def __init__(self, store: Store, folder: str) -> None:
        super().__init__()
        self.store = store
        self.folder = folder
        self.model: dict[str, bytes] = {}

    @rule(name=object_names, data=st.binary(max_size=100))
    def put(self, name: str, data: bytes) -> None:
        self.store.put(self.folder + name, data)
        self.model[self.folder + name] = data

    @rule(name=object_names)
    def get(self, name: str) -> None:
        expected = self.model.get(self.folder + name)
        if expected is None:
            with pytest.raises(ObjectNotFound):
                self.store.get(self.folder + name)
        else:
            assert self.store.get(self.folder + name) == expected

    @rule(name=object_names)
    def delete(self, name: str) -> None:
        self.store.delete(self.folder + name)
        self.model.pop(self.folder + name, None)

    @rule(prefix=prefixes)
    def list(self, prefix: str) -> None:
        found = [(entry.name, entry.size_bytes) for entry in self.store.list(self.folder + prefix)]
        begins = self.folder + prefix
        assert found == sorted((name, len(data)) for name, data in self.model.items() if name.startswith(begins))


def names(store: Store, prefix: str) -> list[str]:
    """Return the names that the store lists."""
    return [entry.name for entry in store.list(prefix)]


def in_parallel(work: Callable[[T], None], values: list[T]) -> None:
    """Do `work` on each value, each in its own thread; raise what any of them raised."""
    with ThreadPoolExecutor(len(values)) as pool:
        list(pool.map(work, values))
