"""Two minutes of everything that can go wrong with real peers, and nothing wrong in what their clients saw."""

from pathlib import Path

import pytest

from tests.interop.namespaces.nemesis import KINDS
from tests.interop.namespaces.network import missing
from tests.interop.namespaces.run import play

SECONDS = 120.0
SEED = 1

pytestmark = [pytest.mark.interop, pytest.mark.namespaces, pytest.mark.slow]


@pytest.fixture(scope="module")
def _namespaces() -> None:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.usefixtures("_namespaces")
async def test_nothing_is_lost_or_wrong_whatever_happens(tmp_path: Path) -> None:
    report = await play(tmp_path, SEED, SECONDS)
    # It was worth something: every kind of fault, and calls of every outcome.
    assert len(report.faults) == len(KINDS)
    assert report.disk_stops > 0
    assert report.epochs > 1
    assert min(report.succeeded, report.unknown, report.watch_events, sum(report.failed.values())) > 0
