"""The load generator in C, against servers that misbehave, and against this one."""

from collections.abc import Callable
from pathlib import Path
from struct import Struct

import pytest
import trio

from bench import generate, wire
from bench.generate import GeneratorFailed, Job, Outcome
from bench.servers import Trioquorum, ask, fsyncs
from tests.bench.kit import VALUE_BYTES, fake_server, reply

pytestmark = [
    pytest.mark.skipif(generate.compiler() is None, reason="no C compiler"),
    pytest.mark.slow,
]

LATER = 40
HEAD_BYTES = 20
VERSION = Struct(">i")


def job(port: int, mix: dict[str, int], **more: object) -> Job:
    settings = {"warm_up_s": 0.05, "measure_s": 0.2, "connections": 2, "depth": 8, "value_bytes": VALUE_BYTES} | more
    return Job(ports=[port], pids=[], root="/r", mix=mix, **settings)  # type: ignore[arg-type]


async def load(wanted: Job) -> Outcome:
    return await trio.to_thread.run_sync(generate.load, wanted)


def other_value(xid: int, good: bytes) -> bytes:
    at = HEAD_BYTES + 4 + VALUE_BYTES // 2
    return good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :]


def other_version(xid: int, good: bytes) -> bytes:
    at = len(good) - wire.STAT_BYTES + 32
    return good[:at] + VERSION.pack(7777) + good[at + 4 :]


def own_zxid(xid: int, good: bytes) -> bytes:
    return wire.REPLY.pack(len(good) - 4, xid, 0, 0) + good[HEAD_BYTES:]


@pytest.mark.parametrize(
    ("op", "answer", "message"),
    [
        (wire.SET_DATA, lambda xid, good: reply(xid + 1, 0, good[HEAD_BYTES:]), "due: xid 40; came: xid 41"),
        (wire.SET_DATA, lambda xid, good: reply(xid, -101), "error -101"),
        (wire.SET_DATA, lambda xid, good: good + good, "due: xid 41; came: xid 40"),
        (wire.SET_DATA, lambda xid, good: b"", "due: xid 40; came: xid 41"),
        (wire.SET_DATA, lambda xid, good: None, "closed the connection"),
        (wire.SET_DATA, own_zxid, "zxid 0 after 0x"),
        (wire.SET_DATA, other_version, "version 7777 instead of"),
        (wire.SET_DATA, lambda xid, good: reply(xid, 0, good[HEAD_BYTES:-1]), "zxid 0x1 after|a stat of 67 bytes"),
        (wire.GET_DATA, other_value, "a value that was not written last"),
        (wire.GET_DATA, other_version, "version 7777 instead of"),
        (wire.CREATE, lambda xid, good: good[:-1] + b"x", "another path was created"),
    ],
    ids=["xid", "error", "twice", "lost", "closed", "zxid", "version", "length", "value", "get version", "path"],
)
async def test_a_wrong_reply_ends_the_run(op: int, answer: Callable[[int, bytes], bytes | None], message: str) -> None:
    def spoil(xid: int, asked: int, good: bytes) -> bytes | None:
        return answer(xid, good) if asked == op and xid == LATER else good

    names = {wire.SET_DATA: "set", wire.GET_DATA: "get", wire.CREATE: "create"}
    async with fake_server(spoil) as port:
        with pytest.raises(GeneratorFailed, match=message):
            await load(job(port, {names[op]: 1}, measure_s=5.0))


async def test_requests_of_an_open_loop_come_at_their_rate() -> None:
    async with fake_server() as port:
        outcome = await load(job(port, {"set": 1}, rate=200.0, measure_s=1.0))
    around = 2 * 2 * 2  # a folder and a znode of each connection, created and deleted
    assert 0 < outcome.checked - around <= 211  # in 1.05 s
    assert sum(count for _, count in outcome.latency_us) == outcome.operations


async def test_what_a_server_cannot_keep_up_with_waits_and_its_latency_counts() -> None:
    async with fake_server() as port:
        outcome = await load(job(port, {"get": 1}, rate=2_000_000.0, measure_s=0.5))
    assert 0 < outcome.operations < 500_000
    assert outcome.latency_us[-1][0] > 200_000


async def test_this_server_is_counted_right(tmp_path: Path) -> None:
    """What the generator says it did is what the server holds."""
    with Trioquorum(tmp_path / "servers", 1, many_clients=True) as servers:
        servers.start()
        await trio.to_thread.run_sync(servers.wait_serving)
        port, pid = servers.peers[1].client, servers.pids()[1]
        before = fsyncs(port)
        wanted = job(port, {"set": 2, "get": 1, "create": 1}, nodes=3, keep=True, idle=5)
        wanted.pids = [pid]
        lines: list[str] = []
        outcome = await trio.to_thread.run_sync(generate.load, wanted, lines.append)
        assert lines[:2] == ["measuring", "measured"]
        assert fsyncs(port) > before

        sock, _ = wire.open_session(port)
        xid = 0

        def version(path: str) -> int:
            nonlocal xid
            xid += 1
            sock.sendall(wire.request(xid, wire.GET_DATA, wire.get_body(path)))
            payload = wire.receive_frame(sock)
            return int(VERSION.unpack_from(payload, len(payload) - wire.STAT_BYTES + 32)[0])

        sets = sum(version(f"/r/{client}/n{node}") for client in range(2) for node in range(3))
        sock.close()
        nodes = next(int(line[12:]) for line in ask(port, "srvr").splitlines() if line.startswith("Node count: "))
    filled = 1 + 2 * (1 + 3)  # the root; for each connection a folder and its znodes
    creates = nodes - 6 - filled  # six znodes are there from the beginning, the root counts twice
    assert outcome.sets <= sets
    assert outcome.creates <= creates
    gets = outcome.checked - (filled - 1) - sets - creates  # they leave no trace, so they are what remains
    assert outcome.gets <= gets
    assert sets + gets + creates >= 2 * 8
    assert sum(count for _, count in outcome.latency_us) == outcome.operations
    assert len(outcome.cpu_s) == 1


async def test_every_watcher_of_this_server_is_told(tmp_path: Path) -> None:
    with Trioquorum(tmp_path / "servers", 1, many_clients=True) as servers:
        servers.start()
        await trio.to_thread.run_sync(servers.wait_serving)
        times = await trio.to_thread.run_sync(generate.watches, [servers.peers[1].client], "/w", 20, 3)
    assert len(times) == 3
    assert min(times) > 0
