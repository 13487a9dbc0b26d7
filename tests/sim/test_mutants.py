"""The checkers can fail: every planted bug is found by the simulator, within as many seeds as the table says."""

import pytest

from tests.sim.mutants import MUTANTS, Mutant
from trioquorum import __version__
from trioquorum.compiled import BUILD
from trioquorum.testing.simulation import Report, simulate

NAMES = [mutant.name for mutant in MUTANTS]
SOUND = 9
"""Of so many mutants one plan is run without the bug."""


def hunt(mutant: Mutant) -> Report | None:
    """The first run that fails."""
    reports = (simulate(mutant.plan(seed)) for seed in range(mutant.seeds))
    return next((report for report in reports if report.failure is not None), None)


@pytest.mark.skipif(__version__ != BUILD, reason="nothing can be planted in compiled modules")
@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_a_planted_bug_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.plant(monkeypatch)
    report = hunt(mutant)
    assert report is not None, f"{mutant.name} survives {mutant.seeds} seeds"
    assert report.failure is not None
    assert any(rule in report.failure.what for rule in mutant.found), report.failure


@pytest.mark.parametrize("mutant", MUTANTS[::SOUND], ids=NAMES[::SOUND])
def test_without_the_bug_nothing_is_found(mutant: Mutant) -> None:
    report = hunt(mutant)
    assert report is None, report.failure


def test_each_bug_is_in_the_table_once() -> None:
    assert len(set(NAMES)) == len(NAMES)
