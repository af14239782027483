"""What a pod finds: manifests and user files from the store, shards mounted or fetched, all of it checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelhopper.bundling import bundle
from modelhopper_contract.errors import CorruptObject, ObjectNotFound, UserError
from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.names import Names
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.functions import load_function
from modelhopper_trainer.packing import pack
from modelhopper_trainer.places import data_sets, unpack, user_files
from tests.trainer.packed import numbered

NAMES = Names("small")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An experiment's folder, a module beside it, and data."""
    home = tmp_path / "home" / "experiment"
    (home / "losses").mkdir(parents=True)
    (home / "models.py").write_text("from layers import width\n\ndef mlp(): return width()\n")
    (home / "layers.py").write_text("def width():\n    from late import WIDTH\n    return WIDTH\n")
    (home / "late.py").write_text("WIDTH = 7\n")
    (home / "losses" / "own.py").write_text("def far(y, p): return 'far'\n")
    (home.parent / "shared.py").write_text("def near(y, p): return 'near'\n")
    pack(numbered(11), home / "train", shards=2)
    pack(numbered(6), home / "valid", shards=1, against=home / "train")
    return home


def submitted(folder: Path, store: Store, **data: str) -> Specification:
    value: dict[str, Any] = {
        "name": "small",
        "data": {"train": "train", "validation": "valid", **data},
        "models": {"mlp": "models.py:mlp"},
        "compile": {"loss": "losses/own.py:far", "metrics": ["../shared.py:near"]},
        "search": {"method": "grid", "space": {"batch_size": [4]}},
    }
    made = bundle(validated(Experiment, value), folder)
    made.put(store)
    return made.submission.specification


def test_shards_come_from_mounts_and_manifests_from_the_store(folder: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    specification = submitted(folder, store)
    for shard in (0, 1):
        (folder / "train" / f"0000{shard}").rename(tmp_path / f"volume-{shard}")
    (folder / "train" / "manifest.json").unlink()
    patterns: dict[Any, str] = {
        "training": f"{tmp_path}/volume-{{shard}}",
        "validation": f"{folder}/valid/0000{{shard}}",
    }
    found = data_sets(specification, store, patterns)
    rows = np.concatenate([found["training"].shard(shard).inputs["x"] for shard in (0, 1)])
    assert sorted(rows.ravel()) == list(range(11))
    assert found["validation"].shard(0).rows == 6


def test_a_volume_may_hold_a_packed_folder_as_it_is(folder: Path) -> None:
    store = MemoryStore()
    found = data_sets(submitted(folder, store), store, {"training": f"{folder}/train/{{shard}}"})
    assert [found["training"].shard(shard).rows for shard in (0, 1)] == [6, 5]


def test_a_mounted_file_that_is_another_shards_is_refused(folder: Path) -> None:
    store = MemoryStore()
    specification = submitted(folder, store)
    found = data_sets(specification, store, {"training": f"{folder}/train/00001"})
    assert found["training"].shard(1).rows == 5
    with pytest.raises(CorruptObject, match="Fill the volume again"):
        found["training"].shard(0)
    missing = data_sets(specification, store, {"training": "/nowhere/{shard}"})
    with pytest.raises(CorruptObject, match=r"/nowhere/1/x.npy cannot be read: No such file.*mount the one"):
        missing["training"].shard(1)


def test_shards_are_fetched_from_the_experiments_own_address(
    folder: Path, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELHOPPER_CACHE", str(tmp_path / "cache"))
    for path in (folder / "train").rglob("*.*"):
        open_store(f"{s3_url}/train").put(path.relative_to(folder / "train").as_posix(), path.read_bytes())
    store = MemoryStore()
    found = data_sets(submitted(folder, store, train=f"{s3_url}/train"), store, {"training": "fetch"})
    assert found["training"].shard(0).rows == 6


def test_a_folder_cannot_be_fetched_and_what_to_do_is_said(folder: Path) -> None:
    store = MemoryStore()
    found = data_sets(submitted(folder, store), store, {})
    assert found["training"].manifest.rows == 11  # enough to build models
    with pytest.raises(UserError, match=r"`modelhopper copy train s3://BUCKET/train`, and give that as data\.train"):
        found["training"].shard(0)
    with pytest.raises(UserError, match=r"data\.validation is the folder valid"):
        found["validation"].shard(0)


def test_a_manifest_of_other_data_is_refused(folder: Path) -> None:
    store = MemoryStore()
    specification = submitted(folder, store)
    store.put(NAMES.manifest("training"), store.get(NAMES.manifest("validation")))
    with pytest.raises(CorruptObject, match="is not the manifest of train that small was submitted with"):
        data_sets(specification, store, {})
    store.delete(NAMES.manifest("training"))
    with pytest.raises(ObjectNotFound, match="Submit small again"):
        data_sets(specification, store, {})


def test_references_lead_to_the_submitted_files(folder: Path) -> None:
    store = MemoryStore()
    specification = submitted(folder, store)
    with user_files(specification, store) as found:
        for reference, value in (("losses/own.py:far", "far"), ("../shared.py:near", "near")):
            assert load_function(reference, found)(None, None) == value
        # An import that runs only now, long after the file was loaded.
        assert load_function("models.py:mlp", found)() == 7
        assert (found / "models.py").read_bytes() == (folder / "models.py").read_bytes()
        assert (found / "models.py").stat().st_mode & 0o222 == 0
        assert found.stat().st_mode & 0o222 == 0
        assert specification.model_copy(update={"folder": str(found)}).path("models.py").is_file()
    assert not found.parent.exists()


def test_a_file_imports_its_own_neighbours_not_those_of_another_run(tmp_path: Path) -> None:
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "models.py").write_text("import beside_it\n\ndef which(): return beside_it.RUN\n")
        (tmp_path / run / "beside_it.py").write_text(f"RUN = {run!r}\n")
    first = load_function("models.py:which", tmp_path / "a")
    second = load_function("models.py:which", tmp_path / "b")
    assert (first(), second()) == ("a", "b")


def test_a_changed_file_of_the_store_is_refused(folder: Path) -> None:
    store = MemoryStore()
    specification = submitted(folder, store)
    store.put(NAMES.file(specification.digests["models.py"]), b"def mlp(): ...")
    with pytest.raises(CorruptObject, match="is not what was submitted"), user_files(specification, store):
        pass


@pytest.mark.parametrize("written", ["a/../../b.py", "../../b.py", "./b.py", "a/./b.py"])
def test_every_relative_path_leads_to_its_file(written: str, tmp_path: Path) -> None:
    store = MemoryStore()
    digest = "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"
    store.put(NAMES.file(digest), b"aaa")
    folder = unpack(store, "small", {written: digest}, tmp_path / "in")
    assert (folder / written).read_bytes() == b"aaa"
    assert (folder / written).resolve().is_relative_to(tmp_path / "in")


def test_an_absolute_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/etc/models.py is outside the experiment's folder"):
        unpack(MemoryStore(), "small", {"/etc/models.py": "digest"}, tmp_path)
