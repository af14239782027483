"""Conducting a run: from a specification to outcomes, on any engine; and going on with one that was interrupted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from modelhopper_contract.decisions import limits, read_turns
from modelhopper_contract.errors import ConflictError, CorruptObject, ObjectNotFound, SpecError
from modelhopper_contract.messages import Built, Chosen, Decided, Ended, Event
from modelhopper_contract.names import Names, checkpoint_number, token_name
from modelhopper_contract.progress import Progress, read_progress
from modelhopper_contract.records import Configuration, Measurement, Outcome
from modelhopper_contract.searches import Custom
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.durability import SoftStore, put_all, put_soft
from modelhopper_scheduler.dealing import dealt
from modelhopper_scheduler.engines.engine import Engine, OnEvent
from modelhopper_scheduler.judging import Judge, judge_of, planned_of
from modelhopper_scheduler.programs import chosen, measured_numbers, merged, must_measure
from modelhopper_scheduler.resumption import due_tokens, stale_checkpoints, stale_replicas
from modelhopper_scheduler.searches.making import first_turn, search_of
from modelhopper_scheduler.searches.search import Search


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
        check_continued(specification, planned, configurations)
        take_over(specification, store)
    with engine:
        if planned is None:
            planned = begin(specification, configurations, store, engine, on_event)
        elif not specification.is_judged:
            planned = append(specification, planned, configurations, store, engine, on_event)
        progress = restore(specification, planned, store, engine.stations)
        names = Names(specification.experiment.name)
        unfinished = {c.number for c in planned if names.outcome(c.number) not in progress.outcomes}
        work = Work(unfinished, on_event)
        work.judge = judge_of(specification, store, engine.stations, work.tell)
        if work.judge is not None:
            work.judge.catch_up()
        if not work.is_over():
            engine.serve(specification, work.is_over, work.hear)


class Work:
    """What is left to do while stations serve: the configurations without an outcome, and the search's questions."""

    def __init__(self, unfinished: Iterable[int], on_event: OnEvent) -> None:
        self.judge: Judge | None = None
        self._unfinished = set(unfinished)
        self._on_event = on_event

    def is_over(self) -> bool:
        """Say whether every configuration has an outcome, and none will be added."""
        return not self._unfinished and (self.judge is None or self.judge.is_over)

    def hear(self, event: Event) -> None:
        """Take note of what a station says, tell it on, and let the search answer."""
        self.tell(event)
        if self.judge is not None:
            self.judge.hear(event)

    def tell(self, event: Event) -> None:
        """Take note of what happens, and tell it on."""
        if isinstance(event, Decided):
            self._unfinished |= {start.configuration for start in event.turn.starts}
        if isinstance(event, Ended):
            self._unfinished.discard(event.outcome.configuration)
        self._on_event(event)


def begin(
    specification: Specification,
    configurations: Sequence[Configuration],
    store: Store,
    engine: Engine,
    on_event: OnEvent,
    search: Search | None = None,
) -> list[Configuration]:
    """Build every configuration, and write what a run begins with; return the configurations as they run.

    `search`: the one that judges the run, where it is not to be made from the specification. Raises SpecError when a
    configuration cannot be built; then the experiment has not begun.
    """
    names = Names(specification.experiment.name)
    measurement = _measured(specification, configurations, None, engine, on_event)
    planned = sorted(
        _built(specification, configurations, (), measurement, engine, on_event), key=lambda one: one.number
    )
    _remove_leftovers(configurations, store, names)
    if measurement is not None:
        store.put(names.measurement(), measurement.to_json())
    put_all(store, {names.configuration(one.number): one.to_json() for one in planned})
    search = search or search_of(specification)
    if search is not None:
        turn = first_turn(specification, search)
        store.put(names.turn(turn.order), turn.to_json())
        on_event(Decided(turn=turn, configurations=tuple(planned)))
    # Written last: an experiment without it has not begun, and is begun anew.
    store.put(names.specification(), specification.to_json())
    return planned


