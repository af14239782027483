"""What every engine promises, whoever starts the stations: inline, local, and Argo by its fake."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import pytest

from modelhopper.running import make_ready, run_job
from modelhopper_contract.messages import Event, Trained
from modelhopper_contract.names import Names
from modelhopper_contract.records import Outcome
from tests.argo.pods import PodRun
from tests.rendered.cluster_here import NAME, ClusterHere, Results, differences, results
from tests.rendered.pods_here import Fate

pytestmark = pytest.mark.xdist_group("rendered")

NAMES = Names(NAME)
FAILED = (5, 6)
STAYS = 5  # before it is interrupted

# Runs the experiment in a store, is interrupted, and goes on to the end.
Engine = Callable[[ClusterHere, str], None]


def _local(engine: Literal["inline", "local"]) -> Engine:
    def run(here: ClusterHere, url: str) -> None:
        trained = []

        def interrupt(event: Event) -> None:
            trained.extend([event] if isinstance(event, Trained) else [])
            if len(trained) == STAYS:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            run_job(make_ready(here.failing(), here.folder, engine=engine, store=url), interrupt)
        assert len(trained) == STAYS
        run_job(make_ready(here.failing(), here.folder, engine=engine, store=url), lambda _: None)

    return run


def _argo(here: ClusterHere, url: str) -> None:
    (document,) = here.propose(here.failing(), url, shape="convoy").documents

    def terminate(number: int, pod: PodRun) -> Fate | None:
        if number == STAYS + 2:  # the first is `begin`
            argo.runs[pod.workflow].terminate()
        return None

    with here.argo(terminate) as argo:
        assert [argo.submit(document).wait(240).phase for _ in range(2)] == ["Failed", "Succeeded"]


ENGINES: dict[str, Engine] = {"inline": _local("inline"), "local": _local("local"), "argo": _argo}


@pytest.fixture(scope="package")
def undisturbed(here: ClusterHere) -> Results:
    """What an engine makes that nobody interrupts."""
    return here.run_inline(here.failing())


@pytest.fixture(scope="package")
def made() -> dict[str, Results]:
    """What each engine made, by its name: pytest may mix the tests of several engines."""
    return {}


@pytest.fixture(params=ENGINES)
def found(here: ClusterHere, made: dict[str, Results], request: pytest.FixtureRequest) -> Results:
    """What an engine made that was interrupted and went on."""
    if request.param not in made:
        url = here.new_store()
        ENGINES[request.param](here, url)
        made[request.param] = results(url)
    return made[request.param]


def test_an_interrupted_run_goes_on_to_the_same_bytes(found: Results, undisturbed: Results) -> None:
    # Outcomes of who failed say by whom, and quote what was printed. The last checkpoint is from before the stay in
    # which it failed, and a station with more shards has longer stays.
    excepted = {f"{NAME}/{part}/{number:05d}" for part in ("checkpoints", "outcomes") for number in FAILED}
    different = differences(found, undisturbed)
    assert [name for name in different if not name.startswith(tuple(excepted))] == []


def test_configurations_that_fail_leave_the_others_as_they_are(found: Results, expected: Results) -> None:
    finals = [NAMES.checkpoint(number, 6) for number in range(1, 5)]
    histories = [NAMES.history(number, iteration) for number in range(1, 5) for iteration in (1, 2)]
    outcomes = [NAMES.outcome(number) for number in range(1, 5)]
    assert [name for name in (*finals, *histories, *outcomes) if found[name] != expected[name]] == []


def test_who_failed_says_the_same_of_it(found: Results, undisturbed: Results) -> None:
    def told(results: Results, number: int) -> tuple[str, int, int | None, str]:
        outcome = Outcome.from_json(results[NAMES.outcome(number)])
        assert outcome.failure is not None
        assert outcome.failure.traceback is not None or number == FAILED[0]
        return outcome.state, outcome.failure.hop, outcome.failure.shard, outcome.failure.reason

    for number in FAILED:
        assert told(found, number) == told(undisturbed, number)
        assert told(found, number)[0] == "failed"
