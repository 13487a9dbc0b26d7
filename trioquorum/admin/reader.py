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
    wrap_client_stream,
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
GOODBYE_S: Final = 1.0
HTTP_PORT: Final = 80


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
    stream = await _dial(url)
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                connection = await _shake_hands(nursery, stream, url, token)
                try:
                    yield FeedReader(connection, url)
                finally:
                    with trio.move_on_after(GOODBYE_S, shield=True):
                        await connection.aclose()
            except Exception as error:  # noqa: BLE001  # Raised again below, as itself and not in a group.
                failure = error
            nursery.cancel_scope.cancel(reason="the feed is not wanted any more")
    except* ConnectionRejected as refusals:  # Raised by the task that reads.
        failure = ConnectFailed(f"{url}: refused with status {_status(refusals)}")
    finally:
        await trio.aclose_forcefully(stream)
    if failure is not None:
        raise failure


async def _dial(url: str) -> trio.SocketStream:
    parts = urlsplit(url)
    try:
        with trio.fail_after(CONNECT_S):
            return await trio.open_tcp_stream(parts.hostname or "", parts.port or HTTP_PORT)
    except (OSError, trio.TooSlowError) as error:
        raise ConnectFailed(f"{url}: {str(error) or type(error).__name__}") from None


async def _shake_hands(nursery: trio.Nursery, stream: trio.SocketStream, url: str, token: str) -> WebSocketConnection:
    try:
        with trio.fail_after(CONNECT_S):
            return await wrap_client_stream(
                nursery,
                stream,
                urlsplit(url).netloc,
                "/feed",
                subprotocols=[FEED_PROTOCOL],
                extra_headers=[(b"Authorization", f"Bearer {token}".encode())] if token else [],
                max_message_size=MESSAGE_BYTES_MAX,
            )
    except (trio.TooSlowError, HandshakeError, ConnectionClosed) as error:
        raise ConnectFailed(f"{url}: {str(error) or type(error).__name__}") from None


def _status(refusals: BaseExceptionGroup[ConnectionRejected]) -> int:
    first: BaseException = refusals
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, ConnectionRejected)
    return first.status_code


def _why(ended: ConnectionClosed) -> str:
    reason = ended.reason
    return "the feed ended" if reason is None else f"the feed ended ({reason.name.lower()} {reason.reason or ''})"
