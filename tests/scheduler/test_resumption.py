"""Which tokens are due: whatever a killed run left, every configuration goes on, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.records import Configuration, Outcome
from modelhopper_contract.ring import Stations, stay_end
from modelhopper_contract.specification import Specification
from modelhopper_scheduler.resumption import Progress, due_tokens, stale_checkpoints
from tests.scheduler.planned import configuration, runs, specification

Run = tuple[Specification, list[Configuration], int]


def progress(there: set[str]) -> Progress:
    def part(name: str) -> frozenset[str]:
        return frozenset(one for one in there if one.split("/")[1] == name)

    return Progress(part("checkpoints"), part("history"), part("outcomes"))


def changes(specification: Specification, one: Configuration, stations: int) -> Iterator[tuple[str, str]]:
    """Yield ("put" or "delete", name) as a run of one configuration that is never disturbed does them."""
    names, ring, number = Names(specification.experiment.name), specification.ring, one.number
    holders = Stations(stations, ring.shards)
    hop = 0
    yield "put", names.checkpoint(number, 0)
    while hop < ring.hops:
        end = stay_end(ring, holders, number, one.offset, hop)
        yield "put", names.checkpoint(number, end)
        if not ring.is_kept(hop):
            yield "delete", names.checkpoint(number, hop)
        if ring.is_evaluated(end):
            yield "put", names.history(number, ring.iteration(end))
        hop = end
    yield "put", names.outcome(number)


@st.composite
def crashes(draw: st.DrawFn) -> tuple[Specification, list[Configuration], int, set[str]]:
    """Draw a run and what it left in the store: each configuration was stopped anywhere; evaluation may lag behind."""
    specification, planned, stations = draw(runs())
    there: set[str] = set()
    for one in planned:
        steps = list(changes(specification, one, stations))
        done = steps[: draw(st.integers(1, len(steps)))]
        whole = done == steps
        late = {name for verb, name in done if "/history/" in name and not whole and draw(st.booleans())}
        kept = {Names("planned").checkpoint(one.number, int(name[-11:-5]) * specification.shards) for name in late}
        for verb, name in done:
            if verb == "put" and name not in late:
                there.add(name)
            elif verb == "delete" and (name not in kept):
                there.discard(name)
    return specification, planned, stations, there


@given(crashes())
def test_every_unfinished_configuration_goes_on_from_its_newest_checkpoint(
    crash: tuple[Specification, list[Configuration], int, set[str]],
) -> None:
    specification, planned, stations, there = crash
    names, ring = Names(specification.experiment.name), specification.ring
    found = due_tokens(specification, planned, progress(there), stations)
    for one in planned:
        hops = [checkpoint_number(name)[1] for name in there if name.startswith(names.checkpoints(one.number))]
        training = [t.hop for t in found.values() if t.action == "train" and t.configuration == one.number]
        ended = names.outcome(one.number) in there
        assert training == ([] if ended or max(hops) == ring.hops else [max(hops)])


@given(crashes())
def test_a_configuration_without_an_outcome_always_has_a_token(
    crash: tuple[Specification, list[Configuration], int, set[str]],
) -> None:
    specification, planned, stations, there = crash
    found = due_tokens(specification, planned, progress(there), stations)
    names = Names(specification.experiment.name)
    waiting = {one.number for one in planned if names.outcome(one.number) not in there}
    assert {token.configuration for token in found.values()} == waiting


@given(crashes())
def test_every_token_finds_its_checkpoint(crash: tuple[Specification, list[Configuration], int, set[str]]) -> None:
    specification, planned, stations, there = crash
    names = Names(specification.experiment.name)
    left = there - stale_checkpoints(specification, progress(there))
    for token in due_tokens(specification, planned, progress(there), stations).values():
        assert names.checkpoint(token.configuration, token.hop) in left


@given(crashes())
def test_removing_what_is_stale_changes_no_token_and_leaves_nothing_stale(
    crash: tuple[Specification, list[Configuration], int, set[str]],
) -> None:
    specification, planned, stations, there = crash
    left = there - stale_checkpoints(specification, progress(there))
    due = due_tokens(specification, planned, progress(there), stations)
    assert due_tokens(specification, planned, progress(left), stations) == due
    assert stale_checkpoints(specification, progress(left)) == set()


@given(crashes())
def test_the_newest_checkpoint_and_kept_ones_are_never_stale(
    crash: tuple[Specification, list[Configuration], int, set[str]],
) -> None:
    specification, _, _, there = crash
    stale = {checkpoint_number(name) for name in stale_checkpoints(specification, progress(there))}
    checkpoints = [checkpoint_number(name) for name in there if "/checkpoints/" in name]
    for number, hop in stale:
        assert hop < max(other for one, other in checkpoints if one == number)
        assert not specification.ring.is_kept(hop)


def test_a_configuration_without_checkpoint_and_outcome_is_told() -> None:
    with pytest.raises(CorruptObject, match="configuration 2 has no checkpoint in planned/checkpoints/00002/"):
        due_tokens(
            specification(),
            [configuration(1), configuration(2)],
            progress({Names("planned").checkpoint(1, 0)}),
            1,
        )


def test_with_early_stopping_every_evaluated_iteration_may_be_the_best() -> None:
    made, names = specification(shards=2, iterations=4, early_stopping=2), Names("planned")
    hops = {names.checkpoint(1, hop) for hop in (0, 2, 3, 4, 5)}
    there = progress(hops | {names.history(1, 1), names.history(1, 2)})
    assert stale_checkpoints(made, there) == {names.checkpoint(1, 0), names.checkpoint(1, 3)}


def test_with_early_stopping_the_outcome_says_which_checkpoint_stays() -> None:
    made, names = specification(shards=2, iterations=4, early_stopping=2), Names("planned")
    hops = {names.checkpoint(1, hop) for hop in (2, 4, 6, 7)}
    there = progress(hops | {names.history(1, one) for one in (1, 2, 3)} | {names.outcome(1)})
    ended = {1: Outcome(configuration=1, state="stopped", hops=2, trained=6)}
    assert stale_checkpoints(made, there, ended) == hops - {names.checkpoint(1, 2)}


def test_with_early_stopping_the_last_evaluation_is_done_again_to_say_how_a_configuration_stands() -> None:
    made, names = specification(shards=2, iterations=4, early_stopping=2), Names("planned")
    there = progress({names.checkpoint(1, 2), names.checkpoint(1, 5), names.history(1, 1), names.history(1, 2)})
    found = due_tokens(made, [configuration(1)], there, 1)
    assert sorted((token.action, token.hop) for token in found.values()) == [("evaluate", 2), ("train", 5)]


def test_all_metrics_without_an_outcome_are_completed_by_evaluating_the_last_again() -> None:
    made, names = specification(shards=2, iterations=1), Names("planned")
    found = due_tokens(made, [configuration(1)], progress({names.checkpoint(1, 2), names.history(1, 1)}), 1)
    assert [(token.action, token.hop) for token in found.values()] == [("evaluate", 2)]


def test_an_iteration_whose_checkpoint_is_gone_does_not_keep_a_run_from_ending() -> None:
    """`evaluate_every` was made shorter on the way, so iteration 1 was never evaluated."""
    made, names = specification(shards=2, iterations=2, evaluate_every=1), Names("planned")
    found = due_tokens(made, [configuration(1)], progress({names.checkpoint(1, 4), names.history(1, 2)}), 1)
    assert [(token.action, token.hop) for token in found.values()] == [("evaluate", 4)]