def append(
    specification: Specification,
    planned: Sequence[Configuration],
    configurations: Sequence[Configuration],
    store: Store,
    engine: Engine,
    on_event: OnEvent,
) -> list[Configuration]:
    """Add to a run that has begun the configurations that searches after the first bring; return all as they run.

    Those that were there stay as they are, so what they have trained stays right.
    """
    names, there = Names(specification.experiment.name), {one.number for one in planned}
    missing = [one for one in configurations if one.number not in there]
    if not missing:
        return list(planned)
    before = _stored_measurement(store, names)
    measurement = _measured(specification, missing, before, engine, on_event)
    added = _built(specification, missing, planned, measurement, engine, on_event)
    if measurement is not None and measurement != before:
        # Before anything that is chosen by it: whoever goes on after a kill chooses the same for the rest. And after
        # all are built: until then they may be given up for others.
        store.put(names.measurement(), measurement.to_json())
    # In the order in which they were dealt their offsets, for the same reason.
    for one in added:
        store.put(names.configuration(one.number), one.to_json())
    return sorted([*planned, *added], key=lambda one: one.number)


def check_continued(
    specification: Specification, planned: Sequence[Configuration], configurations: Sequence[Configuration]
) -> None:
    """Raise ConflictError unless the configurations of a run that has begun are the first of those given now."""
    if specification.is_judged:
        return
    given = {one.number: one for one in configurations}
    for before in planned:
        after = given.get(before.number)
        if after is None or _chosen(before) != _chosen(after):
            raise ConflictError(
                f"{specification.experiment.name} has begun with {len(planned)} configurations, and configuration "
                f"{before.number} ({before.name}) {'is' if after is None else 'would be'} "
                f"{'not there any more' if after is None else after.name}. Another search may be appended to what "
                "there is (search: a list); give the experiment another name for anything else."
            )


def _chosen(configuration: Configuration) -> tuple[object, ...]:
    compiled = {"precision": "float32", **configuration.compile}  # earlier versions had no other, and did not say so
    return configuration.model, configuration.parameters, compiled, configuration.fit


def _measured(
    specification: Specification,
    configurations: Sequence[Configuration],
    before: Measurement | None,
    engine: Engine,
    on_event: OnEvent,
) -> Measurement | None:
    """Return what is known of configurations before they are compiled; None where nothing depends on it."""
    new = [one for one in configurations if one.number not in measured_numbers(before)]
    if not new or not must_measure(specification.experiment, new):
        return before
    return merged(before, engine.measure(specification, new, on_event))


def _built(
    specification: Specification,
    configurations: Sequence[Configuration],
    planned: Sequence[Configuration],
    measurement: Measurement | None,
    engine: Engine,
    on_event: OnEvent,
) -> list[Configuration]:
    """Build configurations that come to those planned already, and deal them their offsets; return them in that order.

    How each is compiled is chosen before, and told where there was a choice.
    """
    everyone = [*planned, *configurations]
    found = chosen(specification.experiment, everyone, measurement, engine.stations, specification.ring.shards)
    programs = {one.number: found[one.number] for one in configurations}
    if measurement is not None:
        on_event(Chosen(measurement=measurement, programs=programs))
    compiled = [one.model_copy(update={"program": programs[one.number]}) for one in configurations]
    built = {one.configuration: one for one in engine.prepare(specification, compiled, on_event)}
    _refuse_problems(configurations, built)
    costed = {
        one.number: one.model_copy(update={"weights": built[one.number].weights, "cost": built[one.number].cost})
        for one in compiled
    }
    return dealt(specification, costed, planned, measurement)


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
    found = [Configuration.from_json(store.get(e.name), e.name) for e in store.list(names.configurations())]
    if not stored.is_judged:
        return found
    turns = read_turns(store, names)
    if not turns:
        raise CorruptObject(f"{names.turn(0)} is missing, and the search cannot go on without it.")
    # A judge may have been killed between its turn and what follows from it.
    return planned_of(turns, stored, {one.number: one for one in found})


