import pytest
import trio

from bench import java, wire
from bench.race import Runner, first_write
from bench.servers import ports_of
from tests.bench.kit import fake_server, reply


def nothing() -> None:
    """The servers are alive."""


async def race(*ports: int) -> float:
    return await trio.to_thread.run_sync(first_write, [Runner(port, "t") for port in ports], nothing, 5.0)


async def test_a_server_that_is_not_there_is_no_hindrance() -> None:
    absent = ports_of(1)[0].client
    async with fake_server() as port:
        assert await race(absent, port) > 0


async def test_a_refused_write_is_tried_again_with_another_path() -> None:
    bodies: list[bytes] = []

    def refuse_twice(xid: int, op: int, good: bytes) -> bytes | None:
        bodies.append(good)
        return [None, reply(xid, -4), good][min(len(bodies), 3) - 1]

    async with fake_server(refuse_twice) as port:
        await race(port)
    assert len(set(bodies)) == len(bodies) == 3


async def test_nobody_answering_is_an_error() -> None:
    absent = ports_of(1)[0].client
    with pytest.raises(TimeoutError, match="no write was acknowledged"):
        await trio.to_thread.run_sync(first_write, [Runner(absent, "t")], nothing, 0.05)


async def test_a_connection_that_is_never_answered_is_given_up() -> None:
    accepted = 0

    async def silent(stream: trio.SocketStream) -> None:
        nonlocal accepted
        accepted += 1
        if accepted > 2:
            await stream.receive_some()
            await stream.send_all(wire.frame(bytes(4) + (9).to_bytes(4, "big") + (7).to_bytes(8, "big") + bytes(4)))
            await stream.receive_some()
            await stream.send_all(reply(1, 0, b"\x00\x00\x00\x02/a"))
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, silent, listeners)
        await race(listeners[0].socket.getsockname()[1])
        assert accepted == 3
        nursery.cancel_scope.cancel()


def test_without_java_the_comparison_is_skipped_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    why = java.why_missing()
    assert why is not None
    assert "\n" not in why
    assert "skipped" in why
