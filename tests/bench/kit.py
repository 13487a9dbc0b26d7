"""A server that knows just enough of the protocol to be measured, and that can be told to misbehave."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from struct import Struct

import trio

from bench import wire

REQUEST = Struct(">iii")
CONNECTED = Struct(">iiqi")
VALUE_BYTES = 100

Spoil = Callable[[int, int, bytes], bytes | None]
"""xid, opcode, good reply → what is sent instead; None closes the connection."""


def honest(xid: int, op: int, reply: bytes) -> bytes:
    return reply


@asynccontextmanager
async def fake_server(spoil: Spoil = honest) -> AsyncIterator[int]:
    """Serves on loopback; the port."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(_serve, spoil), 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _serve(spoil: Spoil, stream: trio.SocketStream) -> None:
    data = b""
    opened = False
    try:
        async for chunk in stream:
            data += chunk
            out = b""
            while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[:4], "big")):
                request, data = data[:end], data[end:]
                if not opened:
                    opened = True
                    out += wire.frame(CONNECTED.pack(0, 30_000, 7, 16) + bytes(17))
                    continue
                _, xid, op = REQUEST.unpack_from(request)
                answer = spoil(xid, op, good_reply(xid, op, request[REQUEST.size :]))
                if answer is None:
                    await stream.aclose()
                    return
                out += answer
            await stream.send_all(out)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


def good_reply(xid: int, op: int, body: bytes) -> bytes:
    """What a ZooKeeper answers, in bytes; values and stats are zeros."""
    results = {
        wire.CREATE: body[: 4 + int.from_bytes(body[:4], "big")],
        wire.GET_DATA: VALUE_BYTES.to_bytes(4, "big") + bytes(VALUE_BYTES + wire.STAT_BYTES),
        wire.SET_DATA: bytes(wire.STAT_BYTES),
    }
    return reply(xid, 0, results.get(op, b""))


def reply(xid: int, err: int, result: bytes = b"") -> bytes:
    return wire.REPLY.pack(wire.REPLY_HEADER_BYTES + len(result), xid, 1, err) + result
