"""Keeps one session over connections, on anyio: dialling, pings, requests and their ends."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, TaskGroup

from trioquorum.client.core import Core, Decode, Effect, Fired, Request, State, StateChanged, nothing
from trioquorum.client.watches import Table, Watcher
from trioquorum.errors import Code, ConnectFailed, LinkClosed, LocalProtocolError, PeerProtocolError, RequestFailed
from trioquorum.limits import Limits
from trioquorum.wire.digest_md5 import DigestClient
from trioquorum.wire.ops import Op

T = TypeVar("T")
Dial = Callable[[], Awaitable[ByteStream]]
"""Opens one connection to one server. It raises OSError or ``LinkClosed`` when nobody is there."""

CLOSE_TIMEOUT_MS = 2_000  # for saying goodbye, and again for closing the stream
RECONNECT_DELAY_MS_MIN = 50  # after every server was tried once; doubles
RECONNECT_DELAY_MS_MAX = 1_000
PROBE_MS_MIN = 100  # connected to a server without a leader: pause before the next one is asked for its; doubles
PROBE_MS_MAX = 60_000
PROBE_TIMEOUT_MS = 1_000
RECEIVE_BYTES_MAX = 64 << 10
REQUESTS_INFLIGHT_MAX = Limits().client_requests_inflight_max  # a server reads no more of a connection; calls wait

_LINK_ERRORS = (
    OSError,
    LinkClosed,
    PeerProtocolError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


class Observer(Protocol):
    """Told everything that a session does, as it happens on the wire; it must be quick and not raise."""

    def sent(self, core: Core, request: Request[Any]) -> None:
        """This request is on its way."""

    def saw(self, core: Core, effect: Effect) -> None:
        """This came, or was found out; told before anybody else is. A late reply's request was given up before."""

    def distrusted(self, error: PeerProtocolError) -> None:
        """The server broke the protocol, so its connection is given up."""


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """A task group; an error that is the only one leaves it as itself, not in a group."""
    alone: Exception | None = None
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except ExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        alone = group.exceptions[0]
    if alone is not None:  # raised out here, its own context stays as it is
        raise alone


@asynccontextmanager
async def _closing(stream: ByteStream) -> AsyncIterator[ByteStream]:
    """The stream, closed at the end whatever happens, in bounded time."""
    try:
        yield stream
    finally:
        with anyio.move_on_after(CLOSE_TIMEOUT_MS / 1000, shield=True):
            await stream.aclose()


