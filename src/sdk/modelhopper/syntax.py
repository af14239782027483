"""YAML as users mean it: PyYAML's safe loader with the scalars of YAML 1.2, and syntax errors in words.

YAML 1.1, which PyYAML reads, takes `1e-3` for text, `no` for false, `010` for eight and `1:30` for ninety.
"""

from __future__ import annotations

import re

import yaml

# Tag, form, and the characters that such a scalar begins with (YAML 1.2, section 10.3.2; `<<` from 1.1 is kept).
_SCALARS = (
    ("null", r"(?:~|null|Null|NULL|)$", ["", *"~nN"]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", [*"tTfF"]),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", [*"-+0123456789"]),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", [*"-+.0123456789"]),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", [*"-+."]),
    ("merge", r"<<$", ["<"]),
)

_Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]


def _resolvers() -> _Resolvers:
    found: _Resolvers = {}
    for tag, form, first in _SCALARS:
        for character in first:
            found.setdefault(character, []).append((f"tag:yaml.org,2002:{tag}", re.compile(form)))
    return found


def _whole_number(_: Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 0) if re.match(r"0[xo]", text) else int(text)


class Loader(yaml.SafeLoader):
    """Reads one document. Use `get_single_node`, then `construct_document`, then `dispose`."""

    yaml_implicit_resolvers = _resolvers()
    yaml_constructors = yaml.SafeLoader.yaml_constructors | {"tag:yaml.org,2002:int": _whole_number}


def line_of_mistake(error: yaml.MarkedYAMLError) -> int:
    """Return the line, counted from 1, in which a syntax error is to be mended."""
    # What was opened and never closed is found at the end of the file, and mended where it begins.
    is_open = any(sign in (error.context or "") for sign in ("quoted scalar", "flow ", "simple key"))
    marks = (error.context_mark, error.problem_mark) if is_open else (error.problem_mark, error.context_mark)
    return next((mark.line + 1 for mark in marks if mark is not None), 1)


def in_words(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return what is wrong in `text`, without a full stop."""
    line = [*text.split("\n"), ""][error.problem_mark.line if error.problem_mark else 0]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab stands here; YAML is indented with spaces"
    said = f"{error.context or ''} {error.problem or ''}"
    return next((ours for theirs, ours in _WORDS if theirs in said), f"this is not YAML: {error.problem}")


# PyYAML's words, and ours.
_WORDS = (
    ("unknown escape character", "`\\` begins a special character in a text in double quotes; use single quotes"),
    ("quoted scalar", "a quotation mark is not closed"),
    ("flow sequence", "a `[` is not closed, or a comma is missing after it"),
    ("flow mapping", "a `{` is not closed, or a comma is missing after it"),
    (
        "mapping values are not allowed",
        "a `:` cannot stand here: the indentation is off, or text lacks quotation marks",
    ),
    ("could not find expected ':'", "a key has no `:` after it"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("expected the node content", "a value is missing"),
    ("but found another document", "a second document begins here; one file holds one experiment"),
    ("undefined alias", "no value of this name (`&name`) stands above"),
    ("unhashable key", "a list or mapping cannot be a key; text with braces needs quotation marks"),
    ("could not determine a constructor", "tags such as `!name` have no meaning here"),
    ("cannot start any token", "text that begins with this character needs quotation marks"),
    ("sequence entries are not allowed", "a list cannot begin here; put its first `-` on a line of its own"),
)
