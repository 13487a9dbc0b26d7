"""Callers that no server likes: one that says nothing, one that asks for much and hardly reads."""

from collections.abc import Sequence
from typing import Final

import anyio
import trio

from trioquorum.errors import ConnectFailed, LinkClosed
from trioquorum.testing.network import LINK_FRAME_BYTES_MAX, LinkStream, Network
from trioquorum.transport import Address
from trioquorum.wire.client import frame
from trioquorum.wire.ops import Op
from trioquorum.wire.records import ConnectRequest, PathWatchRequest, RequestHeader

NODE: Final = "stranger"
LASTS_S: Final = 60.0
ASKS: Final = 1000
"""How often the slow reader asks before it reads."""

SESSION_TIMEOUT_MS: Final = 10_000


async def stay_silent(
    network: Network, addresses: Sequence[Address], *, lasts_s: float = LASTS_S, node: str = NODE
) -> int:
    """Connect to these addresses of any port and say nothing for ``lasts_s``; how many servers hung up meanwhile."""
    hung_up = 0

    async def call(address: Address) -> None:
        nonlocal hung_up
        try:
            link = await network.transport(node).connect(address, frame_bytes_max=LINK_FRAME_BYTES_MAX)
        except ConnectFailed:
            await trio.lowlevel.checkpoint()
            return
        try:
            while True:
                await link.receive()
        except LinkClosed:
            hung_up += 1
        finally:
            await link.aclose()

    with trio.move_on_after(lasts_s):
        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(call, address)
    return hung_up


async def read_slowly(
    network: Network,
    address: Address,
    *,
    path: str = "/",
    bytes_per_s: int = 10,
    lasts_s: float = LASTS_S,
    node: str = NODE,
) -> int:
    """Open a session at a client port, ask ``ASKS`` times for the data of ``path``, and read a few bytes a second.

    Ends after ``lasts_s``, or when the server hangs up; how many bytes were read.
    """
    read = 0
    with trio.move_on_after(lasts_s):
        try:
            link = await network.transport(node).connect(address, frame_bytes_max=LINK_FRAME_BYTES_MAX)
        except ConnectFailed:
            await trio.lowlevel.checkpoint()
            return read
        async with LinkStream(link) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(_ask, stream, path)
            try:
                while True:
                    read += len(await stream.receive(bytes_per_s))
                    await trio.sleep(1.0)
            except anyio.EndOfStream:
                nursery.cancel_scope.cancel(reason="the server hung up")
    return read


async def _ask(stream: LinkStream, path: str) -> None:
    """Ask for a session and then for ``path``, for as long as the server takes it."""
    asked = PathWatchRequest(path, False).encode()
    try:
        await stream.send(frame(ConnectRequest(0, 0, SESSION_TIMEOUT_MS, 0, bytes(16)).encode() + b"\0"))
        for xid in range(1, ASKS + 1):
            await stream.send(frame(RequestHeader(xid, Op.GET_DATA).encode() + asked))
    except anyio.BrokenResourceError:
        await trio.lowlevel.checkpoint()
