"""Frames on their way to one peer: a bounded queue and the task that empties it."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from trioquorum.errors import LinkClosed
from trioquorum.limits import Limits
from trioquorum.transport import Link, PromptLink

FULL: Final = "the peer does not take what is sent to it"


class LinkOutbox:
    """``put`` never waits; a peer that falls too far behind loses its link instead of holding everybody up.

    While ``send_to`` runs and has nothing to do, a frame leaves with ``put`` itself where the link can do that: waking
    a task costs several times as much as sending.
    """

    def __init__(self, limits: Limits) -> None:
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._bytes_max = limits.learner_queue_bytes_max
        self._frames_max = limits.learner_queue_packets_max
        self._overflowed = False
        self._idle: PromptLink | None = None
        self._filled = trio.Event()
        self._stuck = trio.CancelScope()

    def __len__(self) -> int:
        """Frames that have not left."""
        return len(self._frames)

    def put(self, frame: bytes) -> None:
        """Queue one frame. After an overflow nothing more is taken and ``send_to`` raises."""
        if self._overflowed:
            return
        link = self._idle
        if link is not None and link.send_nowait(frame):
            if link.has_rest:
                self._idle = None
                self._filled.set()
            return
        self._idle = None
        if self._bytes + len(frame) > self._bytes_max or len(self._frames) >= self._frames_max:
            self._overflowed = True
            self._frames.clear()
            self._stuck.cancel(reason=FULL)
        else:
            self._frames.append(frame)
            self._bytes += len(frame)
        self._filled.set()

    async def send_to(self, link: Link) -> None:
        """Send for as long as the link lives.

        Raises:
            LinkClosed: the link is gone, or its peer fell further behind than ``learner_queue_*_max`` allows.
        """
        prompt = link if isinstance(link, PromptLink) else None
        try:
            with self.unless_full():
                while True:
                    if prompt is not None and prompt.has_rest:
                        await prompt.send_rest()
                    while self._frames:
                        frame = self._frames.popleft()
                        self._bytes -= len(frame)
                        await link.send(frame)
                    self._filled = trio.Event()
                    self._idle = prompt
                    await self._filled.wait()
        finally:
            self._idle = None

    @contextmanager
    def unless_full(self) -> Iterator[None]:
        """Around work that holds the queue up, or is it: an overflow ends it at once.

        Raises:
            LinkClosed: the queue overflowed.
        """
        with trio.CancelScope() as self._stuck:
            if self._overflowed:
                self._stuck.cancel(reason=FULL)
            yield
        if self._overflowed:
            raise LinkClosed(FULL)
