"""Where in a YAML file a mistake is: from the path that an error carries to a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import yaml

Path = tuple[str | int, ...]

# Where a configuration's settings come from: what varies is looked at before what is the same for all.
_SOURCES: tuple[Path, ...] = (("search", "space"), ("search", "configurations"), ("compile",), ("fit",))


class Place(NamedTuple):
    """A part of a document that a path leads to, or some way towards."""

    depth: int  # parts of the path that were followed
    line: int  # from 1
    node: yaml.Node


def line_of(root: yaml.Node, path: Path, message: str) -> int | None:
    """Return the line, counted from 1, that an error is about, or None when it cannot be told.

    `path` begins at the document's top, or inside a configuration, as in ("optimizer", "learning_rate"). What leads
    farthest wins; within it, the line that holds the first word that `message` quotes.
    """
    places = sorted(_places(root, path), key=lambda place: -place.depth)
    word = re.search(r"`([^`]+)`", message)
    if word is not None:
        for place in places or [Place(0, 0, root)]:
            mentioned = next(_mentions(place.node, word[1], set()), None)
            if mentioned is not None:
                return mentioned
    return places[0].line if places else None


def _places(root: yaml.Node, path: Path) -> Iterator[Place]:
    start = Place(0, 0, root)
    found = [_followed(start, path)]
    for source in _SOURCES:
        top = _followed(start, source)
        if top.depth == len(source):
            found.append(_followed(Place(0, top.line, top.node), path))
    if path[:1] == ("model",):
        found += _models(_followed(start, ("models",)), path[1:])
    yield from (place for place in found if place.depth > 0)


def _models(models: Place, rest: Path) -> list[Place]:
    if models.depth == 0 or not isinstance(models.node, yaml.MappingNode):
        return [models]
    each = [Place(1, key.start_mark.line + 1, value) for key, value in models.node.value]
    return [*(_followed(place, rest) for place in each), models]


def _followed(place: Place, path: Path) -> Place:
    """Follow a path as far as it goes. Lists on the way are looked through when the path gives no position in them."""
    if not path:
        return place
    part, node = path[0], place.node
    if isinstance(node, yaml.SequenceNode):
        if isinstance(part, int) and part < len(node.value):
            item = node.value[part]
            return _followed(Place(place.depth + 1, item.start_mark.line + 1, item), path[1:])
        inner = [_followed(Place(place.depth, place.line, item), path) for item in node.value]
        return max(inner, key=lambda one: one.depth, default=place)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        if str(key.value) == str(part):
            return _followed(Place(place.depth + 1, key.start_mark.line + 1, value), path[1:])
    return place


def _mentions(node: yaml.Node, word: str, seen: set[int]) -> Iterator[int]:
    """Yield the line of each key or value that is `word`, or is a `file.py:name` of the file `word`."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        if node.value == word or node.value.startswith(f"{word}:"):
            yield node.start_mark.line + 1
        return
    for item in node.value:
        for inner in item if isinstance(node, yaml.MappingNode) else (item,):
            yield from _mentions(inner, word, seen)
