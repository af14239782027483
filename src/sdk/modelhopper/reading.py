"""Reading an experiment's records from the store, as far as it is: running, interrupted, failed or finished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

from modelhopper_contract.cancellation import is_cancelled
from modelhopper_contract.decisions import Turn
from modelhopper_contract.errors import CorruptObject, ObjectNotFound
from modelhopper_contract.messages import Started
from modelhopper_contract.names import Names, checkpoint_number, replica_number, token_name
from modelhopper_contract.record import Record
from modelhopper_contract.records import Configuration, History, Outcome, Retried, Stay
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Entry, Store
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.submission import Submission

_R = TypeVar("_R", bound=Record)

Stage = Literal["begun", "submitted", "preparing", "unknown"]

_REQUESTS = 16  # at the same time, where each takes a round trip


class Reader:
    """One experiment's records. Every method reads anew, but an object that did not change is fetched once."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.names = Names(name)
        self._known: dict[str, tuple[Entry, Record]] = {}
        self._all: list[Configuration] | None = None  # the configurations, once none can be added

    def stage(self) -> Stage:
        """Return how far the experiment's beginning is: it has begun, was handed to a cluster, or is being built."""
        if self.store.list(self.names.specification()):
            return "begun"
        if self.was_submitted():
            return "submitted"
        return "preparing" if self.store.list(self.names.root()) else "unknown"

    def was_submitted(self) -> bool:
        """Say whether the experiment was handed to a cluster."""
        return bool(self.store.list(self.names.submission()))

    def submission(self) -> tuple[Submission, float]:
        """Return what was handed to a cluster, and when, in seconds since 1970; raise ObjectNotFound without one."""
        name = self.names.submission()
        when_s = max((entry.modified_s for entry in self.store.list(name)), default=0.0)
        return Submission.from_json(self.store.get(name), name), when_s

    def is_cancelled(self) -> bool:
        """Say whether the run is asked to stop."""
        return is_cancelled(self.store, self.names.experiment)

    def specification(self) -> Specification:
        """Return the specification; raise ObjectNotFound when the experiment has not begun."""
        name = self.names.specification()
        return Specification.from_json(self.store.get(name), name)

    @property
    def configurations(self) -> list[Configuration]:
        """All configurations, by number. None ever changes, but a search may add some while it runs."""
        if self._all is not None:
            return self._all
        turns = self.turns()
        found = self._records(self.store.list(self.names.configurations()), Configuration)
        is_whole = turns[-1].is_last if turns else bool(self.store.list(self.names.specification()))
        if found and is_whole:
            self._all = found
        return found

    def turns(self) -> list[Turn]:
        """Return what a search has decided, in order; nothing where it decided everything before the run began."""
        return self._records(self.store.list(self.names.turns()), Turn)

    def is_complete(self) -> bool:
        """Say whether every configuration of a run that has begun has ended, and no search will add one."""
        turns = self.turns()
        if turns and not turns[-1].is_last:
            return False
        return len(self.store.list(self.names.outcomes())) >= len(self.configurations)

    def histories(self, number: int | None = None) -> list[History]:
        """Return the metrics of every evaluated iteration that counts, by configuration and iteration.

        What a configuration did before it was known that it had ended earlier does not count.
        """
        ends, shards = self._ends(self.outcomes())
        found = self._records(self._history_entries(number), History)
        return [one for one in found if not _is_after(one, ends.get(one.configuration), shards)]

    def last_histories(self, outcomes: Mapping[int, Outcome] | None = None) -> dict[int, History]:
        """Return the metrics of each configuration's result, or, while it has none, of its last evaluated iteration.

        `outcomes`: as they were read just before.
        """
        ends, shards = self._ends(self.outcomes() if outcomes is None else outcomes)
        entries = self._history_entries(None)
        last = {entry.name.rpartition("/")[0]: entry for entry in entries}
        results = {self.names.history(number, one.hops // shards) for number, one in ends.items()}
        last |= {entry.name.rpartition("/")[0]: entry for entry in entries if entry.name in results}
        return {history.configuration: history for history in self._records(list(last.values()), History)}

    def outcomes(self) -> dict[int, Outcome]:
        """Return how configurations ended, by number."""
        found = self._records(self.store.list(self.names.outcomes()), Outcome)
        return {outcome.configuration: outcome for outcome in found}

    def stays(self, number: int | None = None) -> list[Stay]:
        """Return the journal, by configuration and hop."""
        return self._records(self.store.list(self.names.journals(number)), Stay)

    def retries(self, number: int) -> list[Retried]:
        """Return what of a configuration was begun at stations that died, by hop."""
        return self._records(self.store.list(self.names.retries(number)), Retried)

    def last_stays(self, count: int) -> list[Stay]:
        """Return the last lines of each configuration's journal, by configuration and hop."""
        own: dict[str, list[Entry]] = {}
        for entry in self.store.list(self.names.journals()):
            own.setdefault(entry.name.rpartition("/")[0], []).append(entry)
        return self._records([entry for entries in own.values() for entry in entries[-count:]], Stay)

    def hops(
        self, outcomes: Mapping[int, Outcome] | None = None, specification: Specification | None = None
    ) -> dict[int, int]:
        """Return the newest checkpoint of each configuration, or, where its result is an earlier one, its last.

        Where hops are merged, those count, too, whose replicas wait for it. `outcomes` and `specification`: as they
        were read just before.
        """
        newest = {one.number: one.first_hop for one in self.configurations}
        for entry in self.store.list(self.names.checkpoints()):
            number, hop = checkpoint_number(entry.name)
            newest[number] = max(hop, newest.get(number, 0))
        if specification is None and self.store.list(self.names.specification()):
            specification = self.specification()
        if specification is not None and specification.ring.merges:
            newest = self._with_replicas(newest, specification.ring.shards - 1)
        ends, _ = self._ends(self.outcomes() if outcomes is None else outcomes)
        return newest | {number: one.hops_trained for number, one in ends.items()}

    def work(self, shards: int) -> dict[int, Started]:
        """Return what each station works on: the token that is in its inbox for longest. Nothing for an empty inbox."""
        found: dict[int, Started] = {}
        for one in self._due(shards):
            found.setdefault(one.station, one)
        return found

    def work_of(self, number: int, shards: int) -> list[Started]:
        """Return what is due of one configuration, wherever."""
        return [one for one in self._due(shards) if one.configuration == number]

    def changed_s(self) -> float:
        """Return when something last happened, in seconds since 1970 by the store's clock."""
        prefixes = (self.names.specification(), self.names.checkpoints(), self.names.histories(), self.names.outcomes())
        return max(entry.modified_s for prefix in prefixes for entry in self.store.list(prefix))

    def log_entries(self) -> list[Entry]:
        """List what stations and pods printed, by file name."""
        return self.store.list(self.names.logs())

    def log(self, entry: Entry) -> str:
        """Return what a station or pod printed."""
        return self.store.get(entry.name).decode(errors="replace")

    def _with_replicas(self, newest: Mapping[int, int], most: int) -> dict[int, int]:
        """Add, to at most so many, the replicas of the iteration that each is in: only the merged state is its end."""
        replicas = [replica_number(entry.name) for entry in self.store.list(self.names.replicas())]
        waiting = Counter(number for number, hop in replicas if hop >= newest.get(number, 0))
        return {number: hop + min(waiting[number], most) for number, hop in newest.items()}

    def _ends(self, outcomes: Mapping[int, Outcome]) -> tuple[dict[int, Outcome], int]:
        """Return the outcomes of those whose result need not be the newest that is there, and the number of shards."""
        found = {n: one for n, one in outcomes.items() if one.state == "stopped" or one.trained is not None}
        return found, self.specification().ring.shards if found else 1

    def _due(self, shards: int) -> Iterator[Started]:
        for entry in sorted(self.store.list(self.names.inbox()), key=lambda one: (one.modified_s, one.name)):
            station, number, action, at = token_name(entry.name)
            hop = at if action == "train" else at * shards
            yield Started(action=action, station=station, configuration=number, hop=hop)

    def _history_entries(self, number: int | None) -> list[Entry]:
        prefix = self.names.histories() if number is None else self.names.history(number, 0).rpartition("/")[0] + "/"
        return self.store.list(prefix)

    def _records(self, entries: Sequence[Entry], kind: type[_R]) -> list[_R]:
        new = [entry for entry in entries if self._known.get(entry.name, (None,))[0] != entry]
        for entry, record in zip(new, self._fetched(new, kind), strict=True):
            if record is not None:
                self._known[entry.name] = (entry, record)
        found = [self._known[entry.name][1] for entry in entries if entry.name in self._known]
        return [record for record in found if isinstance(record, kind)]

    def _fetched(self, entries: Sequence[Entry], kind: type[_R]) -> list[_R | None]:
        if isinstance(self.store, DirectoryStore) or len(entries) < _REQUESTS:
            return [self._record(entry.name, kind) for entry in entries]
        with ThreadPoolExecutor(_REQUESTS) as requests:
            return list(requests.map(lambda entry: self._record(entry.name, kind), entries))

    def _record(self, name: str, kind: type[_R]) -> _R | None:
        try:
            return kind.from_json(self.store.get(name), name)
        except ObjectNotFound:
            return None  # removed since it was listed: a run that is extended takes its outcomes back
        except CorruptObject:
            if kind is Stay:  # the journal is put softly: a power failure may tear a line
                return None
            raise


def _is_after(history: History, end: Outcome | None, shards: int) -> bool:
    return end is not None and history.iteration * shards > end.hops_trained


def experiment_names(store: Store) -> list[str]:
    """Return the names of all experiments in a store that have begun or were submitted, sorted."""
    known = ("experiment.json", "submission.json")
    if isinstance(store, DirectoryStore):  # a listing would walk through every object of every experiment
        return sorted({path.parent.name for file in known for path in Path(store.url).glob(f"*/{file}")})
    parts = [entry.name.split("/") for entry in store.list("")]
    return sorted({part[0] for part in parts if len(part) == 2 and part[1] in known})
