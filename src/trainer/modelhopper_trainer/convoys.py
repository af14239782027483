"""Who trains together at a station: decided by what is in its inbox, and by nothing else.

A configuration whose program has lanes takes others of its kind along, up to as many as there are lanes. What becomes
of it does not depend on who comes along, so none of this can change a result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from modelhopper_contract.names import Names, token_name
from modelhopper_contract.progress import newest_checkpoints
from modelhopper_contract.records import Configuration
from modelhopper_contract.ring import Stations, stay_end
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_trainer.workshop import Workshop

Find = Callable[[int], Configuration]

_FEW = 4  # configurations whose checkpoints are listed one by one


class Convoys:
    """Groups tokens of one station. `find` gives a configuration by its number."""

    def __init__(
        self, store: Store, specification: Specification, stations: int, workshop: Workshop, find: Find
    ) -> None:
        self._store = store
        self._ring = specification.ring
        self._is_judged = specification.is_judged
        self._names = Names(specification.experiment.name)
        self._is_fused = specification.experiment.fuse is not False
        self._stations = Stations(stations, specification.shards)
        self._workshop = workshop
        self._find = find
        self._numbers: list[int] = []  # of all configurations, once somebody asks

    def first(self, tokens: Sequence[str]) -> list[str]:
        """Return the first of these tokens, and behind it those whose configurations train with its own."""
        lanes = self._lanes(tokens[0]) if tokens else 1
        if lanes == 1:
            return list(tokens[:1])
        same = self._stay(tokens[0])
        by_hop: dict[int, list[str]] = {}
        for name in tokens:
            if self._lanes(name) == lanes and self._stay(name) == same:
                by_hop.setdefault(token_name(name).number, []).append(name)
        found = by_hop.pop(token_name(tokens[0]).number)[:lanes]
        for others in by_hop.values():
            # Those at another hop leave again at another evaluation: a convoy that came apart for them would stay so.
            found += others if len(found) + len(others) <= lanes else []
        return found

    def is_awaited(self, convoy: Sequence[str], served: Collection[str]) -> bool:
        """Say whether somebody is about to join: the checkpoint is there, and its token is not yet.

        `served`: tokens of this station that are not deleted yet. A convoy's checkpoints are put before its tokens, and
        one token after another; a station that waits for work sees the first of them before the last.
        """
        lanes = self._lanes(convoy[0]) if convoy else 1
        if lanes == 1 or len(convoy) == lanes:
            return False
        here = token_name(convoy[0])
        lead, hop = self._find(here.configuration), here.number
        if self._is_judged and self._ring.is_evaluated(hop):
            return False  # who is there waits for the search, perhaps for long
        # A served token of an earlier hop is no reason: what came of it is just being put, by this very station.
        known = {(token.configuration, token.number) for token in map(token_name, [*convoy, *served])}
        others = [one for one in map(self._find, self._all()) if _may_join(one, lead)]
        shard = self._ring.shard(lead.offset, hop)
        comers = [one for one in others if self._stations.holder(shard, one.number) == here.station]
        left = [one for one in comers if (one.number, hop) not in known and self._key(one) == self._key(lead)]
        newest = self._newest() if len(left) > _FEW else {}
        return any(self._is_at(one, hop) for one in left if newest.get(one.number, hop) == hop)

    def _lanes(self, name: str) -> int:
        """Return how many may train together with a token's configuration, and it."""
        token = token_name(name)
        # The rest is looked up only where it matters: most experiments train each configuration alone.
        return self._find(token.configuration).program.lanes if self._is_fused and token.action == "train" else 1

    def _stay(self, name: str) -> tuple[bytes, int, int]:
        """Return what must be equal to train together: the kind, the first shard, and how many hops it is."""
        token = token_name(name)
        one, hop = self._find(token.configuration), token.number
        end = stay_end(self._ring, self._stations, one.number, one.offset, hop)
        return self._key(one), self._ring.shard(one.offset, hop), end - hop

    def _key(self, configuration: Configuration) -> bytes:
        return self._workshop.fuse_key(configuration)

    def _all(self) -> list[int]:
        if not self._numbers:
            entries = self._store.list(self._names.configurations())
            self._numbers = [int(entry.name.rpartition("/")[2].removesuffix(".json")) for entry in entries]
        return self._numbers

    def _newest(self, number: int | None = None) -> dict[int, int]:
        return newest_checkpoints(entry.name for entry in self._store.list(self._names.checkpoints(number)))

    def _is_at(self, one: Configuration, hop: int) -> bool:
        ended = self._names.outcome(one.number), self._names.failure(one.number)
        return self._newest(one.number).get(one.number) == hop and not any(map(self._store.list, ended))


def _may_join(one: Configuration, lead: Configuration) -> bool:
    # Before anything is asked of the workshop: of other programs there may be some that cannot be fused, or built.
    return one.offset == lead.offset and one.program == lead.program
