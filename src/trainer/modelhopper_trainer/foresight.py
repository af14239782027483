"""Reading and checking shards before anybody asks for them: while TensorFlow starts, and while others are trained on.

No TensorFlow here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from modelhopper_contract.errors import ConflictError, ModelhopperError
from modelhopper_contract.manifest import ROW_ID, File
from modelhopper_contract.messages import Begin, Command, Measure, Prepare
from modelhopper_contract.records import Split
from modelhopper_contract.ring import Stations
from modelhopper_contract.specification import Specification
from modelhopper_trainer.shard_files import ShardFiles
from modelhopper_trainer.shards import DataSet, open_data

Data = Mapping[Split, DataSet]

_SPLITS: tuple[Split, ...] = ("training", "validation")


class CheckedOnce:
    """Files of shards, each of which is fetched and checked once, whoever asks first, in whatever thread."""

    def __init__(self, files: ShardFiles) -> None:
        self._files = files
        self._found: dict[tuple[int, str], Future[Path]] = {}
        self._lock = threading.Lock()

    def path(self, shard: int, field: str, expected: File) -> Path:
        """Return the file, waiting for it where another thread is at it; what went wrong is tried again next time."""
        key = shard, field
        with self._lock:
            is_mine = key not in self._found
            found = self._found.setdefault(key, Future())
        if is_mine:
            self._settle(found, key, lambda: self._files.path(shard, field, expected))
        return found.result()

    def _settle(self, found: Future[Path], key: tuple[int, str], find: Callable[[], Path]) -> None:
        try:
            found.set_result(find())
        except BaseException as error:  # noqa: BLE001 -- raised by whoever asks
            with self._lock:
                del self._found[key]
            found.set_exception(error)


def read_ahead(data: Data, shards: Mapping[Split, Sequence[int]]) -> dict[Split, DataSet]:
    """Begin to fetch and check shards, one after another in the background; return the data sets to read them by."""
    found = {split: replace(one, files=CheckedOnce(one.files)) for split, one in data.items()}

    def read() -> None:
        try:
            for split in _SPLITS:
                for shard in shards.get(split, ()) if split in found else ():
                    files = found[split].manifest.shards[shard].files
                    for field, expected in ((name, file) for name, file in files.items() if name != ROW_ID):
                        found[split].files.path(shard, field, expected)
        except ModelhopperError:
            return  # whoever needs the shard finds out

    threading.Thread(target=read, name="read ahead", daemon=True).start()
    return found


def shards_of(specification: Specification, station: int, stations: int) -> dict[Split, list[int]]:
    """Return the shards that a station is sure to need, in the order in which they count."""
    counts: dict[Split, int] = {"training": specification.shards, "validation": specification.validation_shards}
    return {split: Stations(stations, count).held(station) for split, count in counts.items() if count}


class Foresight:
    """Hears what a station's process is asked for, and opens the data of its first run while TensorFlow starts."""

    def __init__(self) -> None:
        self._part: Begin | None = None
        self._is_used = False
        self._opened: Future[tuple[Specification, Data]] | None = None

    def hear(self, command: Command) -> None:
        """Take note of a command; returns at once."""
        if isinstance(command, Begin):
            self._part = command
        if isinstance(command, Prepare | Measure) and self._part is not None and not self._is_used:
            self._is_used, self._opened = True, Future()
            arguments = (self._opened, command.specification, self._part)
            threading.Thread(target=_open, args=arguments, name="foresight", daemon=True).start()

    def data(self, specification: Specification) -> Data | None:
        """Return the data sets, once, if they are what a run wants; None leaves it to others, and so any mistake."""
        opened, self._opened = self._opened, None
        if opened is None:
            return None
        try:
            found, data = opened.result()
        except ModelhopperError:
            return None
        return data if found == specification else None


def _open(opened: Future[tuple[Specification, Data]], specification: Specification, part: Begin) -> None:
    try:
        data = {split: _data_set(specification, split) for split in _SPLITS if specification.written(split)}
        opened.set_result((specification, read_ahead(data, shards_of(specification, part.station, part.stations))))
    except BaseException as error:  # noqa: BLE001 -- for who asks for the data
        opened.set_exception(error)


def _data_set(specification: Specification, split: Split) -> DataSet:
    written = specification.written(split)
    assert written is not None  # noqa: S101 -- for the type
    found = open_data(specification.address(written))
    if found.manifest.digest() != specification.digests[written]:
        raise ConflictError(f"{found.place} has changed.")
    return found
