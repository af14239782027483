"""Where a pod finds what an experiment needs: manifests and user files in the store, shards mounted or fetched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from modelhopper_contract.addresses import is_url
from modelhopper_contract.errors import CorruptObject, ObjectNotFound, UserError
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.names import Names
from modelhopper_contract.records import Split
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.disk_errors import explained
from modelhopper_contract.submission import read_file, read_submission
from modelhopper_trainer.fetching import Cached, cache_folder
from modelhopper_trainer.shard_files import Mounted, OutOfReach, ShardFiles
from modelhopper_trainer.shards import DataSet, check_manifest

FETCH = "fetch"  # in place of a pattern: from the experiment's own address

_SPLITS: tuple[Split, ...] = ("training", "validation")


def data_sets(specification: Specification, store: Store, patterns: Mapping[Split, str]) -> dict[Split, DataSet]:
    """Return an experiment's data sets as a pod reads them; no shard is read yet.

    `patterns` says for each split where its shards are mounted, such as "/data/training/{shard}", a folder that holds
    the files of one shard; "fetch", or nothing, is from the s3:// address that the experiment gives. Raises
    CorruptObject when a manifest in the store is not the experiment's. A folder can be "fetched" by no pod: its
    manifest can be used, as for building models, and the first shard asked for is a UserError that says what to do.
    """
    found: dict[Split, DataSet] = {}
    for split in _SPLITS:
        written = specification.written(split)
        if written is not None:
            manifest = _manifest(specification, store, split, written)
            pattern = patterns.get(split, FETCH)
            files = _fetched(split, written) if pattern == FETCH else Mounted(pattern)
            found[split] = DataSet(written if pattern == FETCH else pattern, manifest, files)
    return found


@contextmanager
def user_files(specification: Specification, store: Store) -> Iterator[Path]:
    """Give a temporary folder from which the experiment's references to files lead to those that were submitted.

    It takes the place of `specification.folder`, and is read-only.
    """
    name = specification.experiment.name
    with tempfile.TemporaryDirectory(prefix="modelhopper-") as folder:
        yield unpack(store, name, read_submission(store, name).files, Path(folder))


def unpack(store: Store, experiment: str, files: Mapping[str, str], into: Path) -> Path:
    """Write submitted files below a folder, and return the folder at which their paths begin.

    `files` holds their digests by path as written. For paths such as ../models.py that folder is as deep below `into`
    as they lead up.
    """
    refuse_absolute(files)
    above = max((os.path.normpath(written).split("/").count("..") for written in files), default=0)
    folder = into.joinpath(*["above"] * above, "experiment")
    for written, digest in files.items():
        data = read_file(store, experiment, digest)
        path = folder / written
        with explained(path, "writing it"):
            os.makedirs(path.parent, exist_ok=True)  # noqa: PTH103 -- pathlib's own fails for a/../b where a is missing
            path.write_bytes(data)
            path.chmod(0o444)
    _close(into)
    return folder


def refuse_absolute(files: Mapping[str, str]) -> None:
    """Raise UserError for a file that is named by an absolute path, which no other machine has."""
    for written in files:
        if PurePosixPath(written).is_absolute():
            raise UserError(
                f"{written} is outside the experiment's folder, and pods get files by their path from there. Move it "
                "into that folder, or name it by a relative path."
            )


def _manifest(specification: Specification, store: Store, split: Split, written: str) -> Manifest:
    experiment = specification.experiment.name
    name = Names(experiment).manifest(split)
    try:
        manifest = Manifest.from_json(store.get(name), name)
    except ObjectNotFound as error:
        raise ObjectNotFound(
            f"{store.url} has no {name}, which tells what {written} holds. Submit {experiment} again."
        ) from error
    if manifest.digest() != specification.digests[written]:
        raise CorruptObject(
            f"{store.url}/{name} is not the manifest of {written} that {experiment} was submitted with. Submit it "
            "again."
        )
    check_manifest(manifest, f"{store.url}/{name}")
    return manifest


def _fetched(split: Split, written: str) -> ShardFiles:
    if not is_url(written):
        key = "train" if split == "training" else "validation"
        there = f"s3://BUCKET/{PurePosixPath(written).name}"
        return OutOfReach(
            f"data.{key} is the folder {written}, which pods cannot reach. Put it where they can, `modelhopper copy "
            f"{written} {there}`, and give that as data.{key}; or mount volumes that hold its shards (`claims` or "
            "`claim` in the cluster's file)."
        )
    return Cached(open_store(written), cache_folder())


def _close(folder: Path) -> None:
    for at, _, _ in os.walk(folder):
        Path(at).chmod(0o555)
