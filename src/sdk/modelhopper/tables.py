"""Tables of text and of HTML: columns under groups, numbers to the right, and rows that say one thing across."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelhopper.display.words import metric

_GAP = "  "


@dataclass(frozen=True)
class Column:
    """One column: its title, the group it stands under, and a cell for every row."""

    title: str
    cells: Sequence[str]
    group: str = ""
    is_number: bool = True
    importance: int = 0  # where there is no room, the least important columns go, the last first

    @property
    def width(self) -> int:
        """Characters of the widest cell."""
        return max(len(self.title), *(len(cell) for cell in self.cells), 0)

    def padded(self, text: str) -> str:
        """Return a cell's text, as wide as the column."""
        return text.rjust(self.width) if self.is_number else text.ljust(self.width)


@dataclass(frozen=True)
class Table:
    """Columns of equal length. `notes`: rows, by position, whose number columns are replaced by a sentence."""

    columns: Sequence[Column]
    notes: Mapping[int, str] = field(default_factory=dict)

    def lines(self, width: int | None = None) -> list[str]:
        """Return the lines, the heading first, none longer than `width` where that is given."""
        columns = _with_room_for_groups(self._fitting(width))
        groups = _groups(columns)
        heading = _GAP.join(column.padded(column.title) for column in columns)
        rows = [self._row(columns, at) for at in range(len(columns[0].cells))]
        lines = [line.rstrip() for line in ([groups] if groups.strip() else []) + [heading, *rows]]
        return lines if width is None else [line if len(line) <= width else line[: width - 1] + "…" for line in lines]

    @property
    def heading_lines(self) -> int:
        """How many of the lines are the heading."""
        return 2 if any(column.group for column in self.columns) else 1

    def html(self) -> str:
        """Return the table for a notebook."""
        head = "".join(f"<th>{html.escape(f'{column.group} {column.title}'.strip())}</th>" for column in self.columns)
        body = "".join(f"<tr>{self._html_row(at)}</tr>" for at in range(len(self.columns[0].cells)))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _row(self, columns: Sequence[Column], at: int) -> str:
        if at not in self.notes:
            return _GAP.join(column.padded(column.cells[at]) for column in columns)
        first = _first_number(columns)
        return _GAP.join([*(column.padded(column.cells[at]) for column in columns[:first]), self.notes[at]])

    def _html_row(self, at: int) -> str:
        first = _first_number(self.columns) if at in self.notes else len(self.columns)
        cells = [
            f'<td style="text-align: {"right" if column.is_number else "left"}">{html.escape(column.cells[at])}</td>'
            for column in self.columns[:first]
        ]
        if at in self.notes:
            span = f'<td style="text-align: left" colspan="{len(self.columns) - first}">'
            cells.append(f"{span}{html.escape(self.notes[at])}</td>")
        return "".join(cells)

    def _without_noted(self) -> list[Column]:
        """Return the columns without the cells that a sentence replaces, which need no room."""
        first = _first_number(self.columns)
        return [
            replace(column, cells=["" if row in self.notes else cell for row, cell in enumerate(column.cells)])
            if at >= first
            else column
            for at, column in enumerate(self.columns)
        ]

    def _fitting(self, width: int | None) -> list[Column]:
        columns = self._without_noted()
        while width is not None and sum(column.width + len(_GAP) for column in columns) - len(_GAP) > width:
            spare = min(reversed(columns), key=lambda column: column.importance)
            if spare.importance == max(column.importance for column in columns):
                break
            columns.remove(spare)
        return columns


def number(value: float | None) -> str:
    """Return a metric's value for a cell: "0.967", "NaN", or nothing where there is none."""
    if value is None:
        return ""
    return "NaN" if math.isnan(value) else metric(value)


def _first_number(columns: Sequence[Column]) -> int:
    """Return where a row's sentence begins: after its own number and the text columns that follow it."""
    return next((at for at, column in enumerate(columns) if at > 0 and column.is_number), len(columns))


def _groups(columns: Sequence[Column]) -> str:
    line, last = "", ""
    for at, column in enumerate(columns):
        start = sum(before.width + len(_GAP) for before in columns[:at])
        if column.group != last:
            line = line.ljust(start) + column.group
        last = column.group
    return line


def _with_room_for_groups(columns: Sequence[Column]) -> list[Column]:
    """Widen the last column of every group whose name is longer than its columns together."""
    found = list(columns)
    for at, column in enumerate(columns):
        if at + 1 < len(columns) and columns[at + 1].group == column.group:
            continue
        members = [one for one in columns[: at + 1] if one.group == column.group]
        missing = len(column.group) - sum(one.width + len(_GAP) for one in members) + len(_GAP)
        if missing > 0:
            title = " " * missing + column.title.rjust(column.width)
            found[at] = replace(column, title=title)
    return found
