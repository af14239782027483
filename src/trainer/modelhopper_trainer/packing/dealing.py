"""Dealing rows to shards as the user says: evenly by class, to groups with shards of their own, by a column's values.

Rows that are dealt evenly go in rounds, as all rows do where nothing is said: each round gives every shard one, in an
order that is drawn for it. Here every class has rounds of its own, and so has every class of every group. What is left
over after the last whole round of a class begins at the shard where that of the class before ended. So two shards
differ by at most one row of each class and by at most one row in all. So do two sums over every k-th shard, where k
divides their number: folds are such.

All of it depends on the seed and on the rows' order only, and is held in memory for one round per class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelhopper_contract.errors import DataError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.packing.columns import Array, Source, listed
from modelhopper_trainer.packing.draws import Dealer
from modelhopper_trainer.packing.fields import changed
from modelhopper_trainer.packing.labels import Classes, Tally, find_classes, match_classes
from modelhopper_trainer.packing.outputs import Kinds
from modelhopper_trainer.packing.scatter import Deal
from modelhopper_trainer.packing.training import Training, class_name

MOST_PARTS = 10_000  # groups, or shards by a column: each is a folder at least


@dataclass(frozen=True)
class Wish:
    """What the user says about which rows go to which shards."""

    shards: int | None
    stratify: str | None = None  # an output
    group_by: str | None = None  # a column
    shard_by: str | None = None  # a column

    @property
    def column(self) -> str | None:
        """The column whose values part the rows."""
        return self.group_by or self.shard_by

    def refuse_contradictions(self) -> None:
        """Raise DataError for wishes that cannot come true together, and where the number of shards is missing."""
        if self.shard_by is not None and self.group_by is not None:
            raise DataError(
                "shard_by makes one shard of each value, and group_by several shards of each: give one of them."
            )
        if self.shard_by is not None and self.stratify is not None:
            raise DataError(
                "shard_by says which shard each row goes to, so stratify cannot deal classes evenly: give one of them."
            )
        if self.shards is None and self.shard_by is None:
            raise DataError("shards is missing: say how many, or with shard_by which column makes them.")

    def refuse_misfit(self, source: Source, kinds: Kinds, training: Training | None) -> None:
        """Raise DataError when the output or the column is not one that can decide this."""
        if self.stratify is not None and kinds.get(self.stratify) != "classes":
            have = [name for name, kind in kinds.items() if kind == "classes"]
            raise DataError(
                f"{source.name}: stratify is `{self.stratify}`, which is not an output of classes."
                f"{did_you_mean(self.stratify, have)} Outputs of classes: {listed(have) or 'none'}."
            )
        if self.column is not None and source.columns[self.column].shape not in {(), (1,)}:
            raise DataError(f"{source.name}: `{self.column}` has several values per row; to part the rows, give one.")
        if training is not None and self.group_by is not None:
            training.refuse_other_groups(self.group_by)

    def tally(self, source: Source) -> Tally | None:
        """Return what counts the values of the column, where there is one."""
        if self.column is None:
            return None
        nouns = ("group", "groups") if self.group_by else ("shard", "shards")
        return Tally(f"{source.name}: `{self.column}`", nouns, MOST_PARTS, "Choose another column.")


@dataclass(frozen=True)
class Division:
    """Which shards there are, and which rows go to which."""

    shards: int
    largest: int  # rows of the largest shard
    strata: tuple[Stratum, ...]  # those of a part's classes follow each other; none where nothing is said
    classes: int = 1  # of each part

    def deal(self, source: Source, seed: int, part: int | None, label: int | None) -> Deal | None:
        """Return what deals rows, from the numbers of the fields of parts and of classes; None for any shard."""
        if part is not None and not self.strata:
            return lambda fields: fields[part].astype(np.int64)
        if not self.strata:
            return None
        decks = _Decks(self.strata, seed, source)

        def deal(fields: Sequence[Array]) -> Array:
            places = np.zeros(len(fields[0]), np.int64) if part is None else fields[part].astype(np.int64)
            return decks.deal(places * self.classes + (0 if label is None else fields[label]))

        return deal


@dataclass(frozen=True)
class Stratum:
    """Rows that are dealt evenly to some neighbouring shards."""

    rows: int
    first: int  # of its shards
    shards: int
    start: int = 0  # the one of its shards, from 0, that gets the first row of those that are left over


def parts_of(source: Source, wish: Wish, tally: Tally, training: Training | None) -> Classes:
    """Return the values of the column that parts the rows, ascending; of validation data, those of its training data.

    Raises DataError for a group that the training data lacks.
    """
    if training is None or wish.group_by is None:
        values, codes = find_classes(tally, untyped=source.untyped)
        return Classes(values, len(values), codes)
    groups = training.manifest.groups
    codes, lacking = match_classes(tally, groups, untyped=source.untyped)
    if lacking:
        raise training.lacking_groups(source.name, [(value, tally.counts[place]) for place, value in lacking.items()])
    return Classes(groups, len(groups), codes)


def divide(source: Source, wish: Wish, counts: Array, parts: Classes | None) -> Division:
    """Return the division that the user wishes for. `counts`: rows by part and class, one where nothing is said.

    Raises DataError when there are too few rows, or another number of shards than was asked for.
    """
    if wish.shard_by is not None:
        _refuse_other_number(source, wish, len(counts))
        return Division(len(counts), int(counts.sum(axis=1).max()), ())
    shards = wish.shards or 1
    totals = counts.sum(axis=1)
    if wish.group_by is not None and parts is not None:
        _refuse_few_rows_of_groups(source, wish.group_by, shards, totals, parts)
    elif totals.sum() < shards:
        raise DataError(
            f"{source.name} has {totals.sum()} rows, too few for {shards} shards. "
            f"Ask for at most {totals.sum()} shards."
        )
    largest = -(-int(totals.max()) // shards)
    if wish.group_by is None and wish.stratify is None:
        return Division(shards, largest, ())
    return Division(shards * len(counts), largest, tuple(_strata(counts, shards)), counts.shape[1])


def _strata(counts: Array, shards: int) -> list[Stratum]:
    found = []
    for part, rows_of_classes in enumerate(counts.tolist()):
        start = 0
        for rows in rows_of_classes:
            found.append(Stratum(rows, part * shards, shards, start))
            start = (start + rows) % shards
    return found


class _Decks:
    """Deals the rows of many strata."""

    def __init__(self, strata: Sequence[Stratum], seed: int, source: Source) -> None:
        self._strata = strata
        self._seed = seed
        self._source = source
        self._decks: dict[int, _Deck] = {}

    def deal(self, codes: Array) -> Array:
        """Return the shards of the next rows, from the number of each one's stratum."""
        dealt = np.empty(len(codes), np.int64)
        # Numbers of 16 bits are sorted by counting.
        order = np.argsort(codes.astype(np.uint16) if len(self._strata) <= 1 << 16 else codes, kind="stable")
        present, starts = np.unique(codes[order], return_index=True)
        for stratum, rows in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            if stratum not in self._decks:
                self._decks[stratum] = _Deck(self._strata[stratum], self._seed, stratum)
            shards = self._decks[stratum].deal(len(rows))
            if len(shards) < len(rows):
                raise changed(self._source)
            dealt[rows] = shards
        return dealt


