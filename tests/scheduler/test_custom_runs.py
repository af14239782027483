"""Whole runs of a search of the user's own: what goes wrong in it ends the run with a message, and loses nothing."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from modelhopper_contract.decisions import read_turns
from modelhopper_contract.errors import ConflictError, SpecError
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Outcome
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_scheduler.conduct import conduct
from modelhopper_scheduler.searches.making import planned, search_of
from modelhopper_scheduler.searches.rehearsal import rehearse
from modelhopper_scheduler.simulation import play
from tests.scheduler.fake_stations import FakeStations
from tests.scheduler.halving import ACCURACY
from tests.scheduler.planned import specification as plan

NAMES = Names("planned")
HEAD = """
from modelhopper_contract.decisions import GoOn, Start, Stop
from modelhopper_contract.records import Origin

def start(number, batch_size=4, until=1, **more):
    choice = {"model": "small", "batch_size": batch_size}
    return Start(configuration=number, choice=choice, until=until, reason="first", **more)

class Own:
    rungs = [1, 2, 3]

    def __init__(self, setting):
        pass

    def judge(self, past):
        return [GoOn(configuration=trial.number, until=trial.until + 1, reason="on") for trial in past.waiting]

    def start(self, past):
"""
ONE_AFTER_ANOTHER = """
begun = len(past.trials)
return [start(begun + 1, [4, 8][begun])] if begun < 2 and not past.training else []
"""
MISTAKES = {
    "a value that cannot be": ONE_AFTER_ANOTHER.replace("8]", "-8]"),
    "an error": ONE_AFTER_ANOTHER.replace("8]", "1 // (begun == 0)]"),
    "a number that is taken": ONE_AFTER_ANOTHER.replace("begun + 1", "1"),
}
COPYING_WHAT_IS_LONG_AGO = """
if not past.trials:
    return [start(1)]
is_far = len(past.trials) == 1 and 3 in past.trials[0].values
return [start(2, until=2, origin=Origin(configuration=1, hop=3))] if is_far else []
"""


def specification(folder: Path, code: str, **changes: Any) -> Specification:
    """Return an experiment with a search that starts what the code says."""
    text = HEAD + indent(code, "        ")
    (folder / "own.py").write_text(text)
    made = plan(**{"search": {"method": "own.py:Own"}, "iterations": 4, **changes})
    made = made.model_copy(update={"folder": str(folder), "digests": {**made.digests, "own.py": text}})
    found = search_of(made)
    assert found is not None
    return made.model_copy(update={"rungs": tuple(found.rungs)})


def run(spec: Specification, store: Store, *, extend: bool = False) -> None:
    def curve(number: int, iteration: int) -> float:
        one = Configuration.from_json(store.get(NAMES.configuration(number)))
        if one.origin is not None:
            assert store.list(NAMES.checkpoint(one.origin.configuration, one.origin.hop)), "nothing to begin with"
        return number / 10 + iteration / 100

    conduct(spec, planned(spec), store, FakeStations(store, curve), lambda _: None, extend=extend)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_middle_loses_nothing_and_can_be_mended(tmp_path: Path, mistake: str) -> None:
    store, spec = MemoryStore(), specification(tmp_path, MISTAKES[mistake])
    for _ in range(2):
        with pytest.raises(SpecError):
            run(spec, store)
    before = [turn.to_json() for turn in read_turns(store, NAMES)]
    mended = specification(tmp_path, ONE_AFTER_ANOTHER)
    with pytest.raises(ConflictError, match=r"the contents of own\.py changed\. .* --extend"):
        run(mended, store)
    run(mended, store, extend=True)
    turns = read_turns(store, NAMES)
    assert [turn.to_json() for turn in turns][: len(before)] == before
    assert turns[-1].is_last
    assert [Outcome.from_json(store.get(one.name)).state for one in store.list(NAMES.outcomes())] == ["finished"] * 2


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (ONE_AFTER_ANOTHER, {"models": {"small": "own.py:mlp"}}),  # what is trained may have changed
        (ONE_AFTER_ANOTHER, {"search": {"method": "own.py:Own", "space": {"batch_size": [4]}}}),
        (f"{ONE_AFTER_ANOTHER}\nOwn.rungs = [2]", {}),  # what is evaluated has
    ],
)
def test_nothing_else_of_a_search_that_has_begun_may_change(tmp_path: Path, code: str, changes: dict[str, Any]) -> None:
    same = {key: value for key, value in changes.items() if key == "models"}
    store, spec = MemoryStore(), specification(tmp_path, ONE_AFTER_ANOTHER.replace("8]", "-8]"), **same)
    with pytest.raises(SpecError):
        run(spec, store)
    other = specification(tmp_path, code, **changes)
    if "rungs" in code:
        other = other.model_copy(update={"rungs": (2,)})
    with pytest.raises(ConflictError, match="Give it another name, or remove that folder"):
        run(other, store, extend=True)


def test_a_copy_of_what_is_long_ago_has_something_to_begin_with(tmp_path: Path) -> None:
    store = MemoryStore()
    run(specification(tmp_path, COPYING_WHAT_IS_LONG_AGO), store)
    assert len(store.list(NAMES.outcomes())) == 2
    assert [entry.name for entry in store.list(NAMES.checkpoints())] == [
        NAMES.checkpoint(1, 12),
        NAMES.checkpoint(2, 12),
    ]


def test_a_search_that_starts_nothing_does_not_begin(tmp_path: Path) -> None:
    store, spec = MemoryStore(), specification(tmp_path, "return []")
    with pytest.raises(SpecError, match=r"`own\.py:Own` starts nothing"):
        run(spec, store)
    assert not store.list("")


def test_a_choice_that_cannot_be_names_who_chose_it(tmp_path: Path) -> None:
    spec = specification(tmp_path, "return [start(1, batch_size=-4)]")
    with pytest.raises(SpecError, match=r"what `own\.py:Own` chose for configuration 1: .*batch_size: .* -4 was given"):
        run(spec, MemoryStore())


def test_early_stopping_is_refused_where_a_search_has_rungs(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"`own\.py:Own`, which judges at rungs") as found:
        specification(tmp_path, ONE_AFTER_ANOTHER, early_stopping=2)
    assert found.value.path == ("early_stopping",)


def test_a_search_that_never_ends_is_found_out_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play, "MOST_TURNS", 200)
    search = search_of(specification(tmp_path, "return [start(len(past.trials) + 1)] if not past.training else []"))
    assert search is not None
    with pytest.raises(SpecError, match="has not ended after 200 arrivals, with 51 configurations"):
        rehearse(search, ACCURACY, 4)
