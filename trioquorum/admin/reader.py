"""The other end of the feed, for programs: what ``trioquorum explain`` and ``watch`` are made of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    connect_websocket,
)

from trioquorum.admin.feed import (
    FEED_PROTOCOL,
    AnyAsk,
    AnyFrame,
    AskHistory,
    EventFrame,
    History,
    Sample,
    encode,
    frame_of,
    frames_of,
)
from trioquorum.errors import ConnectFailed, LinkClosed, PeerProtocolError

MESSAGE_BYTES_MAX: Final = 8 << 20
CONNECT_S: Final = 5.0
HISTORY_S: Final = 30.0


class FeedReader:
    """An open feed of one peer."""

    def __init__(self, connection: WebSocketConnection, url: str) -> None:
        self.url = url
        self._connection = connection

    async def ask(self, question: AnyAsk) -> None:
        """Send a question.

        Raises:
            LinkClosed: the feed is gone.
        """
        try:
            await self._connection.send_message(encode(question))
        except ConnectionClosed as ended:
            raise LinkClosed(f"{self.url}: {_why(ended)}") from None

    async def receive(self) -> list[AnyFrame]:
        """The next frames, perhaps none: kinds that this version does not know are left out.

        Raises:
            LinkClosed: the feed is gone.
            PeerProtocolError: what came is no feed.
        """
        try:
            message = await self._connection.get_message()
        except ConnectionClosed as ended:
            raise LinkClosed(f"{self.url}: {_why(ended)}") from None
        try:
            return frames_of(message.encode() if isinstance(message, str) else message)
        except msgspec.DecodeError:
            raise PeerProtocolError(f"{self.url}: what came is no feed") from None

    async def history(self, since_seq: int = 0) -> tuple[list[EventFrame], list[Sample]]:
        """Events and samples that are kept; other frames that come meanwhile are left out.

        Raises:
            LinkClosed: the feed is gone.
            PeerProtocolError: what came is no feed.
            trio.TooSlowError: it did not come within ``HISTORY_S``.
        """
        await self.ask(AskHistory(since_seq=since_seq))
        kept: list[AnyFrame | None] = []
        with trio.fail_after(HISTORY_S):
            await trio.lowlevel.checkpoint()
            over = False
            while not over:
                for frame in await self.receive():
                    if isinstance(frame, History):
                        kept += [frame_of(each) for each in (*frame.events, *frame.samples)]
                        over = frame.last
        events = [frame for frame in kept if isinstance(frame, EventFrame)]
        return events, [frame for frame in kept if isinstance(frame, Sample)]


@asynccontextmanager
async def open_feed(url: str, token: str = "") -> AsyncIterator[FeedReader]:
    """The feed of the peer whose admin port is at ``url``, ``http://host:port``.

    Raises:
        ConnectFailed: nobody is there, or does not let us in.
    """
    parts = urlsplit(url)
    headers = [(b"Authorization", f"Bearer {token}".encode())] if token else []
    async with trio.open_nursery() as nursery:
        try:
            with trio.fail_after(CONNECT_S):
                connection = await connect_websocket(
                    nursery,
                    parts.hostname or "",
                    parts.port or 80,
                    "/feed",
                    use_ssl=False,
                    subprotocols=[FEED_PROTOCOL],
                    extra_headers=headers,
                    max_message_size=MESSAGE_BYTES_MAX,
                )
        except ConnectionRejected as error:
            raise ConnectFailed(f"{url}: refused with status {error.status_code}") from None
        except (OSError, trio.TooSlowError, HandshakeError, ConnectionClosed) as error:
            raise ConnectFailed(f"{url}: {str(error) or type(error).__name__}") from None
        try:
            yield FeedReader(connection, url)
        finally:
            with trio.move_on_after(1.0, shield=True):
                await connection.aclose()
            nursery.cancel_scope.cancel(reason="the feed is not wanted any more")


def _why(ended: ConnectionClosed) -> str:
    reason = ended.reason
    return "the feed ended" if reason is None else f"the feed ended ({reason.name.lower()} {reason.reason or ''})"
