"""What all rendered runs share: a bucket, the claims, the programs of this process, and the bytes to expect."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.rendered.cluster_here import CLAIMS, ONE_CLAIM, ClusterHere, Results, cluster_here
from tests.servers import S3Server


@pytest.fixture(scope="package")
def here(start_s3_server: Callable[[], S3Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterHere]:
    """The cluster, its claims filled as `modelhopper stage` does."""
    with cluster_here(start_s3_server(), tmp_path_factory.mktemp("here")) as made:
        for data in (CLAIMS, ONE_CLAIM):
            runs = made.stage(made.experiment(), data=data)
            assert [run.phase for run in runs] == ["Succeeded", "Succeeded"]
        yield made


@pytest.fixture(scope="package")
def expected(here: ClusterHere) -> Results:
    """The results of the small experiment."""
    return here.run_inline(here.experiment())
