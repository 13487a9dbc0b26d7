"""A bounded part of what ``python -m tests.interop.differential`` does: the same sequences every time."""

from collections.abc import Iterator

import pytest

from tests.interop.differential.running import Pair, drawn
from tests.interop.differential.servers import missing

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


@pytest.fixture(scope="module")
def standalone() -> Iterator[Pair]:
    """One server of each kind."""
    with Pair() as pair:
        yield pair


@pytest.fixture(scope="module")
def ensembles() -> Iterator[Pair]:
    """Three of each kind."""
    with Pair(3) as pair:
        yield pair


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, 60, 10))
def test_standalone_servers_answer_alike(standalone: Pair, first: int) -> None:
    for seed in range(first, first + 10):
        difference = standalone.run(drawn(seed))
        assert difference is None, f"seed {seed}: {difference}"


@pytest.mark.timeout(300)
def test_ensembles_answer_alike(ensembles: Pair) -> None:
    """Clients of all three peers, one step after the other."""
    for seed in range(10):
        difference = ensembles.run(drawn(seed, peers=3))
        assert difference is None, f"seed {seed}: {difference}"
