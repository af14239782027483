"""The first reading of a source: how many rows there are, and the values of those columns that must be known before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelhopper_contract.errors import DataError
from modelhopper_trainer.packing.columns import Array, Batch, Source, ahead, listed
from modelhopper_trainer.packing.dealing import Wish
from modelhopper_trainer.packing.fields import columns_of
from modelhopper_trainer.packing.ids import IdSurvey
from modelhopper_trainer.packing.labels import Classes, Pairs, Tally
from modelhopper_trainer.packing.outputs import Kinds, class_rows
from modelhopper_trainer.packing.selection import Fields


@dataclass
class Survey:
    """What a source holds. Memory grows with the number of distinct values only."""

    columns: Mapping[str, str]  # of each label that has classes, by output
    labels: Mapping[str, Tally]  # by output
    wish: Wish
    parts: Tally | None  # of the column that parts the rows
    pairs: Pairs | None  # of groups and the classes that are dealt evenly
    ids: IdSurvey | None
    rows: int = 0

    def names(self) -> list[str]:
        """Return the columns to read, each once."""
        names = list(self.columns.values())
        if self.parts is not None and self.wish.column is not None:
            names.append(self.wish.column)
        if self.ids is not None and not self.ids.is_plain:
            names.append(self.ids.column)
        return list(dict.fromkeys(names))

    def add(self, batch: Batch) -> None:
        """Count some neighbouring rows."""
        for name, tally in self.labels.items():
            tally.add(batch[self.columns[name]])
        column, label = self.wish.column, self.wish.stratify
        if self.parts is not None and column is not None:
            self.parts.add(batch[column])
            if self.pairs is not None and label is not None:
                self.pairs.add(batch[column], batch[self.columns[label]])
        if self.ids is not None and self.ids.column in batch and not self.ids.is_plain:
            self.ids.add(batch, self.rows)
        self.rows += len(next(iter(batch.values())))

    def counts(self, parts: Classes | None, classes: Mapping[str, Classes | None]) -> Array:
        """Return the rows by part and by class that is dealt evenly; one of either where nothing is said of it."""
        label = None if self.wish.stratify is None else classes[self.wish.stratify]
        if parts is not None and self.parts is not None:
            if label is not None and self.pairs is not None:
                return self.pairs.table(parts, label)
            return np.array(class_rows(parts, self.parts), np.int64).reshape(-1, 1)
        if label is not None and self.wish.stratify is not None:
            return np.array([class_rows(label, self.labels[self.wish.stratify])], np.int64)
        return np.array([[self.rows]], np.int64)


def survey(source: Source, chosen: Fields, kinds: Kinds, wish: Wish, id_column: str | None, batch_rows: int) -> Survey:
    """Read what must be known before rows are written; nothing where the number of rows is known and is enough."""
    columns = {output.name: output.columns[0] for output in chosen.outputs if kinds[output.name] == "classes"}
    found = Survey(
        columns=columns,
        labels={name: Tally(f"{source.name}: `{column}`") for name, column in columns.items()},
        wish=wish,
        parts=wish.tally(source),
        pairs=Pairs() if wish.group_by is not None and wish.stratify is not None else None,
        ids=None if id_column is None else IdSurvey(source, id_column),
    )
    aside = [name for name in (wish.column, id_column) if name is not None]
    known = _known_rows(source, [*columns_of([*chosen.inputs, *chosen.outputs]), *aside])
    names = found.names()
    if known is None and not names:
        names = [chosen.inputs[0].columns[0]]
    for batch in ahead(source.read(names, batch_rows)) if names else ():
        found.add(batch)
    if not names:
        found.rows = known or 0
    if found.rows == 0:
        raise DataError(f"{source.name} has no rows.")
    return found


def _known_rows(source: Source, names: Sequence[str]) -> int | None:
    rows = {name: source.columns[name].rows for name in names}
    if len(set(rows.values())) > 1:
        counts = listed([f"`{name}` has {count}" for name, count in rows.items()])
        raise DataError(f"{source.name}: all arrays must have the same number of rows, but {counts}.")
    return rows[names[0]]
