"""The pod that begins an experiment, or goes on with it, and says what the others are to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modelhopper.display.compiled import chosen as told
from modelhopper.pods.chains import Chain, chains
from modelhopper.pods.judging import configurations_of, partners_in, search_here, teller
from modelhopper.pods.rungs import Budget, chains_to_rungs, due_departures, pods, within
from modelhopper_contract.errors import Cancelled, UserError
from modelhopper_contract.messages import Built, Chosen, Event
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.progress import read_progress
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.submission import Bundle, Submission, read_submission
from modelhopper_scheduler.conduct import append, begin, begun, check_continued, restore, take_over
from modelhopper_scheduler.engines.engine import Engine
from modelhopper_scheduler.judging import judge_of
from modelhopper_scheduler.render.plan import MOST_PODS
from modelhopper_scheduler.resumption import Progress
from modelhopper_scheduler.searches.search import Search
from modelhopper_trainer.places import user_files


@dataclass(frozen=True)
class Task:
    """What a Workflow asks of its first pod."""

    experiment: str
    stations: int | None = None  # None: one for each shard, as hop pods are
    convoy: int = 1
    most_chains: int | None = None
    most_hops: int | None = None
    most_pods: int = MOST_PODS  # where a search judges: of the Workflow
    longest: int | None = None  # where a search judges: hops of one chain, at most
    submitted: datetime | None = None  # when the Workflow was made


def begin_pod(store: Store, task: Task, bundle: str, outputs: Path, say: Callable[[str], None]) -> None:
    """Begin or go on, and write the output parameters as files into `outputs`.

    `chains` are those that are due; where a search judges, `rungs` are, with `since` and `room` for those that follow.
    `shards` says how many there are, and `judges` is 1 where a search judges, else 0. `bundle`: the submission with its
    files, or "" when they are in the store already. Raises what `begun` raises for another experiment of this name,
    ConflictError for other configurations, SpecError for one that cannot be built, and Cancelled.
    """
    refuse_cancelled(store, task)
    submission = _received(store, task.experiment, bundle)
    specification, names = submission.specification, Names(task.experiment)
    _refuse_hops(specification, task)
    with search_here(specification, store) as search:
        planned = _planned(submission, store, search, say)
        progress = restore(specification, planned, store, task.stations or specification.shards)
        if search is None:
            orders = Orders(due_chains(specification, planned, progress, task, partners_in(store, planned, names)))
        else:
            orders = _judged(specification, store, search, task, say)
    orders.write(outputs, specification.shards)
    say(_summary(task.experiment, store, orders))


def _refuse_hops(specification: Specification, task: Task) -> None:
    """Raise UserError where pods cannot each train one hop: hops are merged, or programs are for several."""
    if specification.ring.merges and task.stations is None:
        raise UserError(
            f"{task.experiment} says `method: {specification.experiment.method.name}`, which trains on all shards at "
            "once. Submit it with the shape `station`."
        )
    if specification.parts > 1 and task.stations is None:
        raise UserError(
            f"{task.experiment} has folds or groups, whose configurations do not train on every shard. Submit it with "
            "the shape `station`."
        )
    fuse = specification.experiment.fuse
    if fuse is not False and task.stations is None and task.convoy == 1:
        raise UserError(
            f"{task.experiment} says `fuse: {fuse}`, and pods of the shape `hop` train one configuration each. Submit "
            f"it with the shape `convoy` and `convoy` {fuse}, or with the shape `station`."
        )


@dataclass(frozen=True)
class Orders:
    """What the first pod of a Workflow says to the others."""

    chains: Sequence[Chain]
    budget: Budget | None = None  # None: no search judges

    def write(self, outputs: Path, shards: int) -> None:
        """Write them as files, one for each output parameter."""
        chains = canonical_json([chain.model_dump(mode="json") for chain in self.chains]).decode()
        is_judged, budget = self.budget is not None, self.budget or Budget(0, 0)
        texts = {
            "chains": "[]" if is_judged else chains,
            "rungs": chains if is_judged else "[]",
            "since": str(budget.since),
            "room": str(budget.room),
            "judges": str(int(is_judged)),
            "shards": str(shards),
        }
        outputs.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (outputs / name).write_text(text, encoding="utf-8")


def refuse_cancelled(store: Store, task: Task) -> None:
    """Raise Cancelled when the experiment was cancelled after the Workflow was made; forget an older cancellation."""
    name = Names(task.experiment).cancelled()
    for entry in store.list(name):
        if task.submitted is None or entry.modified_s >= task.submitted.timestamp():
            raise Cancelled(
                f"{task.experiment} was cancelled. `modelhopper resume {task.experiment}` or a new Workflow goes on."
            )
        store.delete(name)


def due_chains(
    specification: Specification,
    planned: Sequence[Configuration],
    progress: Progress,
    task: Task,
    partners: Mapping[int, int] = MappingProxyType({}),
) -> list[Chain]:
    """Return the chains that are due, given what the store holds; see `chains.groups` for `partners`."""
    names = Names(specification.experiment.name)
    going = [one for one in planned if names.outcome(one.number) not in progress.outcomes]
    done = {one.number: 0 for one in going}
    for name in progress.checkpoints:
        number, hop = checkpoint_number(name)
        if number in done:
            done[number] = max(hop, done[number])
    return chains(
        going,
        done,
        specification.ring,
        convoy=task.convoy,
        most_chains=task.most_chains,
        most_hops=task.most_hops,
        partners=partners,
    )


def _received(store: Store, experiment: str, bundle: str) -> Submission:
    if not bundle:
        return read_submission(store, experiment)
    whole = Bundle.decode(bundle)
    # Before anything is written: another experiment of this name keeps its files.
    begun(whole.submission.specification, store, extend=whole.submission.extend)
    whole.put(store)
    return whole.submission


def _judged(
    specification: Specification, store: Store, search: Search, task: Task, say: Callable[[str], None]
) -> Orders:
    """Judge what has arrived since somebody did, and return what is due then."""
    judge = judge_of(specification, store, task.stations or specification.shards, teller(say), search)
    assert judge is not None  # noqa: S101 -- for the type; there is a search
    judge.catch_up()
    names, ring = Names(task.experiment), specification.ring
    due = due_departures(names, judge.turns, read_progress(names, store))
    configurations = configurations_of(due, store, names)
    found = chains_to_rungs(due, configurations, ring, task.convoy, partners_in(store, configurations, names))
    room = task.most_pods - 2  # this one, and the report
    taken = within(found, ring, room, task.longest or ring.hops)
    left = room - sum(pods(int(chain.hops), ring) for chain in taken)
    return Orders(taken, Budget(len(judge.turns), left))


def _planned(
    submission: Submission, store: Store, search: Search | None, say: Callable[[str], None]
) -> list[Configuration]:
    """Return the configurations as they run: those that have begun, or build them."""
    specification, chosen = submission.specification, submission.configurations
    planned = begun(specification, store, extend=submission.extend)
    if planned is None:
        with _engine(specification, store) as engine:
            return begin(specification, chosen, store, engine, _listener(say), search)
    check_continued(specification, planned, chosen)
    take_over(specification, store)
    if search is not None or len(chosen) == len(planned):
        return planned
    with _engine(specification, store) as engine:
        return append(specification, planned, chosen, store, engine, _listener(say))


@contextmanager
def _engine(specification: Specification, store: Store) -> Iterator[Engine]:
    # TensorFlow starts here: a run that goes on needs none.
    from modelhopper_scheduler.engines.inline import InlineEngine
    from modelhopper_trainer.notices import without_notices
    from modelhopper_trainer.places import data_sets

    with without_notices():
        from modelhopper_trainer import device
        from modelhopper_trainer.made_up import WorkshopWithoutShards
        from modelhopper_trainer.station import Station

    devices = specification.experiment.devices
    device.configure(threads=devices.threads, gpu=False, deterministic=devices.deterministic)

    def make_station(given: Specification, report: Callable[[Event], None]) -> Any:
        # Only the manifests are read: no shard is needed to build a model, nor to see that lanes are right.
        here = given.model_copy(update={"folder": str(folder)})
        return Station(store, here, 0, 1, report, workshop=WorkshopWithoutShards(here, data_sets(here, store, {})))

    with user_files(specification, store) as folder:
        yield InlineEngine(make_station)


def _listener(say: Callable[[str], None]) -> Callable[[Event], None]:
    def hear(event: Event) -> None:
        if isinstance(event, Chosen):
            for line in told(event, is_timed=False):
                say(line)
        if isinstance(event, Built) and event.problem is None:
            say(f"configuration {event.configuration}: {event.weights:,} parameters; {event.note or 'all new'}")

    return hear


def _summary(experiment: str, store: Store, orders: Orders) -> str:
    names = Names(experiment)
    count, ended = len(store.list(names.configurations())), len(store.list(names.outcomes()))
    hops = sum(int(chain.hops) * len(chain.configurations.split(",")) for chain in orders.chains)
    more = "" if orders.budget is None else f", and {orders.budget.room:,} pods for what follows from them"
    return (
        f"{experiment}: {count} configurations, {ended} have ended; "
        f"{len(orders.chains)} chains for at most {hops} hops{more}"
    )
