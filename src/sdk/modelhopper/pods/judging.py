"""The pods that judge: one after each chain to a rung, or one beside the stations as long as they serve.

Both make the same turns of the same log; see `modelhopper_scheduler.judging`. The log has one judge at a time: Argo
sees to that, by a mutex or because there is only one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from modelhopper.pods.rungs import Budget, Departure, chains_to_rungs, departures_after
from modelhopper_contract.cancellation import cancel
from modelhopper_contract.decisions import GoOn, Start, Turn
from modelhopper_contract.errors import Cancelled, ExitCode, ModelhopperError, ObjectNotFound
from modelhopper_contract.messages import Decided, Event
from modelhopper_contract.names import Names
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration, Measurement
from modelhopper_contract.ring import Ring
from modelhopper_contract.searches import Custom
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_scheduler.judging import judge_of
from modelhopper_scheduler.programs import convoys
from modelhopper_scheduler.searches.making import search_of
from modelhopper_scheduler.searches.search import Search
from modelhopper_trainer.places import user_files
from modelhopper_trainer.pod.marker import Marker
from modelhopper_trainer.pod.suspects import Retry
from modelhopper_trainer.pod.vigil import Bell

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rung:
    """What a Workflow asks of the judge at the end of a chain."""

    experiment: str
    configurations: Sequence[int]  # that travelled together
    until: int  # iterations that they were to complete
    depth: int  # of chains of which each follows from the one before, this being the last
    most_rungs: int  # how deep they may be
    budget: Budget
    convoy: int = 1


def judge_pod(store: Store, rung: Rung, outputs: Path, say: Say) -> None:
    """Judge those that have arrived, and write the output parameter `chains`: what follows from it in this Workflow.

    Raises Cancelled, and what reading the log raises.
    """
    _refuse_cancelled(Marker(store, rung.experiment), rung.experiment)
    specification = _specification(store, rung.experiment)
    with search_here(specification, store) as search:
        judge = judge_of(specification, store, specification.shards, teller(say), search)
        assert judge is not None, "a chain leads to a rung only where a search judges"  # noqa: S101 -- for the type
        judge.catch_up(set(rung.configurations))
    found = _following(rung, judge.turns, specification.ring)
    names = Names(rung.experiment)
    configurations = configurations_of(found, store, names)
    partners = partners_in(store, configurations, names)
    chains = chains_to_rungs(found, configurations, specification.ring, rung.convoy, partners)
    outputs.mkdir(parents=True, exist_ok=True)
    (outputs / "chains").write_bytes(canonical_json([chain.model_dump(mode="json") for chain in chains]))
    say(f"{rung.experiment}: {len(chains)} chains follow")


def preside_pod(store: Store, experiment: str, stations: int, environment: Mapping[str, str], say: Say) -> ExitCode:
    """Judge beside stations until the search is over.

    When it ends for good before that, it stops the run: the stations would wait for ever. Raises Cancelled, and what
    reading the log raises.
    """
    try:
        return _preside(store, experiment, stations, say)
    except ModelhopperError as error:
        is_last = error.exit_code == ExitCode.RETRYABLE and Retry.of(environment).is_last
        if is_last or error.exit_code in {ExitCode.PERMANENT, ExitCode.MISTAKE}:
            _stop_the_stations(store, experiment, str(error))
        raise
    except Exception as error:
        _stop_the_stations(store, experiment, repr(error))
        raise


@contextmanager
def search_here(specification: Specification, store: Store) -> Iterator[Search | None]:
    """Give the search that judges an experiment, in a pod: a file of the user's comes from the store."""
    if not isinstance(specification.experiment.search, Custom):
        yield search_of(specification)
        return
    with user_files(specification, store) as folder:
        yield search_of(specification.model_copy(update={"folder": str(folder)}))


def configurations_of(departures: Iterable[Departure], store: Store, names: Names) -> list[Configuration]:
    """Return the configurations that set out."""
    found = [names.configuration(one.configuration) for one in departures]
    return [Configuration.from_json(store.get(name), name) for name in found]


def partners_in(store: Store, configurations: Sequence[Configuration], names: Names) -> dict[int, int]:
    """Return the first of those with whom each configuration trains side by side, itself where it trains alone."""
    if all(one.program.lanes == 1 for one in configurations):
        return {}
    measurement = Measurement.from_json(store.get(names.measurement()), names.measurement())
    return {number: convoy[0] for convoy in convoys(configurations, measurement) for number in convoy}


def teller(say: Say) -> Callable[[Event], None]:
    """Return what says the decisions of a turn, line by line."""

    def tell(event: Event) -> None:
        if isinstance(event, Decided):
            for decision in event.turn.decisions:
                what = f"trains until iteration {decision.until}" if isinstance(decision, Start | GoOn) else "ends"
                say(f"configuration {decision.configuration} {what}: {decision.reason}")

    return tell


def _preside(store: Store, experiment: str, stations: int, say: Say) -> ExitCode:
    specification, marker = _specification(store, experiment), Marker(store, experiment)
    with search_here(specification, store) as search, Bell(store, Names(experiment).histories()) as bell:
        judge = judge_of(specification, store, stations, teller(say), search)
        if judge is not None:
            judge.catch_up()  # the one before may have been killed within its last turn
        looks = 0
        while judge is not None and not judge.is_over:
            _refuse_cancelled(marker, experiment)
            looks = 0 if judge.catch_up() else looks + 1
            if not judge.is_over and looks:
                bell.wait(looks - 1)
    say(f"{experiment}: the search is over")
    return ExitCode.DONE


def _following(rung: Rung, turns: Sequence[Turn], ring: Ring) -> list[Departure]:
    if rung.depth >= rung.most_rungs:
        return []
    return departures_after(turns, rung.configurations, rung.until, rung.budget, ring)


def _specification(store: Store, experiment: str) -> Specification:
    name = Names(experiment).specification()
    try:
        return Specification.from_json(store.get(name), name)
    except ObjectNotFound as error:
        raise ObjectNotFound(f"{store.url} holds no {name}: the experiment has not begun.") from error


def _refuse_cancelled(marker: Marker, experiment: str) -> None:
    if marker.is_there():
        raise Cancelled(f"{experiment} is cancelled. What was done is safe.")


def _stop_the_stations(store: Store, experiment: str, why: str) -> None:
    with suppress(ModelhopperError):  # a store that is not there stops them, too
        cancel(store, experiment, f"the judge cannot go on: {why}")
