"""Which tokens are due, given what the store holds: at the start of a run, and whenever one goes on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.progress import Progress, newest_checkpoints
from modelhopper_contract.records import Configuration, Token
from modelhopper_contract.specification import Specification
from modelhopper_contract.tokens import evaluation_tokens, training_token

__all__ = ["Progress", "due_tokens", "stale_checkpoints"]


def due_tokens(
    specification: Specification, configurations: Iterable[Configuration], progress: Progress, stations: int
) -> dict[str, Token]:
    """Return all tokens that must be in the inboxes, by name.

    A configuration without an outcome goes on from its newest checkpoint; an evaluation that is not complete is done
    again. Raises CorruptObject when a configuration has neither an outcome nor a checkpoint.
    """
    names = Names(specification.experiment.name)
    found: dict[str, Token] = {}
    newest = newest_checkpoints(progress.checkpoints)
    for configuration in configurations:
        number = configuration.number
        if names.outcome(number) in progress.outcomes:
            continue
        if number not in newest:
            raise CorruptObject(
                f"configuration {number} has no checkpoint in {names.checkpoints(number)}, and no outcome. "
                f"Remove {names.root()} to start the experiment again."
            )
        found |= _tokens(specification, configuration, newest[number], progress, stations, names)
    return found


def stale_checkpoints(specification: Specification, progress: Progress) -> set[str]:
    """Return the checkpoints that nobody needs: a station was killed just before it could remove them."""
    names, ring = Names(specification.experiment.name), specification.ring
    newest = newest_checkpoints(progress.checkpoints)

    def is_needed(number: int, hop: int) -> bool:
        waits = ring.is_evaluated(hop) and names.history(number, ring.iteration(hop)) not in progress.histories
        return hop == newest[number] or ring.is_kept(hop) or waits

    return {name for name in progress.checkpoints if not is_needed(*checkpoint_number(name))}


def _tokens(
    specification: Specification,
    configuration: Configuration,
    hop: int,
    progress: Progress,
    stations: int,
    names: Names,
) -> Mapping[str, Token]:
    ring, number = specification.ring, configuration.number
    found = training_token(specification, stations, configuration, hop)
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
    for iteration in missing:
        found |= evaluation_tokens(specification, stations, number, iteration)
    return found
