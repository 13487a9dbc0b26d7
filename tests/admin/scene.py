"""An admin port over memory streams, with a peer that is played by its events."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from trioquorum.admin.beside import Admin
from trioquorum.admin.feed import AnyFrame, frames_of
from trioquorum.admin.settings import AdminLimits, AdminSettings
from trioquorum.config import PeerSpec, ServerConfig
from trioquorum.events import Events
from trioquorum.peer.run import Surroundings
from trioquorum.transport import Address

WALL_MS = 1_700_000_000_000
HOST = "127.0.0.1:8081"
OTHER = "http://127.0.0.1:8082"


def config(tmp_path: Path) -> ServerConfig:
    """Peer 1 of three, which all have admin ports."""
    specs = tuple(
        PeerSpec(
            id=peer,
            quorum=Address("tcp", "127.0.0.1", 2880 + peer),
            election=Address("tcp", "127.0.0.1", 3880 + peer),
            client=Address("tcp", "127.0.0.1", 2180 + peer),
            admin=f"http://127.0.0.1:{8080 + peer}",
        )
        for peer in (1, 2, 3)
    )
    return ServerConfig(my_id=1, peers=specs, client_addresses=(), data_dir=tmp_path, data_log_dir=tmp_path)


class Scene:
    """``events`` are the peer's; ``call`` gives a stream to its admin port."""

    def __init__(self, tmp_path: Path, nursery: trio.Nursery, *, token: str = "", **limits: Any) -> None:
        settings = AdminSettings(
            host="127.0.0.1",
            port=8081,
            token=token,
            origins=frozenset({"http://127.0.0.1:8081", OTHER}),
            limits=msgspec.convert({"coalesce_s": 0.0, **limits}, AdminLimits),
        )
        self.events = Events()
        self.admin = Admin(config(tmp_path), self.events, settings, Surroundings(wall_ms=lambda: WALL_MS))
        self.events.subscribe(self.admin.read)
        self._nursery = nursery

    def call(self) -> trio.StapledStream[Any, Any]:
        """A new connection."""
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self.admin.port.serve_stream, theirs)
        return ours

    async def get(self, path: str, *headers: str, method: str = "GET", host: str = HOST) -> tuple[int, str, bytes]:
        """Status, head and body of one answer."""
        stream = self.call()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n")
        return await answer_of(stream)

    async def raw(self, data: bytes) -> tuple[int, str, bytes]:
        """The answer to whatever ``data`` is."""
        stream = self.call()
        await stream.send_all(data)
        return await answer_of(stream)

    @asynccontextmanager
    async def websocket(
        self, path: str, *subprotocols: str, origin: str | None = None, host: str = HOST
    ) -> AsyncIterator[WebSocketConnection]:
        """An open WebSocket."""
        headers = [] if origin is None else [(b"Origin", origin.encode())]
        stream = self.call()
        async with trio.open_nursery() as nursery:
            connection = await wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # any stream does
                host,
                path,
                subprotocols=list(subprotocols),
                extra_headers=headers,
            )
            try:
                yield connection
            finally:
                await trio.aclose_forcefully(stream)
                nursery.cancel_scope.cancel()


async def closed_with(connection: WebSocketConnection) -> int:
    """Read to the end; the code that the port closed with."""
    try:
        with trio.fail_after(5):
            while True:
                await connection.get_message()
    except ConnectionClosed as ended:
        return ended.reason.code if ended.reason is not None else 0


async def until(holds: Callable[[], bool]) -> None:
    """Wait until ``holds``."""
    with trio.fail_after(5):
        while not holds():
            await trio.sleep(0.01)


async def answer_of(stream: trio.abc.ReceiveStream) -> tuple[int, str, bytes]:
    """Read to the end; status, head and body."""
    answer = b""
    with trio.fail_after(5):
        while more := await stream.receive_some():
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, head.decode(), body


async def frames(connection: WebSocketConnection, count: int = 1) -> list[AnyFrame]:
    """The next frames, so many at least."""
    found: list[AnyFrame] = []
    with trio.fail_after(5):
        while len(found) < count:
            message = await connection.get_message()
            assert isinstance(message, bytes)
            found += frames_of(message)
    return found
