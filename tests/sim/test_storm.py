"""Whole runs whose membership changes all the time, and what their clients then know."""

import random

import pytest

from trioquorum.errors import Code
from trioquorum.events import MembershipChanged
from trioquorum.invariants import InvariantViolation
from trioquorum.testing import seeded
from trioquorum.testing.campaign import Choice
from trioquorum.testing.history import History
from trioquorum.testing.simulation import Run, simulate
from trioquorum.testing.trace import Trace
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads import Storm
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import SetDataTxn, Txn, TxnHeader

CHOICE = Choice(workloads=("storm", "register"), safety_s=10.0)


@pytest.mark.parametrize("seed", [2, 9, 11])
def test_a_storm_passes(seed: int) -> None:
    """Everybody is a member in the end, whatever was in between."""
    plan = CHOICE.plan(seed)
    lines: list[str] = []
    report = simulate(plan, tell=lines.append)
    assert report.failure is None, report.failure
    changed = [line for line in lines if f" {MembershipChanged.__struct_config__.tag} " in line]
    versions = [line.partition("version=")[2].split()[0] for line in changed]
    assert len(set(versions)) > 3


def test_all_that_operators_do_is_done() -> None:
    """Some are refused, for every reason; some succeed."""
    run = Run(Choice(workloads=("storm",), safety_s=60.0, peers=3, kinds=("break_links",)).plan(3), Trace())
    seeded.run(3, run.main)
    calls = [call for call in run.history.all_calls() if call.op is Op.RECONFIG]
    assert {call.error for call in calls} >= {None, Code.BADVERSION, Code.BADARGUMENTS}
    assert sum(call.succeeded for call in calls) > 5


class NoScene:
    history = History(lambda: 0.0)
    rng = random.Random(1)
    over = True


def test_an_answer_that_the_history_lacks_is_noticed() -> None:
    storm = Storm(NoScene())  # type: ignore[arg-type]
    header = TxnHeader(1, 1, 0x100000001, 1, Op.RECONFIG)
    truth = Truth([])
    truth.txns.append((header.zxid, Txn(header, SetDataTxn("/zookeeper/config", b"one", 1))))
    storm.made[header.zxid] = "one"
    storm.check(truth)
    storm.made[header.zxid] = "another"
    with pytest.raises(InvariantViolation, match="a change that was answered is made"):
        storm.check(truth)
    storm.made.clear()
    storm.wrong.append("something")
    with pytest.raises(InvariantViolation, match="what is wrong is refused"):
        storm.check(truth)
