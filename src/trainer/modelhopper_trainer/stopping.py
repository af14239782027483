"""Early stopping, applied by whoever completes an evaluation: it ends configurations, and keeps what may be a result.

The outcome is put before anything is removed. So a station that misses the checkpoint that its token names finds the
outcome, and one that puts a checkpoint and finds no outcome afterwards can leave it to whoever ends the configuration.
"""

from __future__ import annotations

from collections.abc import Callable

from modelhopper_contract.early_stopping import EarlyStopping, Standing, ending, standing, superfluous
from modelhopper_contract.errors import ObjectNotFound
from modelhopper_contract.messages import Ended, Event
from modelhopper_contract.names import Names, checkpoint_number, token_configuration
from modelhopper_contract.records import Failure, History, Outcome
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_trainer.replicas import remove_replicas


class Stopping:
    """Ends the configurations of one experiment by its rule. Every method may be repeated and interrupted."""

    def __init__(
        self, store: Store, specification: Specification, rule: EarlyStopping, report: Callable[[Event], None]
    ) -> None:
        self._store = store
        self._ring = specification.ring
        self._names = Names(specification.experiment.name)
        self._rule = rule
        self._objective = specification.experiment.objective
        self._report = report
        self._known: dict[str, History] = {}  # by name; what is evaluated never changes

    def weigh(self, number: int) -> None:
        """Apply the rule to what is evaluated by now; remove checkpoints that cannot be the result any more."""
        if self.settle(number):
            return
        histories = self._histories(number)
        stands = self._standing(histories)
        outcome = ending(number, stands, self._ring, histories, self._failure(number))
        if outcome is not None:
            self._store.put(self._names.outcome(number), outcome.to_json())
            self._clear(outcome)
        elif stands is not None:
            self._drop(number, stands)

    def settle(self, number: int) -> bool:
        """Say whether a configuration has ended; if so, tell it again, and remove what is left of it.

        Whoever ended it may have been killed before that.
        """
        name = self._names.outcome(number)
        try:
            outcome = Outcome.from_json(self._store.get(name), name)
        except ObjectNotFound:
            return False
        self._clear(outcome)
        return True

    def fail(self, number: int, failure: Failure) -> None:
        """Take note that a configuration cannot go on, which ends it unless an evaluation stops it before that."""
        earlier = self._failure(number)
        if earlier is None or _order(failure) < _order(earlier):
            self._store.put(self._names.failure(number), failure.to_json())
        self.weigh(number)

    def is_needed(self, number: int, iteration: int) -> bool:
        """Say whether the checkpoint of an evaluated iteration may become the result."""
        stands = self._standing(self._histories(number))
        return stands is None or stands.needs(iteration)

    def _standing(self, histories: dict[int, History]) -> Standing | None:
        return standing(self._rule, self._objective, self._ring.evaluated_iterations(), histories)

    def _histories(self, number: int) -> dict[int, History]:
        found = [entry.name for entry in self._store.list(self._names.histories(number))]
        for name in found:
            if name not in self._known:
                self._known[name] = History.from_json(self._store.get(name), name)
        return {self._known[name].iteration: self._known[name] for name in found}

    def _failure(self, number: int) -> Failure | None:
        name = self._names.failure(number)
        try:
            return Failure.from_json(self._store.get(name), name)
        except ObjectNotFound:
            return None

    def _drop(self, number: int, stands: Standing) -> None:
        """Remove evaluated checkpoints but the newest: whoever goes on from it removes it afterwards."""
        ring = self._ring
        for hop in sorted(self._hops(number))[:-1]:
            if ring.is_evaluated(hop) and not ring.is_kept(hop) and not stands.needs(ring.iteration(hop)):
                self._store.delete(self._names.checkpoint(number, hop))

    def _clear(self, outcome: Outcome) -> None:
        number, names = outcome.configuration, self._names
        # First of all: a station that is killed after it removed the checkpoint could not tell it any more.
        self._report(Ended(outcome=outcome))
        for hop in superfluous(outcome, self._ring, self._hops(number)):
            self._store.delete(names.checkpoint(number, hop))
        if self._ring.merges:
            remove_replicas(self._store, names, number, range(0))
        for name in [entry.name for entry in self._store.list(names.inbox())]:
            if token_configuration(name) == number:
                self._store.delete(name)
        self._store.delete(names.failure(number))

    def _hops(self, number: int) -> list[int]:
        return [checkpoint_number(entry.name)[1] for entry in self._store.list(self._names.checkpoints(number))]


def _order(failure: Failure) -> tuple[int, bool]:
    # Of two at the same checkpoint, the one of its evaluation, which has no shard, comes first.
    return failure.hop, failure.shard is not None
