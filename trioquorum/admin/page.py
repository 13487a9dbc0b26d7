"""One open page: what it asks for, and the feed to it."""

from typing import Final

import msgspec
import trio
from trio_websocket import WebSocketConnection

from trioquorum.admin import websockets
from trioquorum.admin.feed import (
    AskHistory,
    AskSnapshot,
    AskTasks,
    AskTrace,
    Problem,
    Snapshot,
    Tasks,
    decode_ask,
    encode,
    message_of,
)
from trioquorum.admin.hub import Hub, Page
from trioquorum.admin.settings import AdminLimits
from trioquorum.admin.state import PeerState
from trioquorum.admin.tasks import task_tree

RATE_S: Final = 1.0


class Pace:
    """At most so many in a second."""

    def __init__(self, per_s_max: int) -> None:
        self._per_s_max = per_s_max
        self._since = trio.current_time()
        self._count = 0

    def keeps(self) -> bool:
        """Count one more; whether that was not too many."""
        now = trio.current_time()
        if now - self._since >= RATE_S:
            self._since, self._count = now, 0
        self._count += 1
        return self._count <= self._per_s_max


class PageTask:
    """Serves one feed from its first frame to its end."""

    def __init__(self, connection: WebSocketConnection, hub: Hub, state: PeerState, limits: AdminLimits) -> None:
        self._connection = connection
        self._hub = hub
        self._state = state
        self._limits = limits
        self._history_since: int | None = None
        self._history_at = -limits.history_pause_s

    async def run(self) -> None:
        """Until the page is closed, breaks the rules, or does not read."""
        with self._hub.open_page() as page:
            page.put(encode(self._snapshot(page)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, page, nursery.cancel_scope, name="page asks")
                await self._write(page)
                nursery.cancel_scope.cancel(reason="the page is gone")

    def _snapshot(self, page: Page) -> Snapshot:
        hub = self._hub
        return self._state.snapshot(
            mono_us=hub.mono_us(),
            started_wall_ms=hub.started_wall_ms,
            seqs=(hub.oldest_seq, hub.next_seq),
            dropped=page.dropped,
            tasks=task_tree(self._limits.tasks_max, self._limits.task_depth_max),
        )

    async def _write(self, page: Page) -> None:
        while True:
            await page.waiting.wait()
            since, self._history_since = self._history_since, None
            if since is not None:
                for frame in self._hub.history(since):
                    if not await websockets.send(self._connection, message_of([frame]), self._limits):
                        return
            message = page.take()
            if message and not await websockets.send(self._connection, message, self._limits):
                return
            # What comes meanwhile goes together: each message costs the peer a wake-up.
            await trio.sleep(self._limits.coalesce_s)

    async def _read(self, page: Page, scope: trio.CancelScope) -> None:
        code, reason = await self._heed(page)
        if code:
            await websockets.close(self._connection, code, reason, self._limits)
        scope.cancel(reason="the page left")

    async def _heed(self, page: Page) -> tuple[int, str]:
        """Answer what the page asks; how to close when it breaks the rules, 0 when it left."""
        pace = Pace(self._limits.asks_per_s_max)
        while True:
            message = await websockets.receive(self._connection)
            if message is None:
                return 0, ""
            if isinstance(message, str):
                return websockets.NOT_BINARY, "messages are binary"
            if not pace.keeps():
                return websockets.TOO_MANY, "too many questions"
            try:
                ask = decode_ask(message)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return websockets.MALFORMED, "this is no question"
            match ask:
                case AskSnapshot():
                    page.put(encode(self._snapshot(page)))
                case AskTasks():
                    self._tell_tasks(page)
                case AskTrace():
                    if not self._hub.trace(page, on=ask.on):
                        page.put(encode(Problem(what="trace", reason="as many pages as may are told of transactions")))
                case AskHistory():
                    self._ask_history(page, ask.since_seq)

    def _tell_tasks(self, page: Page) -> None:
        tree = task_tree(self._limits.tasks_max, self._limits.task_depth_max)
        if tree is not None:
            page.put(encode(Tasks(wall_ms=self._hub.wall_ms(), mono_us=self._hub.mono_us(), tasks=tree)))

    def _ask_history(self, page: Page, since_seq: int) -> None:
        now = trio.current_time()
        if self._history_since is not None or now - self._history_at < self._limits.history_pause_s:
            page.put(encode(Problem(what="history", reason="it was asked for a moment ago")))
            return
        self._history_at, self._history_since = now, since_seq
        page.waiting.set()
