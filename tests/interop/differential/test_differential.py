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


def differs(pair: Pair, seed: int, peers: int) -> object:
    """What is answered differently each time: when a session ends, or a peer hears of it, is a matter of moments."""
    return pair.run(drawn(seed, peers)) and pair.run(drawn(seed, peers))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, 60, 10))
def test_standalone_servers_answer_alike(standalone: Pair, first: int) -> None:
    for seed in range(first, first + 10):
        difference = differs(standalone, seed, 1)
        assert difference is None, f"seed {seed}: {difference}"


@pytest.mark.timeout(300)
def test_ensembles_answer_alike(ensembles: Pair) -> None:
    """Clients of all three peers, one step after the other."""
    for seed in range(10):
        difference = differs(ensembles, seed, 3)
        assert difference is None, f"seed {seed}: {difference}"
