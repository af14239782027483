"""Which tokens are due, given what the store holds: at the start of a run, and whenever one goes on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelhopper_contract.early_stopping import superfluous
from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.methods import needed_replicas
from modelhopper_contract.names import Names, checkpoint_number, replica_number
from modelhopper_contract.progress import Progress, newest_checkpoints
from modelhopper_contract.records import Configuration, Outcome, Token
from modelhopper_contract.specification import Specification
from modelhopper_contract.tokens import evaluation_tokens, training_token

__all__ = ["Progress", "due_tokens", "stale_checkpoints", "stale_replicas"]


def due_tokens(
    specification: Specification,
    configurations: Iterable[Configuration],
    progress: Progress,
    stations: int,
    limits: Mapping[int, int] | None = None,
) -> dict[str, Token]:
    """Return all tokens that must be in the inboxes, by name.

    A configuration without an outcome goes on from its newest checkpoint; an evaluation that is not complete is done
    again. `limits`: where a search judges, the iterations until which it lets each train. Raises CorruptObject when a
    configuration has neither an outcome nor a checkpoint; under a search it has not begun then, and begins.
    """
    names = Names(specification.experiment.name)
    found: dict[str, Token] = {}
    newest = newest_checkpoints(progress.checkpoints)
    for configuration in configurations:
        number = configuration.number
        if names.outcome(number) in progress.outcomes:
            continue
        if number not in newest and limits is None:
            raise CorruptObject(
                f"configuration {number} has no checkpoint in {names.checkpoints(number)}, and no outcome. "
                f"Remove {names.root()} to start the experiment again."
            )
        hop, until = newest.get(number, configuration.first_hop), (limits or {}).get(number)
        found |= _training(specification, configuration, hop, until, progress, stations)
        found |= _evaluations(specification, configuration, hop, progress, stations, names)
    return found


def stale_checkpoints(
    specification: Specification, progress: Progress, ended: Mapping[int, Outcome] | None = None
) -> set[str]:
    """Return the checkpoints that nobody needs: a station was killed just before it could remove them.

    `ended`: with early stopping, the outcomes, which say whose result is not the newest. Of a configuration without
    one, every evaluated iteration may be the best, and stays until the next evaluation is complete.
    """
    names, ring = Names(specification.experiment.name), specification.ring
    newest = newest_checkpoints(progress.checkpoints)
    stops_early = specification.experiment.early_stopping is not None

    def is_needed(number: int, hop: int) -> bool:
        has_history = names.history(number, ring.iteration(hop)) in progress.histories
        waits = ring.is_evaluated(hop) and (stops_early or not has_history)
        return hop == newest[number] or ring.is_kept(hop) or waits

    found = dict[int, list[int]]()
    for number, hop in map(checkpoint_number, progress.checkpoints):
        found.setdefault(number, []).append(hop)
    stale = set[str]()
    for number, hops in found.items():
        outcome = (ended or {}).get(number)
        unneeded = superfluous(outcome, ring, hops) if outcome else [hop for hop in hops if not is_needed(number, hop)]
        stale |= {names.checkpoint(number, hop) for hop in unneeded}
    return stale


def stale_replicas(specification: Specification, progress: Progress) -> set[str]:
    """Return the replicas that nobody needs: whoever merged them was killed just before it could remove them."""
    names, shards = Names(specification.experiment.name), specification.ring.shards
    newest = newest_checkpoints(progress.checkpoints)
    found = set[str]()
    for name in progress.replicas:
        number, hop = replica_number(name)
        ended = names.outcome(number) in progress.outcomes
        if hop not in needed_replicas(specification.experiment.method, shards, newest.get(number, 0), ended=ended):
            found.add(name)
    return found


def _training(
    specification: Specification,
    configuration: Configuration,
    hop: int,
    until: int | None,
    progress: Progress,
    stations: int,
) -> Mapping[str, Token]:
    """Return the tokens of what starts with checkpoint `hop` and is not done."""
    ring, number, names = specification.ring, configuration.number, Names(specification.experiment.name)
    if not ring.merges:
        return training_token(specification, stations, configuration, hop, until)
    missing = [n for n in range(hop, hop + ring.shards) if names.replica(number, n) not in progress.replicas]
    # All there and not merged: whoever takes one of their tokens does it.
    return {
        name: token
        for each in missing or [hop]
        for name, token in training_token(specification, stations, configuration, each, until).items()
    }


def _evaluations(
    specification: Specification,
    configuration: Configuration,
    hop: int,
    progress: Progress,
    stations: int,
    names: Names,
) -> Mapping[str, Token]:
    ring, number = specification.ring, configuration.number
    found: dict[str, Token] = {}
    if not ring.iteration(hop):
        return found
    reached = [iteration for iteration in ring.evaluated_iterations() if iteration <= ring.iteration(hop)]
    # With `evaluate_every` made shorter later on, an iteration's checkpoint can be gone: then there is nothing to do.
    missing = [
        iteration
        for iteration in reached
        if names.history(number, iteration) not in progress.histories
        and names.checkpoint(number, iteration * ring.shards) in progress.checkpoints
    ]
    # All metrics there but no outcome: a crash in between. Evaluating the last iteration again completes it.
    if not missing and hop == ring.hops:
        missing = [ring.iterations]
    # With early stopping, that may be any: the last that is there says how the configuration stands.
    if not missing and specification.experiment.early_stopping is not None:
        there = [one for one in reached if names.checkpoint(number, one * ring.shards) in progress.checkpoints]
        missing = there[-1:]
    for iteration in missing:
        found |= evaluation_tokens(specification, stations, configuration, iteration)
    return found
