"""What a station writes after a stay or an evaluation, in the order that makes a crash between any two harmless.

First the result, then the tokens that announce it, then the own token goes: until that last step the work would be
done again, to the same bytes. What follows from checkpoints and histories is put softly; they themselves are on the
disk before anything that they replace is removed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from modelhopper_contract.errors import ObjectNotFound
from modelhopper_contract.messages import Ended, Evaluated, Event
from modelhopper_contract.methods import needed_replicas
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.records import Configuration, Failure, History, Outcome, ShardMetrics, Split, Stay, Token
from modelhopper_contract.ring import Ring
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.durability import put_all, put_soft
from modelhopper_contract.tokens import tokens_of
from modelhopper_trainer.replicas import remove_replicas
from modelhopper_trainer.stopping import Stopping

Merge = Callable[[list[ShardMetrics]], dict[str, float]]


class Result(NamedTuple):
    """What a configuration has become in a stay."""

    configuration: Configuration
    data: bytes  # the checkpoint at the stay's end
    stay: Stay
    token: str  # the name of the one that sent it here
    until: int | None = None  # the iterations that this token lets it train


@dataclass(frozen=True)
class Publisher:
    """Writes the results of one experiment, for a given number of stations."""

    store: Store
    specification: Specification
    stations: int
    report: Callable[[Event], None]

    @property
    def names(self) -> Names:
        """The experiment's object names."""
        return Names(self.specification.experiment.name)

    def stays(self, results: Sequence[Result]) -> None:
        """Publish what a convoy has become, step by step for all of it, so that it arrives together where it goes.

        Tokens to train come last of all tokens: between the first and the last of them there is little to wait for.
        """
        made = {self.names.checkpoint(one.configuration.number, one.stay.end_hop): one.data for one in results}
        put_all(self.store, made)
        going = [one for one in results if not self._is_settled(one.configuration.number)]
        announced = {
            name: token
            for one in going
            for name, token in self._tokens(one.configuration, one.stay.end_hop, one.until).items()
        }
        for name in sorted(announced, key=lambda name: announced[name].action == "train"):
            put_soft(self.store, name, announced[name].to_json())
        for one in results:
            self.store.delete(one.token)
        for one in results:
            put_soft(self.store, self.names.journal(one.configuration.number, one.stay.end_hop), one.stay.to_json())
            self.remove(one.configuration.number, one.stay.first_hop)

    def merged(self, configuration: Configuration, hop: int, data: bytes) -> None:
        """Publish what replicas have come to: checkpoint `hop`, and the tokens that it gives rise to."""
        self.store.put(self.names.checkpoint(configuration.number, hop), data)
        if not self._is_settled(configuration.number):
            self.announce(configuration, hop)

    def remove(self, number: int, hop: int) -> None:
        """Remove checkpoint `hop`, which a later one follows, unless it is kept, or waits for its evaluation."""
        if self._ring.is_kept(hop):
            return
        # The evaluation, when it is complete, removes what it needed.
        if self._ring.is_evaluated(hop) and self._is_needed(number, self._ring.iteration(hop)):
            return
        self.store.delete(self.names.checkpoint(number, hop))

    def forward(self, configuration: Configuration, newest: int, token: Token, name: str) -> None:
        """Replace the token of a hop that was done by those of the newest checkpoint; those there stay the same."""
        self.announce(configuration, newest, token.until)
        self.store.delete(name)
        self.remove(configuration.number, token.hop)

    def announce(
        self, configuration: Configuration, hop: int, until: int | None = None, done: Collection[int] = ()
    ) -> None:
        """Put the tokens that a checkpoint gives rise to. `done`: hops that need none any more."""
        for name, token in self._tokens(configuration, hop, until).items():
            if token.action == "evaluate" or token.hop not in done:
                put_soft(self.store, name, token.to_json())

    def evaluation(
        self, number: int, iteration: int, found: dict[tuple[Split, int], ShardMetrics], token: str, merge: Merge
    ) -> None:
        """Publish metric states; whoever completes the set merges it and says how the configuration ended."""
        for (split, shard), metrics in found.items():
            put_soft(self.store, self.names.metric(number, iteration, split, shard), metrics.to_json())
        entries = [entry.name for entry in self.store.list(self.names.metrics(number, iteration))]
        if len(entries) == self.specification.evaluated_shards:
            self._complete(number, iteration, entries, merge)
        self.store.delete(token)

    def failure(self, number: int, failure: Failure, token: str) -> None:
        """Publish that a configuration cannot go on. One that has ended keeps its outcome.

        A process that was thought dead may find only now, by itself, that it cannot do what another has done since.
        """
        outcome = Outcome(configuration=number, state="failed", hops=failure.hop, failure=failure)
        if self._stopping is not None:
            self._stopping.fail(number, failure)
        elif (earlier := self._outcome(number)) is None:
            self._end(outcome)
        else:
            self.report(Ended(outcome=earlier))
        self.store.delete(token)

    @property
    def _ring(self) -> Ring:
        return self.specification.ring

    @cached_property
    def _stopping(self) -> Stopping | None:
        rule = self.specification.experiment.early_stopping
        return None if rule is None else Stopping(self.store, self.specification, rule, self.report)

    def _tokens(self, configuration: Configuration, hop: int, until: int | None) -> dict[str, Token]:
        return tokens_of(self.specification, self.stations, configuration, hop, until)

    def _is_settled(self, number: int) -> bool:
        return self._stopping is not None and self._stopping.settle(number)

    def _complete(self, number: int, iteration: int, entries: list[str], merge: Merge) -> None:
        history = self._merged(number, iteration, entries, merge)
        self.store.put(self.names.history(number, iteration), history.to_json())
        self.report(Evaluated(history=history))
        if self._stopping is not None:
            self._stopping.weigh(number)
            return
        if self._is_all_evaluated(number):
            self._finish(number)
        hop = iteration * self._ring.shards
        later = [name for name in self._checkpoints(number) if checkpoint_number(name)[1] > hop]
        if later and not self._ring.is_kept(hop):
            self.store.delete(self.names.checkpoint(number, hop))

    def _is_all_evaluated(self, number: int) -> bool:
        ring, names = self._ring, self.names
        there = set(self._checkpoints(number))
        # Counting would not do: an extended run also has the last iteration of the shorter one.
        complete = {entry.name for entry in self.store.list(names.histories(number))}
        missing = [n for n in ring.evaluated_iterations() if names.history(number, n) not in complete]
        waiting = [n for n in missing if names.checkpoint(number, n * ring.shards) in there]
        return not waiting and ring.iterations not in missing

    def _merged(self, number: int, iteration: int, entries: list[str], merge: Merge) -> History:
        def part(split: Split) -> dict[str, float]:
            prefix = f"{self.names.metrics(number, iteration)}{split}/"
            found = [name for name in entries if name.startswith(prefix)]
            return merge([ShardMetrics.from_json(self.store.get(name), name) for name in found])

        validation = part("validation") if self.specification.is_validated else None
        return History(configuration=number, iteration=iteration, training=part("training"), validation=validation)

    def _finish(self, number: int) -> None:
        self._sweep(number)
        final = History.from_json(self.store.get(self.names.history(number, self._ring.iterations)))
        loss = final.training["loss"]
        if math.isfinite(loss):
            self._end(Outcome(configuration=number, state="finished", hops=self._ring.hops))
            return
        reason = f"loss is {'NaN' if math.isnan(loss) else 'infinite'} after the last hop"
        failure = Failure(reason=reason, hop=self._ring.hops, shard=None, station=None, traceback=None, output=None)
        self._end(Outcome(configuration=number, state="failed", hops=self._ring.hops, failure=failure))

    def _sweep(self, number: int) -> None:
        """Remove the checkpoints that nobody removed: a station was killed just before it could."""
        for name in self._checkpoints(number):
            hop = checkpoint_number(name)[1]
            if hop < self._ring.hops and not self._ring.is_kept(hop):
                self.store.delete(name)
        if self._ring.merges:
            method = self.specification.experiment.method
            keep = needed_replicas(method, self._ring.shards, self._ring.hops, ended=True)
            remove_replicas(self.store, self.names, number, keep)

    def _end(self, outcome: Outcome) -> None:
        self.store.put(self.names.outcome(outcome.configuration), outcome.to_json())
        if outcome.state == "failed" and self._ring.merges:
            remove_replicas(self.store, self.names, outcome.configuration, range(0))
        self.report(Ended(outcome=outcome))

    def _outcome(self, number: int) -> Outcome | None:
        name = self.names.outcome(number)
        try:
            return Outcome.from_json(self.store.get(name), name)
        except ObjectNotFound:
            return None

    def _is_needed(self, number: int, iteration: int) -> bool:
        if self._stopping is not None:
            return self._stopping.is_needed(number, iteration)
        return not self._has_history(number, iteration)

    def _has_history(self, number: int, iteration: int) -> bool:
        return bool(self.store.list(self.names.history(number, iteration)))

    def _checkpoints(self, number: int) -> list[str]:
        return [entry.name for entry in self.store.list(self.names.checkpoints(number))]
