"""The page's controls of an ensemble on this machine: orders from pages, and the state of the peers to them."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec
import trio
from trio_websocket import WebSocketConnection

from trioquorum.admin import websockets
from trioquorum.admin.feed import EnsembleState, Problem, encode, message_of
from trioquorum.admin.http import Answer, Head, json_answer
from trioquorum.admin.orders import AnyOrder, decode_order
from trioquorum.admin.page import Pace
from trioquorum.admin.port import AdminPort, Endpoint
from trioquorum.admin.settings import AdminSettings
from trioquorum.errors import ConfigError

CONTROL_PROTOCOL: Final = "trioquorum.ensemble"
"""The WebSocket subprotocol of the controls."""


class Peers(Protocol):
    """What is controlled. ``changed`` is set, and replaced, whenever ``state`` is another."""

    changed: trio.Event

    def state(self) -> EnsembleState:
        """The peers as they are."""

    @property
    def obey(self) -> Callable[[AnyOrder], Awaitable[None]]:
        """Carry an order out, or raise ``ConfigError``."""


class Controls:
    """The admin port of a whole ensemble: the same page, and ``/ensemble``."""

    def __init__(self, settings: AdminSettings, peers: Peers) -> None:
        self._settings = settings
        self._peers = peers
        limits = settings.limits
        self.port = AdminPort(
            settings,
            open_paths={"/peers.json": self._list},
            paths={"/commands/ruok": self._well},
            endpoints={
                "/ensemble": Endpoint(
                    subprotocol=CONTROL_PROTOCOL,
                    converse=self._control,
                    message_bytes_max=limits.ask_bytes_max,
                    open_max=limits.pages_max,
                )
            },
        )

    async def _list(self, head: Head) -> Answer:
        del head
        await trio.lowlevel.checkpoint()
        peers = [{"id": peer.id, "admin": peer.admin} for peer in self._peers.state().peers]
        return json_answer({"self": None, "controls": True, "token": bool(self._settings.token), "peers": peers})

    async def _well(self, head: Head) -> Answer:
        """What a page tries its token at, as at the port of a peer."""
        del head
        await trio.lowlevel.checkpoint()
        return json_answer({"command": "ruok", "error": None})

    async def _control(self, connection: WebSocketConnection, remote: str) -> None:
        del remote
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._heed, connection, nursery.cancel_scope, name="orders")
            while True:
                changed = self._peers.changed
                if not await self._send(connection, encode(self._peers.state())):
                    break
                await changed.wait()
            nursery.cancel_scope.cancel(reason="the page is gone")

    async def _heed(self, connection: WebSocketConnection, scope: trio.CancelScope) -> None:
        code, reason = await self._obey(connection)
        if code:
            await websockets.close(connection, code, reason, self._settings.limits)
        scope.cancel(reason="the page left")

    async def _obey(self, connection: WebSocketConnection) -> tuple[int, str]:
        """Do what the page orders; how to close when it breaks the rules, 0 when it left."""
        pace = Pace(self._settings.limits.asks_per_s_max)
        while True:
            message = await websockets.receive(connection)
            if message is None:
                return 0, ""
            if isinstance(message, str):
                return websockets.NOT_BINARY, "messages are binary"
            if not pace.keeps():
                return websockets.TOO_MANY, "too many orders"
            try:
                order = decode_order(message)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return websockets.MALFORMED, "this is no order"
            try:
                await self._peers.obey(order)
            except (ConfigError, OSError) as error:
                what = order.__struct_config__.tag
                await self._send(connection, encode(Problem(what=str(what), reason=str(error))))

    async def _send(self, connection: WebSocketConnection, frame: bytes) -> bool:
        return await websockets.send(connection, message_of([frame]), self._settings.limits)
