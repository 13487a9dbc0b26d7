"""What a page does at the admin ports of an ensemble: it reads feeds, and orders by the controls."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from trioquorum.admin.controls import CONTROL_PROTOCOL
from trioquorum.admin.feed import AnyFrame, EnsembleState, Snapshot, encode, frames_of
from trioquorum.admin.orders import AnyOrder
from trioquorum.admin.reader import FeedReader, open_feed

WITHIN_S = 45
"""A bound against hanging, no measure."""


async def seen(feed: FeedReader, holds: Callable[[AnyFrame], bool]) -> AnyFrame:
    """Read until there is such a frame."""
    with trio.fail_after(WITHIN_S):
        while True:
            for frame in await feed.receive():
                if holds(frame):
                    return frame


async def snapshot_of(url: str) -> Snapshot:
    async with open_feed(url) as feed:
        found = await seen(feed, lambda frame: isinstance(frame, Snapshot))
    assert isinstance(found, Snapshot)
    return found


class Controls:
    """A page at ``/ensemble``."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def read(self) -> AnyFrame:
        message = await self._connection.get_message()
        assert isinstance(message, bytes)
        (frame,) = frames_of(message)
        return frame

    async def order(self, order: AnyOrder) -> None:
        await self._connection.send_message(encode(order))

    async def state(self) -> EnsembleState:
        """Of a page that has just opened."""
        with trio.fail_after(WITHIN_S):
            frame = await self.read()
        assert isinstance(frame, EnsembleState), frame
        return frame

    async def until(self, holds: Callable[[EnsembleState], bool]) -> None:
        with trio.fail_after(WITHIN_S):
            while True:
                frame = await self.read()
                assert isinstance(frame, EnsembleState), frame
                if holds(frame):
                    return


@asynccontextmanager
async def controls(page: str) -> AsyncIterator[Controls]:
    host = page.removeprefix("http://")
    name, _, port = host.partition(":")
    headers = [(b"Origin", page.encode())]
    async with await trio.open_tcp_stream(name, int(port)) as stream, trio.open_nursery() as nursery:
        yield Controls(
            await wrap_client_stream(
                nursery, stream, host, "/ensemble", subprotocols=[CONTROL_PROTOCOL], extra_headers=headers
            )
        )
        nursery.cancel_scope.cancel()


def state_of(peer: int, state: str) -> Callable[[EnsembleState], bool]:
    return lambda told: any(each.id == peer and each.state == state for each in told.peers)
