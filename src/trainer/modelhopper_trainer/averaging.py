"""Averaging, as a station does it: every shard trains a replica of one common state, and the replicas are merged.

Hop n of p shards belongs to iteration n // p. It starts with the iteration's common state, which is checkpoint
(n // p) * p, and what it makes is replica n. Who finds, after its own replica is in the store, that those of all shards
are there, merges them into the next iteration's common state. Several may find that; all of them make the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from modelhopper_contract import checkpoint
from modelhopper_contract.checkpoint import Checkpoint
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.methods import needed_replicas
from modelhopper_contract.names import Names, replica_number
from modelhopper_contract.records import Configuration, Token
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.durability import put_soft
from modelhopper_trainer.hopping import has_ended, lost, newest_of, stored
from modelhopper_trainer.merging import mean, moved, pulled
from modelhopper_trainer.publishing import Publisher, Result
from modelhopper_trainer.replicas import remove_replicas


class _Gone(Exception):
    """A state that is to be merged is not there: somebody else has merged meanwhile, or it was lost."""


class Averaging:
    """Trains one configuration on all shards at once.

    The order of effects, of which any may be the last before a kill::

        a  put replica n                                          the commit of the hop
        b  where those of all shards are there: put the merged checkpoint, then the tokens that it gives rise to
        c  delete the own token
        d  put the journal's line
        e  delete the checkpoint and the replicas that nobody needs any more

    Until c the token is there, and whoever takes it goes on from where the store is.
    """

    def __init__(
        self, store: Store, specification: Specification, publisher: Publisher, manifest: Callable[[], Manifest]
    ) -> None:
        """`manifest`: of the training data, whose shards count by their rows."""
        self._store = store
        self._specification = specification
        self._names = Names(specification.experiment.name)
        self._method = specification.experiment.method
        self._ring = specification.ring
        self._publisher = publisher
        self._manifest = manifest

    def state(self, token: Token) -> Checkpoint | None:
        """Return the common state of the hop's iteration, with what the replica keeps of its own end before."""
        number, start = token.configuration, self._ring.start(token.hop)
        if has_ended(self._store, self._names, number) or newest_of(self._store, self._names, number) > start:
            return None
        if self._store.list(self._names.replica(number, token.hop)):
            return None
        common = stored(self._store, self._names.checkpoint(number, start))
        if common is None or not self._method.kept or start == 0:
            return common
        own = stored(self._store, self._names.replica(number, token.hop - self._ring.shards))
        return None if own is None else pulled(common, own.state, self._method.kept)

    def publish(self, results: Sequence[Result]) -> None:
        """Write what replicas have come to, and merge those that are complete."""
        for one in results:
            number, hop = one.configuration.number, one.stay.first_hop
            self._store.put(self._names.replica(number, hop), one.data)
            is_merged = self._merge_if_complete(one.configuration, hop)
            self._store.delete(one.token)
            put_soft(self._store, self._names.journal(number, one.stay.end_hop), one.stay.to_json())
            self._clean(number, hop, is_merged=is_merged)

    def forward(self, configuration: Configuration, token: Token, name: str) -> None:
        """Go on from where the store is: the outcome, the merged state or the replica is there."""
        number, newest = token.configuration, newest_of(self._store, self._names, token.configuration)
        is_merged = newest > self._ring.start(token.hop)
        if not has_ended(self._store, self._names, number):
            if is_merged:
                self._publisher.announce(configuration, newest, done=self._done(number))
            else:
                self._check_is_there(token)
                is_merged = self._merge_if_complete(configuration, token.hop)
        self._store.delete(name)
        self._clean(number, token.hop, is_merged=is_merged)

    def _merge_if_complete(self, configuration: Configuration, hop: int) -> bool:
        """Merge an iteration's replicas where all are there; say whether they are merged now, by whomever."""
        number, start = configuration.number, self._ring.start(hop)
        hops = range(start, start + self._ring.shards)
        if not self._done(number).issuperset(hops):
            return False
        try:
            merged = self._merged(configuration, hops)
        except _Gone as error:
            self._check_is_merged(number, start, str(error))
            return True
        self._publisher.merged(configuration, hops.stop, checkpoint.to_bytes(*merged))
        return True

    def _merged(self, configuration: Configuration, hops: range) -> Checkpoint:
        number, names = configuration.number, self._names
        target = mean(self._replicas(configuration, hops))
        if self._method.step == 1:
            return target
        return moved(self._stored(names.checkpoint(number, hops.start)).state, target, self._method.step)

    def _replicas(self, configuration: Configuration, hops: range) -> Iterator[tuple[Checkpoint, int]]:
        """Yield replicas in the order of their hops, each with the rows of its shard; one is in memory at a time."""
        ring, shards = self._specification.ring_of(configuration), self._manifest().shards
        for hop in hops:
            rows = shards[ring.shard(configuration.offset, hop)].rows
            yield self._stored(self._names.replica(configuration.number, hop)), rows

    def _done(self, number: int) -> set[int]:
        """Return the hops whose replicas are there."""
        return {replica_number(entry.name)[1] for entry in self._store.list(self._names.replicas(number))}

    def _stored(self, name: str) -> Checkpoint:
        found = stored(self._store, name)
        if found is None:
            raise _Gone(name)
        return found

    def _check_is_merged(self, number: int, start: int, missing: str) -> None:
        ended = has_ended(self._store, self._names, number)
        if not ended and newest_of(self._store, self._names, number) <= start:
            raise lost(missing, number)

    def _check_is_there(self, token: Token) -> None:
        """Raise CorruptObject unless the replica of a hop that was not trained is there, or has just been merged."""
        number, start, names = token.configuration, self._ring.start(token.hop), self._names
        if self._store.list(names.replica(number, token.hop)):
            return
        keeps = self._method.kept and start > 0 and self._store.list(names.checkpoint(number, start))
        missing = names.replica(number, token.hop - self._ring.shards) if keeps else names.checkpoint(number, start)
        self._check_is_merged(number, start, missing)

    def _clean(self, number: int, hop: int, *, is_merged: bool) -> None:
        """Remove what nobody needs any more: after a merge, and where a replica came after the outcome."""
        start = self._ring.start(hop)
        if is_merged:
            self._publisher.remove(number, start)
        if has_ended(self._store, self._names, number):
            self._remove_replicas(number, newest_of(self._store, self._names, number), ended=True)
        elif is_merged:
            self._remove_replicas(number, start + self._ring.shards, ended=False)

    def _remove_replicas(self, number: int, newest: int, *, ended: bool) -> None:
        keep = needed_replicas(self._method, self._ring.shards, newest, ended=ended)
        remove_replicas(self._store, self._names, number, keep)
