"""What every benchmark returns, and the page that holds it: docs/benchmarks.md.

A benchmark is a script `benchmarks/NAME.py` with a function `section(repeats)` and, at its end,

    if __name__ == "__main__":
        main(section)

so that `python benchmarks/NAME.py [--repeats N] [--write]` prints it, and writes it where `--write` is given.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from measure import ROOT, machine

PAGE = ROOT / "docs/benchmarks.md"
# The order of the page; what is not listed follows.
ORDER = (
    "iris",
    "fraud",
    "images",
    "schedule",
    "planning",
    "hop",
    "packing",
    "scoring",
    "fused",
    "warm",
    "stations",
    "settings",
)
TABLE = ("<!-- targets: written by `make bench ARGS=--write`, until the end mark -->", "<!-- end of targets -->")
DETAILS = ("<!-- details: written by `make bench ARGS=--write`, until the end mark -->", "<!-- end of details -->")
HEAD = "| work | measured | against | ratio | target | reached |\n|---|---|---|---|---|---|"


class Row(NamedTuple):
    """A line of the table of targets; one without a target only tells."""

    work: str
    measured: str
    against: str
    ratio: str
    target: str
    reached: bool


class Section(NamedTuple):
    """What one benchmark found. `name` is the script's name; `details` are Markdown, headings from #### on."""

    name: str
    rows: list[Row]
    details: list[str]


def main(section: Callable[[int], Section], repeats: int = 3) -> None:
    """Run a benchmark from the command line; `repeats` is what it takes when nobody says."""
    parser = argparse.ArgumentParser(description=(section.__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=repeats, help=f"turns of each measurement (default {repeats})")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the figures into a file")
    given = parser.parse_args()
    found = section(given.repeats)
    print(shown(found))
    if given.json:
        given.json.write_text(json.dumps(found))
    if given.write:
        write([found])


def loaded(path: Path) -> Section:
    """Return the section that `--json` wrote."""
    name, rows, details = json.loads(path.read_text())
    return Section(name, [Row(*row) for row in rows], details)


def shown(section: Section) -> str:
    """Return a section as Markdown to read in a terminal."""
    return "\n".join([table([line("", row) for row in section.rows]), "", *section.details])


def write(sections: Iterable[Section], path: Path = PAGE) -> None:
    """Put sections into the page; those that are not given keep what they have."""
    text = path.read_text()
    for section in sections:
        text = replaced(text, section, ground())
    path.write_text(text)


def replaced(page: str, section: Section, ground: str) -> str:
    """Return the page with a section's rows and details put in the place of its old ones."""
    rows = [row for row in between(page, TABLE).splitlines()[2:] if owner(row) != section.name]
    rows += [line(section.name, row) for row in section.rows]
    page = put(page, TABLE, table(sorted(rows, key=lambda row: place(owner(row)))))
    parts = re.split(r"^(?=### )", between(page, DETAILS), flags=re.MULTILINE)
    blocks = {part.splitlines()[0].removeprefix("### "): part.strip() for part in parts if part.strip()}
    blocks[section.name] = "\n".join([f"### {section.name}", "", *section.details, "", ground])
    return put(page, DETAILS, "\n\n".join(blocks[name] for name in sorted(blocks, key=place)))


def table(lines: list[str]) -> str:
    return "\n".join([HEAD, *lines])


def line(name: str, row: Row) -> str:
    """Return a row of the table; its first cell leads to the section's details, which also says whose row it is."""
    reached = ("yes" if row.reached else "no") if row.target else ""
    work = f"[{row.work}](#{name})" if name else row.work
    return f"| {work} | {row.measured} | {row.against} | {row.ratio} | {row.target} | {reached} |"


def owner(row: str) -> str:
    found = re.search(r"\]\(#([\w-]+)\) \|", row)
    return found[1] if found else ""


def place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def ground() -> str:
    """Say what the figures stand on: the machine and the versions."""
    return "Measured on " + "; ".join(f"{what} {value}" for what, value in machine()) + "."


def between(page: str, marks: tuple[str, str]) -> str:
    return page.partition(marks[0])[2].partition(marks[1])[0].strip()


def put(page: str, marks: tuple[str, str], text: str) -> str:
    before, begin, rest = page.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise SystemExit(f"docs/benchmarks.md lacks a mark: {marks[0]} ... {marks[1]}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"
