"""Committed files say nothing about the machine they were written on, and agree on the version."""

from __future__ import annotations

import ast
import re

import pytest

from tests.project import tree

# Patterns, so that this file does not hold what it forbids.
FORBIDDEN = {
    "a path of a developer's machine": re.compile(r"(?<![\w.])/([w]ork|[r]oot)/"),
    "the host of a package registry": re.compile(r"pypi\.org|pythonhosted\.org|proxy\.golang\.org", re.IGNORECASE),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    found = [
        f"{tree.name(path)}:{number}: {line.strip()}"
        for path in tree.files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert not found, "\n".join(found)


def test_the_changelog_begins_with_this_version() -> None:
    changelog = (tree.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == tree.project()["version"]


def test_every_package_says_what_lives_there_and_what_never_happens() -> None:
    for package in tree.PACKAGES.values():
        charter = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert "What lives here:" in charter, tree.name(package)
        assert "What never happens here:" in charter, tree.name(package)
