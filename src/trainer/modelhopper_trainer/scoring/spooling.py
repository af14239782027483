"""Tables of a database, copied to a job's place as they are now: workers read them there, also after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modelhopper_contract.errors import UserError
from modelhopper_contract.model_card import ModelCard
from modelhopper_contract.scoring import Action, Part, ScoringNames, Spooled
from modelhopper_contract.store import Store
from modelhopper_trainer.scoring.fitting import Columns, choose
from modelhopper_trainer.scoring.planning import Ground, numbered


def survey_table(address: str, card: ModelCard, action: Action, said: Columns) -> Ground:
    """Return what a table or query holds for models of this card. Reads no rows."""
    with closing(databases().open_table(address, readers=1)) as table:
        chosen = choose([*table.fields, *table.hidden], table.name, card, action, said)
        return Ground(Spooled(name=table.name), *chosen)


def spool(address: str, ground: Ground, part_rows: int, store: Store, names: ScoringNames) -> tuple[Part, ...]:
    """Copy the rows, all of one moment, to the job's place, and return the parts that they make."""
    named = [*ground.columns.values(), *ground.labels.values(), (ground.id,) if ground.id else ()]
    wanted = list(dict.fromkeys(column for columns in named for column in columns))
    with closing(databases().open_table(address)) as table:
        counts = _kept(table.batches(wanted, part_rows), part_rows, store, names)
        rows = ({"unit": at, "begin": 0, "end": count, "rows": count} for at, count in enumerate(counts))
        return numbered(rows, table.name)


def databases() -> Any:
    """Return what reads and writes tables; raise UserError where its driver is not installed."""
    try:
        from modelhopper_trainer import databases as found  # noqa: PLC0415 -- its driver is an extra
    except ImportError as error:
        raise UserError("Tables of a database need an extra: pip install 'modelhopper[postgres]'.") from error
    return found


def gathered(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Give tables of so many rows from batches; the last may have fewer."""
    held: list[Any] = []
    count = 0
    for batch in batches:
        rest = batch
        while count + rest.num_rows >= rows:
            yield pa.Table.from_batches([*held, rest.slice(0, rows - count)])
            rest, held, count = rest.slice(rows - count), [], 0
        if rest.num_rows:
            held.append(rest)
            count += rest.num_rows
    if held:
        yield pa.Table.from_batches(held)


def _kept(batches: Iterator[Any], part_rows: int, store: Store, names: ScoringNames) -> Iterator[int]:
    for number, table in enumerate(gathered(batches, part_rows)):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        store.put(names.rows(number), bytes(memoryview(sink.getvalue())))
        yield table.num_rows
