"""The documentation is true: links lead somewhere, code compiles, records are listed."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from markdown_it.token import Token

from modelhopper_contract.cluster import Cluster
from modelhopper_contract.part import Part
from tests.project import tree

DECISIONS = tree.ROOT / "docs/decisions"


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    broken = [
        f"{tree.name(page)}: {link}" for page in tree.files(".md") for link in links(page) if not resolves(page, link)
    ]
    assert not broken, "\n".join(broken)


def test_every_python_block_compiles() -> None:
    for page, block in blocks("python"):
        compile(block.content, f"{tree.name(page)}:{line(block)}", "exec", dont_inherit=True)


def test_every_yaml_block_parses() -> None:
    for page, block in blocks("yaml"):
        try:
            list(yaml.safe_load_all(block.content))
        except yaml.YAMLError as error:
            raise AssertionError(f"{tree.name(page)}:{line(block)}: {error}") from error


def test_every_decision_record_is_listed() -> None:
    listed = {link for link in links(DECISIONS / "README.md") if re.match(r"\d{4}-", link)}
    assert listed == {record.name for record in records()}


def test_every_key_of_a_cluster_is_listed_with_its_default() -> None:
    (table,) = [one for one in tables(tree.ROOT / "docs/cluster.md") if one[0][0] == "key"]
    listed = {key.strip("`"): default.strip("`") for names, default, _ in table[1:] for key in names.split(", ")}
    assert listed == dict(keys(Cluster))


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = [int(record.name[:4]) for record in records()]
    assert numbers == list(range(1, len(numbers) + 1))


def records() -> list[Path]:
    return [page for page in tree.files(".md") if page.parent == DECISIONS and page.name != "README.md"]


def blocks(language: str) -> Iterator[tuple[Path, Token]]:
    for page in tree.files(".md"):
        for token in tree.markdown(page):
            if token.type == "fence" and token.info.split()[:1] == [language]:
                yield page, token


def line(block: Token) -> int:
    return (block.map or [0])[0] + 1


def tables(page: Path) -> Iterator[list[list[str]]]:
    """Yield the tables of a page as rows of cells; the first row is the head."""
    rows: list[list[str]] = []
    for before, token in itertools.pairwise(tree.markdown(page)):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif before.type in ("th_open", "td_open"):
            rows[-1].append(token.content)
        elif token.type == "table_close":
            yield rows


def keys(part: type[Part], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield what can stand in a part of a file, with its default as JSON."""
    for name, field in part.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Part):
            yield from keys(type(default), f"{above}{name}.")
        else:
            yield f"{above}{name}", "required" if field.is_required() else json.dumps(default)


def links(page: Path) -> Iterator[str]:
    for token in tree.markdown(page):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target and not urlsplit(str(target)).scheme:
                yield str(target)


def resolves(page: Path, link: str) -> bool:
    target = urlsplit(link)
    path = page.parent / unquote(target.path) if target.path else page
    if not path.exists() or not path.resolve().is_relative_to(tree.ROOT.resolve()):
        return False
    return not target.fragment or path.suffix != ".md" or target.fragment in anchors(path)


def anchors(page: Path) -> set[str]:
    """Return the headings' names as GitHub makes them: lower case, no punctuation, hyphens for spaces."""
    tokens = tree.markdown(page)
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
