"""Metrics are exact, and merging them disturbs nothing that goes on beside it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.trainer.small_run import SmallRun

pytestmark = pytest.mark.xdist_group("tensorflow")


def test_merging_while_another_checkpoint_is_evaluated_changes_neither(tmp_path: Path) -> None:
    """As in a station, whose writing thread merges while its training thread is at the next token."""
    run = SmallRun.prepare(tmp_path)
    evaluator = run.workshop.tools(run.planned[0]).evaluator
    feeds = [run.workshop.feed("training", shard) for shard in range(3)]
    shards = [evaluator.evaluate(feed.stored()) for feed in feeds]
    merged = evaluator.merge(shards)
    with ThreadPoolExecutor(1) as writer:
        merging = writer.submit(lambda: [evaluator.merge(shards) for _ in range(200)])
        evaluated = []
        while not merging.done():
            evaluated.append([evaluator.evaluate(feed.stored()) for feed in feeds])
    assert evaluated
    assert all(one == shards for one in evaluated)
    assert all(one == merged for one in merging.result())
