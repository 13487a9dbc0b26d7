"""Every plan that ever failed, made as small as it goes, kept in ``failures``; its name says what broke.

``trioquorum simulate --seed N --shrink --save tests/sim/failures/what_broke.json`` adds one. What was wrong may have
been the product, a checker or the simulator: all of them must stay mended. A plan that was written down stays what it
is when seeds come to draw others.
"""

from pathlib import Path

import msgspec
import pytest

from trioquorum.testing.plan import Plan
from trioquorum.testing.simulation import simulate

PLANS = sorted((Path(__file__).parent / "failures").glob("*.json"))


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_what_once_failed_does_not_fail_again(file: Path) -> None:
    report = simulate(msgspec.json.decode(file.read_bytes(), type=Plan))
    assert report.failure is None, report.failure
