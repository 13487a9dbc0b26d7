"""kazoo's own tests pass against us where they pass against Apache ZooKeeper.

The whole suite is ``python -m tests.interop.kazoo_suite ours``; here run the files that say most about a server.
"""

import pytest

from tests.interop.kazoo_suite.run import FOR_EVERY_RUN, NOT_FOR_EVERY_RUN, differences, judge, referee, run


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_passes_against_the_referee_passes_against_us() -> None:
    found = run("ours", FOR_EVERY_RUN, NOT_FOR_EVERY_RUN)
    assert judge(found) == []
    expected = {
        test
        for test, outcome in referee().items()
        if outcome == "passed" and test.startswith(tuple(f"tests/test_{file}.py" for file in FOR_EVERY_RUN))
    }
    assert len(found) > 0.9 * len(expected)


def test_differences_are_of_tests_that_the_referee_passes() -> None:
    passed = {test for test, outcome in referee().items() if outcome == "passed"}
    assert differences().keys() <= passed
