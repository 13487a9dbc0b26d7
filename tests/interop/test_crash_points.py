"""A few of the kills of ``crash_points``: at each kind of point, and at a random moment."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.interop.crash_points import ANY_MOMENT, WAITING, crash, some

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]

SEED = 20


def test_nothing_acknowledged_is_lost_wherever_a_peer_dies(tmp_path: Path) -> None:
    points = list(some(random.Random(SEED)))
    report = crash(tmp_path, iter(points), random.Random(SEED))
    assert report.problems == []
    assert report.checks == len(points)
    assert report.checked > 0
    died = Counter({point: count for point, count in report.kills.items() if point != WAITING})
    # Who dies at its start, or in an election, had another kill in front of it.
    named = Counter(point for point in points if point != ANY_MOMENT)
    assert died - Counter({ANY_MOMENT: died[ANY_MOMENT]}) == named
    assert died[ANY_MOMENT] >= 4
    assert report.kills[WAITING] == 3
