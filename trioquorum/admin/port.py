"""The admin port of one peer: which path leads where."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import trio
from trio_websocket import WebSocketConnection

from trioquorum.admin import guard, websockets
from trioquorum.admin.http import Answer, Caller, Head, Refused
from trioquorum.admin.settings import AdminSettings
from trioquorum.admin.static import file_answer

Respond = Callable[[Head], Awaitable[Answer]]
Converse = Callable[[WebSocketConnection, str], Awaitable[None]]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A WebSocket that is served: who speaks ``subprotocol`` is handed to ``converse`` with the other end's address.

    No more than ``open_max`` at once, and no message over ``message_bytes_max``.
    """

    subprotocol: str
    converse: Converse
    message_bytes_max: int
    open_max: int


class AdminPort:
    """Requests of all connections, by path; what is no path of ours is a file of the page."""

    def __init__(
        self,
        settings: AdminSettings,
        *,
        open_paths: Mapping[str, Respond],
        paths: Mapping[str, Respond],
        endpoints: Mapping[str, Endpoint],
    ) -> None:
        """``open_paths`` need no token; a name in ``paths`` that ends in / stands for all that begin so."""
        self.settings = settings
        self.failures = 0
        """Connections that ended by a mistake of ours."""
        self.last_failure = ""
        self._open_paths = open_paths
        self._paths = paths
        self._endpoints = endpoints
        self._connections = 0
        self._open = dict.fromkeys(endpoints, 0)

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled; started with the port's URL.

        Raises:
            OSError: the address cannot be bound; ``filename`` holds it.
        """
        settings = self.settings
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            listeners = await trio.open_tcp_listeners(settings.port, host=settings.host)
        except OSError as error:
            url = f"http://{shown}:{settings.port}"
            raise OSError(error.errno, error.strerror or str(error), url) from None
        port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self.serve_stream, listeners)
            task_status.started(f"http://{shown}:{port}")

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """One connection to its end. Whatever goes wrong ends this connection alone."""
        if self._connections >= self.settings.limits.connections_max:
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            await self._serve(Caller(stream, self.settings.limits), _remote(stream))
        except* Exception as errors:  # noqa: BLE001  # A peer does not end because of a page.
            self.failures += 1
            self.last_failure = _first_line(errors)
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(stream)
        await trio.lowlevel.checkpoint()

    async def _serve(self, caller: Caller, remote: str) -> None:
        await trio.lowlevel.checkpoint()
        going_on = True
        while going_on:
            head: Head | None = None
            try:
                head = await caller.next_head()
                if head is None:
                    return
                guard.check_names(head, self.settings)
                if head.wants_websocket:
                    await self._open_websocket(caller, head, remote)
                    return
                answer = await self._answer(head)
            except Refused as no:
                body = f"{no.reason}\n".encode()
                headers = (("WWW-Authenticate", "Bearer"),) if no.status == 401 else ()
                refusal = Answer(status=no.status, body=body, headers=headers)
                last = no.fatal or (head is not None and head.wants_websocket)
                going_on = await caller.answer(head, refusal, close=last)
            else:
                going_on = await caller.answer(head, answer)

    async def _answer(self, head: Head) -> Answer:
        if head.method not in ("GET", "HEAD"):
            raise Refused(405, "only GET and HEAD are answered here", fatal=True)
        respond = self._open_paths.get(head.path)
        if respond is not None:
            return await respond(head)
        respond = self._paths.get(head.path) or self._paths.get(f"{head.path.rpartition('/')[0]}/")
        if respond is not None and head.path != "/":
            guard.check_token(head, self.settings)
            return await respond(head)
        if head.path in self._endpoints:
            raise Refused(400, "this is a WebSocket")
        return await file_answer(head, self.settings)

    async def _open_websocket(self, caller: Caller, head: Head, remote: str) -> None:
        endpoint = self._endpoints.get(head.path)
        if endpoint is None:
            raise Refused(404, "there is no such WebSocket", fatal=True)
        guard.check_token(head, self.settings)
        if self._open[head.path] >= endpoint.open_max:
            raise Refused(503, "too many of these are open", fatal=True)
        limits = self.settings.limits
        websockets.check_handshake(head, endpoint.subprotocol)
        with self._counted(head.path):
            async with websockets.accepted(
                caller, head, endpoint.subprotocol, endpoint.message_bytes_max, limits
            ) as connection:
                await endpoint.converse(connection, remote)

    @contextmanager
    def _counted(self, path: str) -> Iterator[None]:
        self._open[path] += 1
        try:
            yield
        finally:
            self._open[path] -= 1


def _remote(stream: trio.abc.Stream) -> str:
    """``admin://host:port`` of the other end; ``admin://memory`` where there are no such names."""
    if not isinstance(stream, trio.SocketStream):
        return "admin://memory"
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:
        return "admin://gone"
    shown = f"[{host}]" if ":" in host else host
    return f"admin://{shown}:{port}"


def _first_line(errors: BaseExceptionGroup[Exception]) -> str:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
