"""What is handed to a cluster: everything that an experiment needs, in one object or with its files in the store."""

from __future__ import annotations

from collections.abc import Mapping

from modelhopper_contract import bundles
from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import CorruptObject, ObjectNotFound
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.names import Names
from modelhopper_contract.record import Record
from modelhopper_contract.records import Configuration, Split
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store


class Submission(Record):
    """An experiment that was asked for: it begins, or goes on, when a cluster gets to it."""

    format: int = 1
    specification: Specification
    # What the search chose, which depends on the order of its space; a record's keys are sorted.
    configurations: tuple[Configuration, ...]
    manifests: dict[Split, Manifest]
    files: dict[str, str]  # digests of the user's files, by path as written
    extend: bool = False


class Bundle:
    """A submission with the contents of its files, by path as written."""

    def __init__(self, submission: Submission, contents: Mapping[str, bytes]) -> None:
        self.submission = submission
        self.contents = dict(contents)

    @property
    def size_bytes(self) -> int:
        """The size of its files."""
        return sum(len(content) for content in self.contents.values())

    def encode(self) -> str:
        """Return the bundle as text that can stand in a Workflow; the same for the same."""
        return bundles.encode("submission", self.submission, self.contents)

    @classmethod
    def decode(cls, text: str) -> Bundle:
        """Read what `encode` returned; raise CorruptObject for anything else."""
        return cls(*bundles.decode(text, "submission", Submission, "the bundle of the experiment"))

    def put(self, store: Store) -> None:
        """Put everything into the store; the submission last, so that what it names is there."""
        names = Names(self.submission.specification.experiment.name)
        for path, digest in self.submission.files.items():
            store.put(names.file(digest), self.contents[path])
        put_manifests(store, names, self.submission.manifests)
        store.put(names.submission(), self.submission.to_json())


def put_manifests(store: Store, names: Names, manifests: Mapping[Split, Manifest]) -> None:
    """Put copies of the data sets' manifests beside an experiment, so that its models need no data to be opened."""
    for split, manifest in manifests.items():
        store.put(names.manifest(split), manifest.to_json())


def read_submission(store: Store, experiment: str) -> Submission:
    """Return what was asked for; raise ObjectNotFound when nothing was."""
    name = Names(experiment).submission()
    try:
        return Submission.from_json(store.get(name), name)
    except ObjectNotFound as error:
        raise ObjectNotFound(
            f"{store.url} holds no submission of `{experiment}`: `modelhopper upload experiment.yaml` puts it there."
        ) from error


def read_file(store: Store, experiment: str, digest: str) -> bytes:
    """Return one of the user's files; raise CorruptObject when it is not what was submitted."""
    name = Names(experiment).file(digest)
    data = store.get(name)
    if digest_bytes(data) != digest:
        raise CorruptObject(f"{store.url}/{name} is not what was submitted: its digest differs. Submit again.")
    return data
