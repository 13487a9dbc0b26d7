"""How many sessions may be asked for in a time: the bucket and the drops by chance, then on a real port."""

import random
from typing import Any

import pytest

from tests.hostile.kit import connect_frame, running_as, standalone
from trioquorum.limits import Throttles
from trioquorum.server.connection_throttle import ConnectionThrottle


def throttle(chance: float = 0.5, **rules: Any) -> ConnectionThrottle:
    """At 0 ms, its bucket full; ``chance`` is what its randomness says each time."""

    class Fixed(random.Random):
        def random(self) -> float:
            return chance

    return ConnectionThrottle(Throttles(**rules), Fixed(), 0)


def test_off_by_default() -> None:
    assert all(throttle().admits(1, 0) for _ in range(10_000))


def test_as_many_as_there_are_tokens() -> None:
    bucket = throttle(connect_tokens=3, connect_fill_time_ms=10)
    assert [bucket.admits(1, 5) for _ in range(5)] == [True, True, True, False, False]
    assert bucket.deficit == 3


@pytest.mark.parametrize(("now_ms", "admitted"), [(10, 0), (11, 2), (19, 3), (25, 5), (1000, 6)])
def test_it_fills_with_time_up_to_its_size(now_ms: int, admitted: int) -> None:
    """Two in every 10 ms, and what is due of a part of that; at exactly 10 ms nothing yet, as in ZooKeeper."""
    bucket = throttle(connect_tokens=6, connect_fill_time_ms=10, connect_fill_count=2)
    assert all(bucket.admits(1, 0) for _ in range(6))
    assert [bucket.admits(1, now_ms) for _ in range(10)].count(True) == admitted


def test_weights_make_kinds_of_sessions_cost_differently() -> None:
    """The tokens count sessions that all peers know: two of them, or six local ones."""
    rules = {"connect_tokens": 2, "connect_weights": True}
    bucket = throttle(**rules)
    new, again, local = (
        bucket.cost(renewal=False, local=False),
        bucket.cost(renewal=True, local=False),
        bucket.cost(renewal=False, local=True),
    )
    assert (new, again, local) == (3, 2, 1)
    assert [bucket.admits(new, 0) for _ in range(3)] == [True, True, False]
    bucket = throttle(**rules)
    assert [bucket.admits(local, 0) for _ in range(7)] == [True] * 6 + [False]
    bucket = throttle(**rules)
    assert [bucket.admits(again, 0) for _ in range(4)] == [True] * 3 + [False]
    assert throttle(connect_tokens=2).cost(renewal=False, local=False) == 1
    # No kind is cheaper than a local session.
    dear = throttle(**rules, connect_weight_local=5)
    assert (dear.cost(renewal=False, local=False), dear.cost(renewal=True, local=False)) == (5, 5)


def test_the_drop_share_follows_the_load() -> None:
    """It grows once per freeze time while the bucket is found empty, and shrinks while little of it is missing."""
    bucket = throttle(
        connect_tokens=10,
        connect_fill_time_ms=1_000_000,
        connect_fill_count=10,
        connect_freeze_time_ms=100,
        connect_drop_increase=0.4,
        connect_drop_decrease=0.3,
        connect_decrease_ratio=0.5,
    )
    assert all(bucket.admits(1, 0) for _ in range(10))
    for now_ms, drop in ((100, 0.0), (101, 0.4), (150, 0.4), (201, 0.4), (202, 0.8), (400, 1.0), (600, 1.0)):
        assert not bucket.admits(1, now_ms)
        assert bucket.drop == pytest.approx(drop), now_ms
    # Full again: dropped by chance until the share is below what chance says.
    answers = [bucket.admits(1, now_ms) for now_ms in (2_000_000, 2_000_050, 2_000_101, 2_000_202)]
    assert answers == [False, False, True, True]
    assert bucket.drop == pytest.approx(0.1)
    # Six of ten are missing, which is more than the ratio: the share stays.
    assert all(bucket.admits(1, 2_000_203) for _ in range(4))
    assert bucket.admits(1, 2_000_400)
    assert bucket.drop == pytest.approx(0.1)


def test_a_share_is_dropped_and_costs_nothing() -> None:
    bucket = throttle(chance=0.0, connect_tokens=1, connect_fill_time_ms=10, connect_freeze_time_ms=5)
    assert bucket.admits(1, 0)
    assert not bucket.admits(1, 6)
    deficit = bucket.deficit
    assert not bucket.admits(1, 7)
    assert bucket.deficit == deficit


async def test_sessions_above_the_rate_are_turned_away() -> None:
    """Without an answer; who has a session goes on, and a connection that asks for none costs nothing."""
    rules = Throttles(connect_tokens=2, connect_fill_time_ms=1_000_000_000)
    async with running_as(standalone(throttles=rules)) as server:
        strangers = [await server.stranger() for _ in range(3)]
        clients = [await server.client() for _ in range(2)]
        for late in strangers:
            await late.send(connect_frame())
            assert await late.rest() == b""
        again = await server.stranger()
        await again.send(connect_frame(session=clients[0].session, password=clients[0].password))
        assert await again.rest() == b""
        assert server.reasons() == ["too many sessions are asked for"] * 4
        assert await server.figure("connection_rejected") == 4
        assert await server.figure("connection_token_deficit") == 2
        for client in clients:
            await client.assert_alive()