class Session:
    """Drives a ``Core``. ``run`` lives in a task of its own; calls come from any task."""

    def __init__(
        self,
        dials: Sequence[Dial],
        session_timeout_ms: int,
        request_timeout_ms: int | None,
        on_state: Callable[[State], object] | None,
        observer: Observer | None = None,
        *,
        read_only: bool = False,
        login: Callable[[], DigestClient] | None = None,
    ) -> None:
        self.core = Core(session_timeout_ms, read_only=read_only, login=login)
        self._turn = 0
        self._probe_ms = PROBE_MS_MIN
        self._dials = dials
        self._request_timeout_ms = request_timeout_ms
        self._on_state = on_state
        self._observer = observer
        self._room = anyio.Semaphore(REQUESTS_INFLIGHT_MAX, fast_acquire=True)
        # Shielded: whoever cancels the user's block must not cut the goodbye; `end` cancels this scope.
        self._running = anyio.CancelScope(shield=True)
        self._state_changed = anyio.Event()
        self._output_ready = anyio.Event()
        self._sent_at = self._heard_at = 0.0
        self._failure = "nobody was asked"

    async def ask(
        self, op: Op, body: bytes, decode: Decode[T], watch: tuple[Table, str, Watcher] | None = None
    ) -> Request[T]:
        """Send a request, its encoded record as ``body``, and wait for its end: a reply, or why there is none.

        Waits at most the request timeout for a connection, and as long again for the reply. Cancelling it takes
        nothing back.

        Raises:
            RequestFailed: it was not sent: the session is over, or there was no connection in time (CONNECTIONLOSS).
            LocalProtocolError: larger than servers accept.
        """
        if self.core.state.connected and self._room.value:
            self._room.acquire_nowait()
        else:
            await self._admit()
        request = Request(op, body, decode, watch)
        answered = anyio.Event()
        request.wake = answered.set
        request.deadline = anyio.current_time() + self._request_timeout
        try:
            self.core.submit(request)
        except LocalProtocolError:
            self._room.release()
            raise
        self._output_ready.set()
        if self._observer is not None:
            self._observer.sent(self.core, request)
        try:
            await answered.wait()
        finally:
            request.abandoned = True
        return request

    @property
    def _request_timeout(self) -> float:
        return (self._request_timeout_ms or self.core.timeout_ms) / 1000

    async def _admit(self) -> None:
        """Wait for a connection and a place among the requests in flight; the caller gives the place back."""
        with anyio.move_on_after(self._request_timeout):
            while True:
                await self._connected()
                await self._room.acquire()
                if self.core.state.connected:
                    return
                self._room.release()
        raise RequestFailed(Code.CONNECTIONLOSS)

    async def _connected(self) -> None:
        await anyio.lowlevel.checkpoint()
        while self.core.state is State.CONNECTING:
            await self._state_changed.wait()
        self.core.require_session()

    async def first(self, timeout_s: float) -> None:
        """Wait until there is a session.

        Raises:
            ConnectFailed: there was none in time; it says why the last try failed.
        """
        with anyio.move_on_after(timeout_s):
            await self._connected()
            return
        raise ConnectFailed(f"no session within {timeout_s:g} s; last try: {self._failure}")

    async def goodbye(self) -> None:
        """Close the session: its ephemerals go now. Without a connection it is left to expire. ``end`` must follow."""
        await anyio.lowlevel.checkpoint()
        if self.core.state.connected:
            with suppress(RequestFailed):  # lost or expired meanwhile: nothing is left to close
                await self.ask(Op.CLOSE_SESSION, b"", nothing)

    def end(self) -> None:
        """Stop ``run``; whatever is on its way fails. Idempotent."""
        for effect in self.core.end(State.CLOSED):
            self._perform(effect)
        self._running.cancel()

    async def run(self) -> None:
        """Keep a connection until the session is over."""
        await anyio.lowlevel.checkpoint()
        with self._running:
            failures = 0
            while not self.core.state.ended:
                began = anyio.current_time()
                dial = self._dials[self._turn % len(self._dials)]
                self._turn += 1
                served = await self._link(dial)
                # A server that drops us at once is no better than one that does not answer.
                lived = served and anyio.current_time() - began >= RECONNECT_DELAY_MS_MAX / 1000
                failures = 0 if lived else failures + 1
                rounds, rest = divmod(failures, len(self._dials))
                if rounds and not rest and not self.core.state.ended:
                    delay_ms = min(RECONNECT_DELAY_MS_MAX, RECONNECT_DELAY_MS_MIN << min(rounds - 1, 10))
                    await anyio.sleep(delay_ms / 1000)

    async def _link(self, dial: Dial) -> bool:
        """One connection from dialling to its end; whether it ever served the session."""
        await anyio.lowlevel.checkpoint()
        served = False
        try:
            with anyio.move_on_after(self.core.timeout_ms / 1000 / len(self._dials)) as attempt:
                self._failure = "no answer in time"
                async with _closing(await dial()) as stream:
                    try:
                        await stream.send(self.core.hello())
                        while self.core.state is State.CONNECTING:
                            await self._take(stream)
                            if output := self.core.take_output():
                                await stream.send(output)
                        attempt.deadline = math.inf
                        if self.core.state.connected:
                            served = True
                            await self._exchange(stream)
                    finally:
                        for effect in self.core.lost():
                            self._perform(effect)
        except _LINK_ERRORS as error:
            self._failure = f"{type(error).__name__} {error}".rstrip()
        return served

    async def _exchange(self, stream: ByteStream) -> None:
        self._sent_at = self._heard_at = anyio.current_time()
        async with task_group() as tasks:
            works = [self._send, self._receive, self._keep_alive]
            if self.core.state is State.CONNECTED_READ_ONLY:
                works.append(self._look_for_better)
            else:
                self._probe_ms = PROBE_MS_MIN
            for work in works:
                tasks.start_soon(self._until_lost, work, stream, tasks.cancel_scope)

    async def _until_lost(
        self, work: Callable[[ByteStream], Awaitable[None]], stream: ByteStream, others: anyio.CancelScope
    ) -> None:
        """Each of the three ends the connection."""
        await anyio.lowlevel.checkpoint()
        try:
            await work(stream)
        except _LINK_ERRORS as error:
            self._failure = f"{type(error).__name__} {error}".rstrip()
        others.cancel()

    async def _send(self, stream: ByteStream) -> None:
        while True:
            output = self.core.take_output()
            if output:
                self._sent_at = anyio.current_time()
                await stream.send(output)
            else:
                self._output_ready = anyio.Event()
                await self._output_ready.wait()

    async def _receive(self, stream: ByteStream) -> None:
        while True:
            await self._take(stream)
            if self.core.state.ended:
                return

    async def _keep_alive(self, stream: ByteStream) -> None:
        """Ping when nothing was sent for a third of the session timeout, give up when nothing came for two thirds."""
        third = self.core.timeout_ms / 1000 / 3
        while True:
            now = anyio.current_time()
            for request in self.core.expire(now):
                request.wake()
            if now >= self._heard_at + 2 * third:
                raise LinkClosed("the server fell silent")
            if now >= self._sent_at + third:
                self.core.ping()
                self._sent_at = now
                self._output_ready.set()
            # A request made while we sleep is due after `now + timeout`, so no wake-up comes late.
            due = self.core.next_deadline()
            if due is None:
                due = now + self._request_timeout
            await anyio.sleep_until(min(self._heard_at + 2 * third, self._sent_at + third, due))

    async def _look_for_better(self, stream: ByteStream) -> None:
        """Ask the other servers, less and less often, whether they have a leader; then leave this one for that."""
        del stream
        while True:
            await anyio.sleep(self._probe_ms / 1000)
            self._probe_ms = min(2 * self._probe_ms, PROBE_MS_MAX)
            index = self._turn % len(self._dials)
            if await self._reads_and_writes(self._dials[index]):
                raise LinkClosed("another server has a leader")
            self._turn += 1

    async def _reads_and_writes(self, dial: Dial) -> bool:
        """What a server answers to ``isro``; no when it does not in time."""
        answer = b""
        await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(PROBE_TIMEOUT_MS / 1000), suppress(*_LINK_ERRORS):
            async with _closing(await dial()) as stream:
                await stream.send(b"isro")
                while len(answer) < len(b"rw"):
                    answer += await stream.receive(RECEIVE_BYTES_MAX)
        return answer == b"rw"

    async def _take(self, stream: ByteStream) -> None:
        """Receive once and perform it, in order also for those who wait for replies."""
        received = await stream.receive(RECEIVE_BYTES_MAX)
        self._heard_at = anyio.current_time()
        answered = False
        try:
            for effect in self.core.feed(received):
                if isinstance(effect, Request):
                    answered = True
                elif answered:
                    # Who waits for the reply in front of this event resumes first. Trio runs a batch of woken tasks in
                    # no order: the second turn is behind all of them. Shielded, or the event would be lost.
                    await anyio.lowlevel.cancel_shielded_checkpoint()
                    await anyio.lowlevel.cancel_shielded_checkpoint()
                    answered = False
                self._perform(effect)
        except PeerProtocolError as error:
            if self._observer is not None:
                self._observer.distrusted(error)
            raise

    def _perform(self, effect: Effect) -> None:
        if self._observer is not None:
            self._observer.saw(self.core, effect)
        if isinstance(effect, Request):
            self._room.release()
            effect.wake()
        elif isinstance(effect, Fired):
            for watcher in effect.watchers:
                watcher(effect.event)
        elif isinstance(effect, StateChanged):
            self._state_changed.set()
            self._state_changed = anyio.Event()
            if self._on_state is not None:
                self._on_state(effect.state)
