"""Each workload on a healthy ensemble and through the crash of its leader, everything checked."""

import pytest

from tests.sim.scene import leader_crash, perform
from trioquorum.client import State
from trioquorum.testing import seeded
from trioquorum.testing.history import Turned
from trioquorum.testing.workloads import WORKLOADS


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_is_clean_on_a_healthy_ensemble(name: str) -> None:
    history, _ = seeded.run(1, perform, WORKLOADS[name], 1)
    calls = list(history.all_calls())
    assert len(calls) > 100
    assert not any(call.unknown for call in calls)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_is_clean_when_the_leader_crashes(name: str) -> None:
    history, _ = seeded.run(2, perform, WORKLOADS[name], 2, leader_crash)
    states = [it.state for record in history.sessions for it in record.seen if isinstance(it, Turned)]
    assert State.CONNECTING in states
