from collections import Counter

import pytest
import trio

from bench import wire
from bench.crowd import Crowd
from tests.bench.kit import fake_server, reply


def nothing() -> None:
    """The servers are alive."""


async def test_all_get_a_session_and_a_watch_and_ping() -> None:
    asked: Counter[int] = Counter()

    def count(xid: int, op: int, good: bytes) -> bytes:
        del xid
        asked[op] += 1
        return good

    async with fake_server(count) as port:
        crowd = Crowd(20, [port], "/w", 300)
        pinged = lambda: crowd.all_idle and crowd.total(lambda member: member.answers) >= 60  # noqa: E731
        await trio.to_thread.run_sync(crowd.run, pinged, 20.0, nothing)
        crowd.close()
    assert (asked[wire.GET_DATA], asked[wire.SET_WATCHES]) == (20, 0)
    assert asked[wire.PING] >= 60


async def test_who_is_cut_comes_back_with_its_session_and_its_watch() -> None:
    asked: Counter[int] = Counter()

    def cut(xid: int, op: int, good: bytes) -> bytes | None:
        del xid
        asked[op] += 1
        return None if op == wire.PING and asked[op] <= 2 else good

    async with fake_server(cut) as port:
        crowd = Crowd(5, [port], "/w", 300)
        back = lambda: crowd.all_idle and asked[wire.SET_WATCHES] == 2  # noqa: E731
        await trio.to_thread.run_sync(crowd.run, back, 20.0, nothing)
        crowd.close()
    assert asked[wire.GET_DATA] == 5
    assert crowd.expired == 0


async def test_an_event_is_counted() -> None:
    event = wire.REPLY.pack(wire.REPLY_HEADER_BYTES, wire.EVENT_XID, 5, 0)
    async with fake_server(lambda xid, op, good: good + event if op == wire.GET_DATA else good) as port:
        crowd = Crowd(3, [port], "/w", 30_000)
        await trio.to_thread.run_sync(crowd.run, lambda: crowd.total(lambda member: member.fired) == 3, 20.0, nothing)
        crowd.close()
    assert {member.last_zxid for member in crowd.members} == {5}


async def test_a_wrong_answer_ends_the_run() -> None:
    async with fake_server(lambda xid, op, good: reply(xid, -101)) as port:
        crowd = Crowd(1, [port], "/w", 30_000)
        with pytest.raises(wire.ServerRefused, match="error -101"):
            await trio.to_thread.run_sync(crowd.run, lambda: crowd.all_idle, 20.0, nothing)
        crowd.close()
