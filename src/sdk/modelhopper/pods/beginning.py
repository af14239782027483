"""The pod that begins an experiment, or goes on with it, and says what the others are to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from modelhopper.pods.chains import Chain, chains
from modelhopper_contract.errors import Cancelled
from modelhopper_contract.messages import Built, Event
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.submission import Bundle, Submission, read_submission
from modelhopper_scheduler.conduct import begin, begun, restore, take_over
from modelhopper_scheduler.resumption import Progress


@dataclass(frozen=True)
class Task:
    """What a Workflow asks of its first pod."""

    experiment: str
    stations: int | None = None  # None: one for each shard, as hop pods are
    convoy: int = 1
    most_chains: int | None = None
    most_hops: int | None = None
    submitted: datetime | None = None  # when the Workflow was made


def begin_pod(store: Store, task: Task, bundle: str, outputs: Path, say: Callable[[str], None]) -> None:
    """Begin or go on, and write the output parameters `chains` and `shards` as files into `outputs`.

    `bundle`: the submission with its files, or "" when they are in the store already. Raises what `begun` raises for
    another experiment of this name, SpecError for a configuration that cannot be built, and Cancelled.
    """
    refuse_cancelled(store, task)
    submission = _received(store, task.experiment, bundle)
    specification = submission.specification
    planned = begun(specification, store, extend=submission.extend)
    if planned is None:
        planned = _begin(submission, store, say)
    else:
        take_over(specification, store)
    stations = task.stations or specification.shards
    progress = restore(specification, planned, store, stations)
    found = due_chains(specification, planned, progress, task)
    outputs.mkdir(parents=True, exist_ok=True)
    (outputs / "chains").write_bytes(canonical_json([chain.model_dump(mode="json") for chain in found]))
    (outputs / "shards").write_text(str(specification.shards))
    say(_summary(specification, planned, progress, found))


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
    specification: Specification, planned: Sequence[Configuration], progress: Progress, task: Task
) -> list[Chain]:
    """Return the chains that are due, given what the store holds."""
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
    )


def _received(store: Store, experiment: str, bundle: str) -> Submission:
    if not bundle:
        return read_submission(store, experiment)
    whole = Bundle.decode(bundle)
    # Before anything is written: another experiment of this name keeps its files.
    begun(whole.submission.specification, store, extend=whole.submission.extend)
    whole.put(store)
    return whole.submission


def _begin(submission: Submission, store: Store, say: Callable[[str], None]) -> list[Configuration]:
    # TensorFlow starts here: a run that goes on needs none.
    from modelhopper_scheduler.engines.inline import InlineEngine
    from modelhopper_trainer.notices import without_notices
    from modelhopper_trainer.places import data_sets, user_files

    with without_notices():
        from modelhopper_trainer import device
        from modelhopper_trainer.station import Station
        from modelhopper_trainer.workshop import Workshop

    specification = submission.specification
    devices = specification.experiment.devices
    device.configure(threads=devices.threads, gpu=False, deterministic=devices.deterministic)

    def make_station(given: Specification, report: Callable[[Event], None]) -> Any:
        # Only the manifests are read: no shard is needed to build a model.
        here = given.model_copy(update={"folder": str(folder)})
        return Station(store, here, 0, 1, report, workshop=Workshop(here, data_sets(here, store, {})))

    def heard(event: Event) -> None:
        if isinstance(event, Built) and event.problem is None:
            say(f"configuration {event.configuration}: {event.weights:,} parameters")

    with user_files(specification, store) as folder:
        engine = InlineEngine(make_station)
        return begin(specification, submission.configurations, store, engine, heard)


def _summary(
    specification: Specification, planned: Sequence[Configuration], progress: Progress, found: Sequence[Chain]
) -> str:
    hops = sum(int(chain.hops) * len(chain.configurations.split(",")) for chain in found)
    ended = len(progress.outcomes)
    return (
        f"{specification.experiment.name}: {len(planned)} configurations, {ended} have ended; "
        f"{len(found)} chains for at most {hops} hops"
    )
