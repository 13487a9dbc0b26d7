"""One end of a TCP link: a frame is a 4-byte big-endian length and that many bytes.

It runs on a stdlib non-blocking socket: the system call is tried first and Trio is asked to wait only when the kernel
has nothing to give or no room (a wake-up costs ten times the call). One ``recv`` may yield many frames. In steady state
the poller reads, so that what arrives costs no wake-up of a task at all.
"""

import contextlib
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from trioquorum.errors import LinkClosed, LocalProtocolError, PeerProtocolError
from trioquorum.invariants import invariant
from trioquorum.poller import Watch, watching
from trioquorum.transport import Take
from trioquorum_transports.frames import HEADER, FrameSplitter

RECEIVE_BYTES: Final = 64 << 10  # one recv; from 128 KiB on malloc maps and unmaps a buffer each time, for 12 µs
BURST_BYTES: Final = 256 << 10  # what a task may move on one link before the other tasks get a turn
FRAME_COST_BYTES: Final = 4 << 10  # a frame counts as this much more, so that a burst is at most 64 frames
FRAMES_AT_ONCE: Final = BURST_BYTES // FRAME_COST_BYTES  # that the poller hands over before the others get a turn


class TcpLink:
    """A ``Link`` over a connected socket, which it owns."""

    def __init__(self, connected: socket.socket, remote: str, frame_bytes_max: int) -> None:
        connected.setblocking(False)
        # A connection that was reset already may refuse options; its first use says what happened.
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket = connected
        self._remote = remote
        self._frame_bytes_max = frame_bytes_max
        self._splitter = FrameSplitter(frame_bytes_max)
        self._send_ended = ""
        self._receive_ended = ""
        self._sending = False
        self._rest = memoryview(b"")
        self._send_credit = BURST_BYTES
        self._receive_credit = BURST_BYTES
        self._watch: Watch | None = None  # while frames are delivered

    @property
    def remote(self) -> str:
        """``tcp://host:port`` of the other end."""
        return self._remote

    async def send(self, frame: bytes) -> None:
        """Hand one frame to the kernel. Cancelled when part of it was gone, the link is broken for both ends.

        Raises:
            LinkClosed: the link is gone.
            LocalProtocolError: the frame is larger than the link's limit.
        """
        size = len(frame)
        if size > self._frame_bytes_max:
            raise LocalProtocolError(f"a frame of {size} bytes for a link that carries {self._frame_bytes_max}")
        if self._send_credit > 0:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._send_credit = BURST_BYTES
            await trio.lowlevel.checkpoint()
        self._send_credit -= size + FRAME_COST_BYTES
        if self._rest:
            await self.send_rest()
        invariant(not self._sending, "one task sends on a link at a time", remote=self._remote)
        header = HEADER.pack(size)
        sent = self._send_some((header, frame))
        if sent < HEADER.size + size:
            await self._send_last(header, memoryview(frame), sent)

    @property
    def has_rest(self) -> bool:
        """Whether the kernel had no room for all that ``send_nowait`` took."""
        return len(self._rest) > 0

    def send_nowait(self, frame: bytes) -> bool:
        """Hand one frame to the kernel if it has room for any of it; the rest is kept for ``send_rest``."""
        size = len(frame)
        if self._send_ended or self._rest or size > self._frame_bytes_max:
            return False
        invariant(not self._sending, "one task sends on a link at a time", remote=self._remote)
        header = HEADER.pack(size)
        try:
            sent = self._send_some((header, frame))
        except LinkClosed:
            return False
        if 0 < sent < HEADER.size + size:
            self._rest = memoryview(header + frame)[sent:]
        return sent > 0

    async def send_rest(self) -> None:
        """Wait until the kernel has taken what is left of a frame.

        Raises:
            LinkClosed: the link is gone.
        """
        await trio.lowlevel.checkpoint()
        while self._rest:
            self._rest = self._rest[self._send_some((self._rest,)) :]
            if self._rest:
                try:
                    await trio.lowlevel.wait_writable(self._socket)
                except trio.ClosedResourceError:
                    raise LinkClosed(self._send_ended) from None

    async def _send_last(self, header: bytes, frame: memoryview, sent: int) -> None:
        total = len(header) + len(frame)
        self._sending = True
        try:
            while True:
                await trio.lowlevel.wait_writable(self._socket)
                self._send_credit = BURST_BYTES
                if sent < len(header):
                    sent += self._send_some((header[sent:], frame))
                else:
                    sent += self._send_some((frame[sent - len(header) :],))
                if sent == total:
                    return
        except trio.ClosedResourceError:
            raise LinkClosed(self._send_ended) from None
        finally:
            self._sending = False
            if 0 < sent < total and not self._send_ended:
                self._break("a frame was cancelled half-way")

    def _send_some(self, parts: tuple[bytes | memoryview, ...]) -> int:
        """How many bytes the kernel took; 0 when it has no room."""
        if self._send_ended:
            raise LinkClosed(self._send_ended)
        try:
            return self._socket.sendmsg(parts)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._send_ended = f"{self._remote}: {error.strerror}"
            raise LinkClosed(self._send_ended) from error

    def _break(self, reason: str) -> None:
        """Let the other end see an end, never the next frame's bytes as the rest of this one."""
        self._send_ended = f"{self._remote}: {reason}"
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def receive(self) -> bytes:
        """The next frame; cancelling loses nothing.

        Raises:
            LinkClosed: the link is gone, or the other end closed it.
            PeerProtocolError: the other end announced a frame over the limit; the link is closed.
        """
        splitter = self._splitter
        while True:
            if self._receive_credit > 0:
                await trio.lowlevel.checkpoint_if_cancelled()
            else:
                self._receive_credit = BURST_BYTES
                await trio.lowlevel.checkpoint()
            if splitter.frames:
                self._receive_credit -= FRAME_COST_BYTES
                return splitter.frames.popleft()
            if self._receive_ended:
                raise LinkClosed(self._receive_ended)
            if splitter.violation:
                self._close(splitter.violation)
                raise PeerProtocolError(f"{self._remote}: {splitter.violation}")
            if not self._receive_some():
                # Closed here meanwhile, the next round says so.
                with contextlib.suppress(trio.ClosedResourceError):
                    await trio.lowlevel.wait_readable(self._socket)
                self._receive_credit = BURST_BYTES

    def _receive_some(self) -> bool:
        """Feed the splitter once, or note the end; False when the kernel has nothing."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            self._receive_ended = f"{self._remote}: {error.strerror}"
        else:
            if data:
                self._receive_credit -= len(data)
                self._splitter.feed(data)
                return True
            where = " inside a frame" if self._splitter.inside_frame else ""
            self._receive_ended = self._send_ended or f"{self._remote}: closed by the other end{where}"
        self._send_ended = self._send_ended or self._receive_ended
        return True

    async def deliver(self, take: Take, flush: Callable[[], None]) -> None:
        """Hand every frame to ``take`` until it returns false, ``flush`` behind those that came together.

        Raises:
            LinkClosed: the link is gone, or the other end closed it.
            PeerProtocolError: the other end announced a frame over the limit; the link is closed.
        """
        splitter = self._splitter
        while splitter.frames or splitter.violation or self._receive_ended:
            frame = await self.receive()
            try:
                goes_on = take(frame)
            finally:
                flush()
            if not goes_on:
                return
        with watching(flush) as self._watch:
            fd = self._socket.fileno()
            self._watch.add(fd, select.EPOLLIN, partial(self._deliver_some, self._watch, fd, take))
            try:
                await self._watch.run()
            finally:
                self._watch = None
        if self._socket.fileno() < 0:
            raise LinkClosed(self._receive_ended)

    def _deliver_some(self, watch: Watch, fd: int, take: Take, mask: int) -> None:
        """Called by the poller: one ``recv``, and as many frames as the others can wait for."""
        splitter = self._splitter
        frames = splitter.frames
        if not (frames or splitter.violation or self._receive_ended) and mask:
            self._receive_some()
        for _ in range(FRAMES_AT_ONCE):
            if not frames or not watch.active:
                break
            if not take(frames.popleft()):
                watch.stop()
                return
        if frames:
            watch.again(fd)
        elif self._receive_ended:
            raise LinkClosed(self._receive_ended)
        elif splitter.violation:
            self._close(splitter.violation)
            raise PeerProtocolError(f"{self._remote}: {splitter.violation}")

    async def aclose(self) -> None:
        """Close both directions; what waits here on the link raises ``LinkClosed``. Idempotent, never waits."""
        self._close("closed at this end")
        await trio.lowlevel.checkpoint()

    def _close(self, reason: str) -> None:
        if self._socket.fileno() >= 0:
            self._send_ended = self._receive_ended = f"{self._remote}: {reason}"
            self._splitter.frames.clear()
            if self._watch is not None:
                self._watch.remove(self._socket.fileno())
                self._watch.stop()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
