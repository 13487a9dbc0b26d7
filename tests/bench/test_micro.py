from pathlib import Path

import pytest

from bench import micro
from bench.micro.timing import Micro


@pytest.mark.parametrize("part", micro.PARTS)
def test_what_is_timed_works(part: str, tmp_path: Path) -> None:
    found = list(micro.PARTS[part](tmp_path))
    assert len({each.what for each in found}) == len(found) > 1
    for each in found:
        each.work()


def test_an_operation_costs_its_share_of_the_work() -> None:
    def work() -> None:
        sum(range(10_000))

    whole = Micro("it", work).timed("p")
    shared = Micro("it", work, operations=1000).timed("p")
    assert 0 < whole.lowest <= whole.micros <= whole.highest
    assert shared.highest < whole.lowest
    assert "it" in micro.summary([whole, shared])
