"""Whole simulated runs: a seed repeats them byte for byte, on every Python and hash seed; faults of each kind pass."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trioquorum.testing.campaign import Choice, campaign
from trioquorum.testing.plan import KINDS, draw
from trioquorum.testing.simulation import Report, committed, simulate
from trioquorum.testing.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]

SAME = """
import sys
from trioquorum.testing.campaign import Choice
from trioquorum.testing.simulation import simulate
report = simulate(Choice(safety_s=8.0).plan(int(sys.argv[1])), hashed=True)
print(report.digest, report.steps, report.calls, report.failure)
"""


def simulated_by(python: str, seed: int, hash_seed: str) -> str:
    """What another interpreter says of a seed."""
    env = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "transports"))),
    }
    found = subprocess.run(
        [python, "-c", SAME, str(seed)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4])
def test_a_seed_repeats_every_line_whatever_the_hash_seed(seed: int) -> None:
    report = simulate(Choice(safety_s=8.0).plan(seed), hashed=True)
    here = f"{report.digest} {report.steps} {report.calls} {report.failure}\n"
    assert report.failure is None
    assert report.steps > 1000
    assert simulated_by(sys.executable, seed, "1") == here
    assert simulated_by(sys.executable, seed, "2") == here


OTHERS = list(filter(None, os.environ.get("TRIOQUORUM_PYTHONS", "").split(os.pathsep)))


@pytest.mark.slow
@pytest.mark.skipif(not OTHERS, reason="TRIOQUORUM_PYTHONS names no other interpreters that have trioquorum installed")
@pytest.mark.parametrize("python", OTHERS)
def test_a_seed_repeats_every_line_on_other_pythons(python: str) -> None:
    assert simulated_by(python, 4, "3") == simulated_by(sys.executable, 4, "4")


def test_another_seed_is_another_run() -> None:
    one, other = (simulate(Choice(safety_s=2.0).plan(seed), hashed=True) for seed in (1, 2))
    assert one.digest != other.digest


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_survives_each_kind_of_fault(kind: str) -> None:
    seed = next(
        seed
        for seed in range(10_000)
        if any(s.kind == kind for s in draw(seed, tuple(WORKLOADS), kinds=(kind,)).strikes)
    )
    report = simulate(Choice(kinds=(kind,), peers=3).plan(seed))
    assert report.failure is None, report.failure
    assert report.transactions > 0


def test_a_campaign_adds_up() -> None:
    told: list[Report] = []
    summary = campaign(range(3), Choice(safety_s=2.0), jobs=1, done=told.append)
    assert [report.plan.seed for report in told] == [0, 1, 2]
    assert summary.seeds == 3
    assert summary.failures == []
    assert summary.transactions == sum(report.transactions for report in told) > 0
    assert summary.virtual_s == sum(report.virtual_s for report in told)


def test_a_campaign_ends_at_its_limit() -> None:
    assert campaign(range(1000), Choice(safety_s=1.0), jobs=1, limit_s=0.0).seeds == 0


def test_committed_zxids_have_no_gaps_inside_an_epoch() -> None:
    assert list(committed([0x100000002, 0x100000003, 0x300000001])) == [
        0x100000001,
        0x100000002,
        0x100000003,
        0x300000001,
    ]
