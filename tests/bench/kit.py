"""A server that knows just enough of the protocol to be measured, and that can be told to misbehave."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from struct import Struct

import trio

from bench import wire

REQUEST = Struct(">iii")
CONNECTED = Struct(">iiqi")
STAT = Struct(">qqqqiiiqiiq")
VALUE_BYTES = 100

Spoil = Callable[[int, int, bytes], bytes | None]
"""xid, opcode, good reply → what is sent instead; None closes the connection."""


def honest(xid: int, op: int, reply: bytes) -> bytes:
    return reply


class Znodes:
    """The znodes of a server: creates, sets, gets and deletes, each write with the next zxid."""

    def __init__(self) -> None:
        self.zxid = 0
        self._nodes: dict[bytes, tuple[bytes, int, int]] = {}

    def good_reply(self, xid: int, op: int, body: bytes) -> bytes:
        """What a ZooKeeper answers."""
        path_bytes = int.from_bytes(body[:4], "big")
        path, rest = body[4 : 4 + path_bytes], body[4 + path_bytes :]
        data = rest[4 : 4 + int.from_bytes(rest[:4], "big")]
        self.zxid += op in (wire.CREATE, wire.SET_DATA, wire.DELETE)
        result = b""
        if op == wire.CREATE:
            self._nodes[path] = (data, 0, self.zxid)
            result = body[: 4 + path_bytes]
        elif op == wire.SET_DATA:
            self._nodes[path] = (data, self._nodes.get(path, (b"", -1, 0))[1] + 1, self.zxid)
            result = self._stat(path)
        elif op == wire.GET_DATA:
            data = self._nodes.get(path, (b"", 0, 0))[0]
            result = len(data).to_bytes(4, "big") + data + self._stat(path)
        elif op == wire.DELETE:
            self._nodes.pop(path, None)
        return wire.REPLY.pack(wire.REPLY_HEADER_BYTES + len(result), xid, self.zxid, 0) + result

    def _stat(self, path: bytes) -> bytes:
        data, version, mzxid = self._nodes.get(path, (b"", 0, 0))
        return STAT.pack(1, mzxid, 0, 0, version, 0, 0, 0, len(data), 0, 1)


@asynccontextmanager
async def fake_server(spoil: Spoil = honest) -> AsyncIterator[int]:
    """Serves on loopback; the port."""
    async with trio.open_nursery() as nursery:
        serve = partial(_serve, spoil, Znodes())
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _serve(spoil: Spoil, znodes: Znodes, stream: trio.SocketStream) -> None:
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
                answer = spoil(xid, op, znodes.good_reply(xid, op, request[REQUEST.size :]))
                if answer is None:
                    await stream.aclose()
                    return
                out += answer
            await stream.send_all(out)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


def reply(xid: int, err: int, result: bytes = b"") -> bytes:
    return wire.REPLY.pack(wire.REPLY_HEADER_BYTES + len(result), xid, 1, err) + result
