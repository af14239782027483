"""Conducting a run: from a specification to outcomes, on any engine; and going on with one that was interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelhopper_contract.errors import ConflictError, ObjectNotFound, SpecError
from modelhopper_contract.messages import Built
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.progress import Progress, read_progress
from modelhopper_contract.records import Configuration, Outcome
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_scheduler.engines.engine import Engine, OnEvent
from modelhopper_scheduler.offsets import offsets
from modelhopper_scheduler.resumption import due_tokens, stale_checkpoints


def conduct(
    specification: Specification,
    configurations: Sequence[Configuration],
    store: Store,
    engine: Engine,
    on_event: OnEvent,
    *,
    extend: bool = False,
) -> None:
    """Run an experiment to its end; go on with it when the store holds its beginning.

    Raises ConflictError when the store holds another experiment of this name, and SpecError when a configuration
    cannot be built; then nothing was started.
    """
    planned = begun(specification, store, extend=extend)
    if planned is not None:
        take_over(specification, store)
    with engine:
        if planned is None:
            planned = begin(specification, configurations, store, engine, on_event)
        progress = restore(specification, planned, store, engine.stations)
        names = Names(specification.experiment.name)
        unfinished = {c.number for c in planned if names.outcome(c.number) not in progress.outcomes}
        if unfinished:
            engine.serve(specification, unfinished, on_event)


def begin(
    specification: Specification,
    configurations: Sequence[Configuration],
    store: Store,
    engine: Engine,
    on_event: OnEvent,
) -> list[Configuration]:
    """Build every configuration, and write what a run begins with; return the configurations as they run.

    Raises SpecError when one cannot be built; then the experiment has not begun.
    """
    built = {one.configuration: one for one in engine.prepare(specification, configurations, on_event)}
    _refuse_problems(configurations, built)
    starts = offsets({number: one.cost for number, one in built.items()}, specification.shards)
    names = Names(specification.experiment.name)
    _remove_leftovers(configurations, store, names)
    planned = []
    for one in configurations:
        made = built[one.number]
        update = {"offset": starts[one.number], "weights": made.weights, "cost": made.cost}
        planned.append(one.model_copy(update=update))
        store.put(names.configuration(one.number), planned[-1].to_json())
    # Written last: an experiment without it has not begun, and is begun anew.
    store.put(names.specification(), specification.to_json())
    return planned


def begun(specification: Specification, store: Store, *, extend: bool = False) -> list[Configuration] | None:
    """Return the configurations of a run that has begun, or None. Changes nothing.

    Raises ConflictError when the store holds another experiment of this name; with `extend`, a longer one may go on.
    """
    names = Names(specification.experiment.name)
    try:
        stored = Specification.from_json(store.get(names.specification()), names.specification())
    except ObjectNotFound:
        _refuse_orphans(store, names)
        return None
    differences = stored.differences(specification)
    if differences:
        _check_extension(stored, specification, differences, store, extend=extend)
    found = [entry.name for entry in store.list(names.configurations())]
    return [Configuration.from_json(store.get(name), name) for name in found]


def restore(specification: Specification, planned: Sequence[Configuration], store: Store, stations: int) -> Progress:
    """Put an experiment's inboxes right for a number of stations, none of which runs, and remove what is stale."""
    progress = read_progress(Names(specification.experiment.name), store)
    due = due_tokens(specification, planned, progress, stations)
    inbox = store.list(Names(specification.experiment.name).inbox())
    for name in {entry.name for entry in inbox} - due.keys() | stale_checkpoints(specification, progress):
        store.delete(name)
    for name, token in due.items():
        store.put(name, token.to_json())
    return progress


def _remove_leftovers(configurations: Sequence[Configuration], store: Store, names: Names) -> None:
    """Remove what a beginning of more configurations left when it was killed: a resume would take it for its own."""
    numbers = {one.number for one in configurations}
    planned = {names.configuration(number) for number in numbers}
    stale = {entry.name for entry in store.list(names.configurations())} - planned
    stale |= {e.name for e in store.list(names.checkpoints()) if checkpoint_number(e.name)[0] not in numbers}
    for name in stale:
        store.delete(name)


def _refuse_problems(configurations: Sequence[Configuration], built: Mapping[int, Built]) -> None:
    wrong = [built[one.number] for one in configurations if built[one.number].problem is not None]
    if not wrong:
        return
    first = wrong[0]
    same = [one.configuration for one in wrong if one.problem == first.problem]
    others = len(wrong) - len(same)
    label = next(one.name for one in configurations if one.number == first.configuration)
    which = f"configuration {first.configuration} ({label})"
    if len(same) > 1:
        which = f"{len(same)} configurations, the first is {first.configuration} ({label})"
    more = f" {others} more configurations have other mistakes." if others else ""
    error = SpecError(f"{first.problem} ({which}){more}", first.path)
    if first.traceback:
        error.add_note(first.traceback)
    raise error


def _refuse_orphans(store: Store, names: Names) -> None:
    trained = [e.name for e in store.list(names.checkpoints()) if checkpoint_number(e.name)[1] > 0]
    if trained:
        raise ConflictError(
            f"{store.url} holds checkpoints of {names.experiment} but not {names.specification()}. Nothing was "
            "touched. Restore that object, or give the experiment another name."
        )


_EXTENDABLE = ("iterations was", "evaluate_every was", "objective was")


def _check_extension(
    stored: Specification, given: Specification, differences: Sequence[str], store: Store, *, extend: bool
) -> None:
    other = [difference for difference in differences if not difference.startswith(_EXTENDABLE)]
    longer = given.experiment.iterations >= stored.experiment.iterations
    where = f"{store.url}/{given.experiment.name} holds another experiment of this name: {'; '.join(differences)}."
    if other or not longer:
        raise ConflictError(f"{where} Give it another name, or remove that folder.")
    if not extend:
        raise ConflictError(f"{where} Give it another name, or extend it with --extend.")


def take_over(given: Specification, store: Store) -> None:
    """Let stations read the specification as it is given now: a moved folder, other devices, more iterations."""
    names = Names(given.experiment.name)
    stored = Specification.from_json(store.get(names.specification()), names.specification())
    if given.experiment.iterations > stored.experiment.iterations:
        # What had finished is unfinished again.
        for entry in store.list(names.outcomes()):
            if Outcome.from_json(store.get(entry.name), entry.name).state == "finished":
                store.delete(entry.name)
    if stored != given:
        store.put(names.specification(), given.to_json())