def restore(specification: Specification, planned: Sequence[Configuration], store: Store, stations: int) -> Progress:
    """Put an experiment's inboxes right for a number of stations, none of which runs, and remove what is stale."""
    names = Names(specification.experiment.name)
    allowed = limits(read_turns(store, names)) if specification.is_judged else None
    progress = read_progress(names, store, with_replicas=specification.ring.merges)
    due = due_tokens(specification, planned, progress, stations, allowed)
    stale = {entry.name for entry in store.list(names.inbox())} - due.keys()
    stale |= stale_checkpoints(specification, progress, _ended(specification, progress, store))
    stale |= stale_replicas(specification, progress)
    # Of hops that are done again now.
    stale |= {entry.name for entry in store.list(names.failures())}
    if isinstance(store, SoftStore):
        stale |= _torn_metrics(due, store, names)
    for name in stale:
        store.delete(name)
    for name, token in due.items():
        put_soft(store, name, token.to_json())
    return progress


def _torn_metrics(due: Iterable[str], store: Store, names: Names) -> set[str]:
    """Return the metric states of evaluations that are done again: a power failure may have torn any of them.

    They would count as there, and be merged by whoever finds the set complete.
    """
    evaluations = {(t.configuration, t.number) for t in map(token_name, due) if t.action == "evaluate"}
    return {entry.name for one in evaluations for entry in store.list(names.metrics(*one))}


def _ended(specification: Specification, progress: Progress, store: Store) -> dict[int, Outcome]:
    """Return the outcomes, where somebody needs to know what they say: with early stopping."""
    if specification.experiment.early_stopping is None:
        return {}
    found = [Outcome.from_json(store.get(name), name) for name in progress.outcomes]
    return {outcome.configuration: outcome for outcome in found}


def _remove_leftovers(configurations: Sequence[Configuration], store: Store, names: Names) -> None:
    """Remove what a beginning of more configurations left when it was killed: a resume would take it for its own."""
    numbers = {one.number for one in configurations}
    planned = {names.configuration(number) for number in numbers}
    stale = {entry.name for entry in store.list(names.configurations())} - planned
    stale |= {e.name for e in store.list(names.checkpoints()) if checkpoint_number(e.name)[0] not in numbers}
    stale |= {entry.name for part in (names.replicas(), names.turns()) for entry in store.list(part)}
    stale |= {entry.name for entry in store.list(names.measurement())}
    for name in stale:
        store.delete(name)


def _stored_measurement(store: Store, names: Names) -> Measurement | None:
    try:
        return Measurement.from_json(store.get(names.measurement()), names.measurement())
    except ObjectNotFound:
        return None


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


# Of searches one may be appended; `check_continued` looks at what they bring.
_EXTENDABLE = ("iterations was", "evaluate_every was", "objective was", "search.")


def _check_extension(
    stored: Specification, given: Specification, differences: Sequence[str], store: Store, *, extend: bool
) -> None:
    # A search that decides while it runs has decided by the old numbers.
    extendable: tuple[str, ...] = _mended(stored, given) if stored.is_judged or given.is_judged else _EXTENDABLE
    if given.experiment.early_stopping is not None:
        # It has counted those evaluations that there were, by the metric that there was.
        extendable = tuple(one for one in extendable if one in ("iterations was", "search."))
        if given.experiment.method.kept:  # the replicas' own ends, which the next iteration begins with, are gone
            extendable = ("search.",)
    other = [difference for difference in differences if not difference.startswith(extendable)]
    longer = given.experiment.iterations >= stored.experiment.iterations
    where = f"{store.url}/{given.experiment.name} holds another experiment of this name: {'; '.join(differences)}."
    if other or not longer:
        raise ConflictError(f"{where} Give it another name, or remove that folder.")
    if not extend:
        raise ConflictError(f"{where} Give it another name, or extend it with --extend.")


def _mended(stored: Specification, given: Specification) -> tuple[str, ...]:
    """Return what may differ where a search of the user's decides: its file, which may have had a mistake.

    What it has decided stays in the log. Not a file that models or metrics come from, too; and not its rungs, which say
    what is evaluated.
    """
    search, experiment = stored.experiment.search, stored.experiment
    if not isinstance(search, Custom) or stored.rungs != given.rungs:
        return ()
    file = search.method.rpartition(":")[0]
    others = experiment.model_dump_json(include={"models", "compile"})
    return () if f'"{file}:' in others else (f"the contents of {file} changed",)


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
