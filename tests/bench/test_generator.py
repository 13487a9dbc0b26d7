import os
from collections import Counter
from collections.abc import Callable

import pytest
import trio

from bench import generator, wire
from bench.generate import GeneratorFailed, Job
from bench.generator import BadReply, Connection, OutOfRequests, Script, measure
from tests.bench.kit import VALUE_BYTES, fake_server, reply

LATER = 40
"""An xid that comes up after the set-up, in the middle of the load."""


def job(port: int, mix: dict[str, int], measure_s: float = 0.05) -> Job:
    return Job(
        ports=[port],
        pids=[os.getpid()],
        root="/r",
        mix=mix,
        connections=2,
        depth=8,
        value_bytes=VALUE_BYTES,
        warm_up_s=0.01,
        measure_s=measure_s,
    )


@pytest.mark.parametrize("mix", [{"get": 1}, {"set": 1}, {"get": 4, "set": 1}, {"create": 1}], ids=str)
async def test_every_request_is_answered_and_counted(mix: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "CREATES_PER_S_MAX", 1_000_000)
    asked: Counter[int] = Counter()

    def count(xid: int, op: int, good: bytes) -> bytes:
        asked[op] += 1
        return good

    told: list[str] = []
    async with fake_server(count) as port:
        outcome = await trio.to_thread.run_sync(measure, job(port, mix), told.append)
    set_up = {wire.CREATE: 3}  # the root and one znode for each connection
    loaded = {op: asked[op] - set_up.get(op, 0) for op in (wire.CREATE, wire.GET_DATA, wire.SET_DATA) if asked[op]}
    assert told == ["measuring", "measured"]
    assert outcome.checked == sum(loaded.values())
    assert outcome.operations <= outcome.checked
    assert sum(count for _, count in outcome.latency_us) == pytest.approx(outcome.operations, abs=2)
    # Whatever was created is deleted again, and each session is closed.
    assert asked[wire.DELETE] == asked[wire.CREATE]
    assert asked[wire.CLOSE_SESSION] == 2
    if len(mix) > 1:
        assert loaded[wire.GET_DATA] == pytest.approx(4 * loaded[wire.SET_DATA], abs=20)


async def test_a_server_that_creates_faster_than_prepared_for_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "CREATES_PER_S_MAX", 400)
    async with fake_server() as port:
        with pytest.raises(OutOfRequests):
            await trio.to_thread.run_sync(measure, job(port, {"create": 1}))


async def test_what_only_the_c_program_does_is_refused() -> None:
    async with fake_server() as port:
        with pytest.raises(GeneratorFailed, match="install cc"):
            await trio.to_thread.run_sync(measure, job(port, {"create": 1, "get": 1}))


Answer = Callable[[int, bytes], bytes | None]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda xid, good: reply(xid + 1, 0, good[20:]), "came: xid 41"),
        (lambda xid, good: reply(xid, -101, good[20:]), "error -101"),
        (lambda xid, good: reply(xid, 0, good[20:] + b"x"), "came: xid 40, 85 bytes"),
        (lambda xid, good: reply(xid, 0, good[20:]), "zxid 0x1 after 0x"),
        (lambda xid, good: good + good, "came: xid 40"),
        (lambda xid, good: b"", "came: xid 41"),
        (lambda xid, good: None, "closed the connection"),
    ],
    ids=["xid", "error", "length", "zxid", "twice", "lost", "closed"],
)
async def test_a_wrong_reply_ends_the_run(answer: Answer, message: str) -> None:
    def spoil(xid: int, op: int, good: bytes) -> bytes | None:
        return answer(xid, good) if op == wire.SET_DATA and xid == LATER else good

    async with fake_server(spoil) as port:
        with pytest.raises(BadReply, match=message):
            await trio.to_thread.run_sync(measure, job(port, {"set": 1}, 5.0))


async def test_another_value_than_was_set_ends_the_run() -> None:
    def spoil(xid: int, op: int, good: bytes) -> bytes | None:
        return good.replace(b"abc", b"abd") if op == wire.GET_DATA and xid == LATER else good

    async with fake_server(spoil) as port:
        with pytest.raises(BadReply, match="a value that was not set"):
            await trio.to_thread.run_sync(measure, job(port, {"get": 1}, 5.0))


async def test_replies_may_come_in_pieces_and_requests_wrap_around() -> None:
    async with fake_server() as port:
        connection = await trio.to_thread.run_sync(Connection, port)
        requests = [wire.request(k + 1, wire.SET_DATA, wire.set_body("/n", b"v")) for k in range(3)]
        connection.load(Script(requests, [wire.REPLY_HEADER_BYTES + wire.STAT_BYTES] * 3, repeats=True))
        connection.send(2, 0.0)
        connection.send(2, 0.0)
        connection.send(3, 0.0)
        while connection.answered < 7:
            await trio.to_thread.run_sync(connection.receive)
        assert connection.answered == connection.sent == 7
        connection.sock.close()


async def test_a_reply_that_nobody_asked_for_is_wrong() -> None:
    async with fake_server(lambda xid, op, good: good + reply(xid + 1, 0, good[20:])) as port:
        connection = await trio.to_thread.run_sync(Connection, port)
        requests = [wire.request(k + 1, wire.SET_DATA, wire.set_body("/n", b"v")) for k in range(3)]
        connection.load(Script(requests, [wire.REPLY_HEADER_BYTES + wire.STAT_BYTES] * 3, repeats=True))
        connection.send(1, 0.0)
        with pytest.raises(BadReply, match="2 replies to 1 requests"):
            await trio.to_thread.run_sync(connection.receive)
        connection.sock.close()