class _Deck:
    """The shards of one stratum's rows: whole rounds, and at the end those that get one row more."""

    def __init__(self, stratum: Stratum, seed: int, number: int) -> None:
        self._stratum = stratum
        self._dealer = Dealer(seed, stratum.shards, stream=(2, number))
        self._whole = stratum.rows - stratum.rows % stratum.shards  # rows that are left in whole rounds
        self._last: Array | None = None

    def deal(self, rows: int) -> Array:
        """Return the shards of the next rows; fewer when the stratum has no more."""
        whole = min(rows, self._whole)
        self._whole -= whole
        dealt = self._dealer.deal(whole)
        if rows > whole:
            last = self._last_round() if self._last is None else self._last
            dealt, self._last = np.concatenate([dealt, last[: rows - whole]]), last[rows - whole :]
        return dealt + self._stratum.first

    def _last_round(self) -> Array:
        order, one = self._dealer.deal(self._stratum.shards), self._stratum
        return order[(order - one.start) % one.shards < one.rows % one.shards]


def _refuse_other_number(source: Source, wish: Wish, values: int) -> None:
    if wish.shards not in (None, values):
        raise DataError(
            f"{source.name}: shards is {wish.shards}, but `{wish.shard_by}` has {values} values, and each is a shard. "
            "Leave shards out."
        )


def _refuse_few_rows_of_groups(source: Source, column: str, shards: int, totals: Array, groups: Classes) -> None:
    few = [
        f"{class_name(groups.values[place])} ({totals[place]})" for place in np.flatnonzero(totals < shards).tolist()
    ]
    if few:
        what, verb = ("group", "has") if len(few) == 1 else ("groups", "have")
        count = "1 shard" if shards == 1 else f"{shards} shards"
        raise DataError(
            f"{source.name}: {len(few)} {what} of `{column}` {verb} too few rows for {count} each: "
            f"{listed(few, 8)}. Ask for fewer shards, or leave these rows out."
        )
