"""Experiments and clusters from YAML files: reading them, and telling the line of a mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from modelhopper.lines import line_of
from modelhopper.syntax import Loader, in_words, line_of_mistake
from modelhopper_contract.errors import SpecError, UserError
from modelhopper_contract.nearest import did_you_mean

if TYPE_CHECKING:
    from modelhopper.experiment import Experiment
    from modelhopper_contract import experiment as contract
    from modelhopper_contract.cluster import Cluster

What = Literal["experiment", "cluster"]

_FORMS: dict[What, str] = {
    "experiment": "an experiment is keys and values, such as `name: iris`",
    "cluster": "a cluster is keys and values, such as `store: s3://bucket/prefix`",
}


@dataclass(frozen=True)
class Document:
    """A YAML file, read: its value, and where in the file each part of it stands."""

    path: Path  # as the user wrote it
    value: Mapping[str, Any]
    root: yaml.Node

    @property
    def folder(self) -> Path:
        """Where relative paths of the experiment begin."""
        return self.path.absolute().parent


def load_experiment(path: Path | str) -> Experiment:
    """Read an experiment from a YAML file.

    Relative paths in it begin at its folder. Raises SpecError, with file and line, for the first mistake in it, and
    UserError for a file that cannot be read.
    """
    from modelhopper.experiment import Experiment

    document = read_document(path)
    with locating(document):
        return Experiment.in_folder(document.value, document.folder)


def read_experiment(document: Document) -> contract.Experiment:
    """Return the experiment that a document describes; raise SpecError, with file and line, for a mistake in it."""
    from modelhopper_contract.experiment import Experiment, validated

    with locating(document):
        experiment: Experiment = validated(Experiment, document.value)
    return experiment


def load_cluster(path: Path | str) -> Cluster:
    """Read what a YAML file says of a cluster; raise SpecError, with file and line, for a mistake in it."""
    from modelhopper_contract.cluster import Cluster
    from modelhopper_contract.experiment import validated

    document = read_document(path, "cluster")
    with locating(document):
        cluster: Cluster = validated(Cluster, document.value)
    return cluster


@contextmanager
def locating(document: Document) -> Iterator[None]:
    """Let each SpecError that is raised inside say in which line of the document the mistake is."""
    try:
        yield
    except SpecError as error:
        found = SpecError(located(error, document), error.path)
        for note in getattr(error, "__notes__", []):
            found.add_note(note)
        raise found from error


def located(error: SpecError, document: Document) -> str:
    """Return an error's message with the file and, where it can be told, the line: `experiment.yaml:14: ...`."""
    line = line_of(document.root, error.path, str(error))
    return f"{document.path}:{line}: {error}" if line else f"{document.path}: {error}"


def read_document(path: Path | str, what: What = "experiment") -> Document:
    """Read a YAML file that holds a mapping; raise UserError, with the line, for anything else."""
    path = Path(path).expanduser()
    text = _text(path, what)
    try:
        return _read(path, text, what)
    except yaml.MarkedYAMLError as error:
        raise SpecError(f"{path}:{line_of_mistake(error)}: {in_words(error, text)}.") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{path}:{line}: the character {error.character:#04x} cannot stand in YAML.") from error


def _read(path: Path, text: str, what: What) -> Document:
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise SpecError(f"{path} is empty. `modelhopper init` writes files to begin with.")
        _refuse_other_than_mapping(path, root, what)
        _refuse_duplicates(path, root, ())
        return Document(path, loader.construct_document(root), root)
    finally:
        loader.dispose()


def _text(path: Path, what: What) -> str:
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the {what}'s file, such as {path / what}.yaml.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.{_nearest(path)}") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise SpecError(f"{path}:{line}: this is not UTF-8 text. Save the file as UTF-8.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f" The folder {path.parent} does not exist either."
    beside = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml", path.suffix)]
    return did_you_mean(path.name, beside)


def _refuse_other_than_mapping(path: Path, root: yaml.Node, what: What) -> None:
    if not isinstance(root, yaml.MappingNode):
        found = "a list" if isinstance(root, yaml.SequenceNode) else f"only `{str(root.value)[:40]}`"
        line = root.start_mark.line + 1
        raise SpecError(f"{path}:{line}: this is {found}; {_FORMS[what]}.")


def _refuse_duplicates(path: Path, node: yaml.Node, above: tuple[yaml.Node, ...]) -> None:
    if any(node is one for one in above):
        raise SpecError(f"{path}:{node.start_mark.line + 1}: this value holds itself (`&` and `*` of one name).")
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(path, item, (*above, node))
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, line) != line:
                raise SpecError(f"{path}:{line}: `{key.value}` is given twice, first in line {first[key.value]}.")
            _refuse_duplicates(path, value, (*above, node))
