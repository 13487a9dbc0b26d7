"""Links inside one process, with faults: what a simulated cluster and in-process clients talk over.

Deterministic: no background task, thread or wall clock; order depends on the Trio schedule alone.
"""

import errno
import math
import os
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Final

import trio

from trioquorum.errors import ConnectFailed, LinkClosed, LocalProtocolError, PeerProtocolError
from trioquorum.invariants import invariant
from trioquorum.transport import Address
from trioquorum_transports.wires import Path, Tap, Wire

BACKLOG: Final = 128  # links dialled and not yet accepted; further diallers wait


class MemoryLink:
    """One end of a ``Link`` between two nodes."""

    def __init__(self, wire: Wire, *, dialled: bool, remote: str, frame_bytes_max: int) -> None:
        self._wire = wire
        self._outbox, self._inbox = (wire.there, wire.back) if dialled else (wire.back, wire.there)
        self._remote = remote
        self._frame_bytes_max = frame_bytes_max
        self._closed = False

    @property
    def remote(self) -> str:
        """The address dialled, or ``memory://node`` of the dialler."""
        return self._remote

    async def send(self, frame: bytes) -> None:
        """Put one frame on its way; waits while the other end has ``BUFFER_*_MAX`` unread. Cancelled, nothing is sent.

        Raises:
            LinkClosed: the link is gone.
            LocalProtocolError: the frame is larger than the link's limit.
        """
        if len(frame) > self._frame_bytes_max:
            raise LocalProtocolError(f"a frame of {len(frame)} bytes for a link that carries {self._frame_bytes_max}")
        await trio.lowlevel.checkpoint()
        invariant(not self._outbox.sender, "one task sends on a link at a time", remote=self._remote)
        while True:
            due = self._inbox.settle()  # the other end's close comes this way
            if self._closed or self._inbox.ended:
                raise LinkClosed(self._reason())
            if self._outbox.has_room(len(frame)):
                break
            await _park(self._outbox.sender, due)
        wire = self._wire
        if wire.tap is not None:
            wire.tap(wire.nodes, wire.port, self._outbox is wire.there, frame, wire.number)
        wire.put(self._outbox, frame)

    async def receive(self) -> bytes:
        """The next frame that has arrived; cancelling loses nothing.

        Raises:
            LinkClosed: the link is gone, or the other end closed it.
            PeerProtocolError: the other end sent a frame over the limit; the link is closed.
        """
        await trio.lowlevel.checkpoint()
        invariant(not self._inbox.receiver, "one task receives on a link at a time", remote=self._remote)
        while True:
            due = self._inbox.settle()
            if self._closed:
                raise LinkClosed(self._reason())
            if self._inbox.arrived:
                break
            if self._inbox.ended:
                raise LinkClosed(self._reason())
            await _park(self._inbox.receiver, due)
        frame = self._inbox.take()
        if len(frame) > self._frame_bytes_max:
            self._close()
            raise PeerProtocolError(
                f"{self._remote}: a frame of {len(frame)} bytes came, at most {self._frame_bytes_max} are allowed"
            )
        return frame

    async def aclose(self) -> None:
        """Close both directions; the other end hears of it behind the frames in flight. Idempotent, never waits."""
        self._close()
        await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._outbox.put(None)
            self._wire.end_closed()

    def _reason(self) -> str:
        return f"{self._remote}: {'closed at this end' if self._closed else self._inbox.ended}"


class MemoryListener:
    """A bound name; it belongs to the node that is its address's host."""

    def __init__(self, network: "MemoryNetwork", address: Address, frame_bytes_max: int) -> None:
        self._network = network
        self._address = address
        self._frame_bytes_max = frame_bytes_max
        self._closed = False
        self._backlog: deque[tuple[Wire, MemoryLink]] = deque()
        self._arrival = trio.lowlevel.ParkingLot()

    @property
    def address(self) -> Address:
        """The address asked for; port 0 is a name like any other."""
        return self._address

    @property
    def full(self) -> bool:
        """True while diallers have to wait."""
        return len(self._backlog) >= BACKLOG

    async def accept(self) -> MemoryLink:
        """The next link.

        Raises:
            LinkClosed: the listener was closed.
        """
        await trio.lowlevel.checkpoint()
        while not self._backlog:
            if self._closed:
                raise LinkClosed(f"{self._address}: the listener was closed")
            await self._arrival.park()
        _, link = self._backlog.popleft()
        self._network.dial_again()
        return link

    def offer(self, wire: Wire) -> None:
        """Queue a dialled link for ``accept``."""
        remote = str(Address("memory", wire.nodes[0]))
        link = MemoryLink(wire, dialled=False, remote=remote, frame_bytes_max=self._frame_bytes_max)
        self._backlog.append((wire, link))
        self._arrival.unpark()

    async def aclose(self) -> None:
        """Stop accepting and break links nobody accepted. Idempotent, never waits."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """``aclose`` without the checkpoint."""
        if not self._closed:
            self._closed = True
            self._network.unbind(self._address)
            while self._backlog:
                self._backlog.popleft()[0].break_off("the listener was closed")
            self._arrival.unpark_all()
            self._network.dial_again()


class MemoryNetwork:
    """The names in use, the links between nodes, and the faults on the way. Deterministic; belongs to one Trio run.

    Faults work on pairs of nodes and at once, for links that exist and for those to come. ``tap`` is told every frame
    when it leaves its sender; it must not wait, and what it raises ends the sender and keeps the frame. Set it before
    links are dialled.
    """

    def __init__(self) -> None:
        self.tap: Tap | None = None
        self._dialled = 0
        self._listeners: dict[tuple[str, int], MemoryListener] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._wires: dict[Wire, None] = {}  # a set that keeps its order
        self._diallers = trio.lowlevel.ParkingLot()

    def transport(self, node: str) -> "MemoryTransport":
        """The transport of one node: where the links it dials come from."""
        return MemoryTransport(self, node)

    def delay(self, a: str, b: str, delay_s: float, *, jitter_s: float = 0.0, random: Random | None = None) -> None:
        """Give each later frame between ``a`` and ``b``, both ways, this latency and up to ``jitter_s`` more.

        Order is kept. Jitter is drawn from ``random``.

        Raises:
            ValueError: jitter without ``random``.
        """
        if jitter_s and random is None:
            raise ValueError("jitter needs a Random to draw from")
        for path in (self._path(a, b), self._path(b, a)):
            path.delay_s, path.jitter_s, path.random = delay_s, jitter_s, random

    def delay_one_way(self, a: str, b: str, delay_s: float) -> None:
        """Give what ``a`` sends to ``b`` from now on another latency than the way back."""
        self._path(a, b).delay_s = delay_s

    def bandwidth(self, a: str, b: str, bytes_per_s: float | None) -> None:
        """Let so much through each way between ``a`` and ``b``, over all their links; ``None`` is no limit.

        A frame takes its size, and those behind it wait. Frames on their way keep their time.
        """
        for path in (self._path(a, b), self._path(b, a)):
            path.bytes_per_s = math.inf if bytes_per_s is None else bytes_per_s

    def break_at(self, a: str, b: str, rate: float, *, random: Random, stream_ports: Iterable[int] = ()) -> None:
        """Let links between ``a`` and ``b`` break in the middle of a frame, at ``rate`` per frame, from 0 to 1.

        That frame is lost, and what was sent before it arrives. On links to ``stream_ports``, whose users take frames
        for pieces of a stream, a part of its beginning arrives as well. Drawn from ``random``.
        """
        for path in (self._path(a, b), self._path(b, a)):
            path.break_rate, path.breaks, path.stream_ports = rate, random, frozenset(stream_ports)

    def left(self) -> tuple[list[str], list[str]]:
        """The links that somebody holds, and the listeners: none when all nodes have ended in order."""
        wires = [f"{wire.nodes[0]} to {wire.nodes[1]}:{wire.port}" for wire in self._wires]
        return wires, [f"{host}:{port}" for host, port in self._listeners]

    def cut(self, a: str, b: str) -> None:
        """Stop everything between ``a`` and ``b``, both ways; see ``cut_one_way``."""
        self.cut_one_way(a, b)
        self.cut_one_way(b, a)

    def cut_one_way(self, a: str, b: str) -> None:
        """Hold back what ``a`` sends to ``b``, closes included, until ``heal``, as TCP resends what was dropped.

        Frames that had arrived stay readable. Dialling between the two hangs, whoever dials.
        """
        for wire in self._between(a, b):
            wire.settle()
        self._path(a, b).cut = True

    def heal(self, a: str, b: str) -> None:
        """End the cuts between ``a`` and ``b``; what was held arrives in order, unless its link broke meanwhile."""
        self._path(a, b).cut = self._path(b, a).cut = False
        for wire in self._between(a, b):
            wire.wake()
        self.dial_again()

    def heal_all(self) -> None:
        """End every cut; latencies stay."""
        for a, b in list(self._paths):
            self.heal(a, b)

    def stall_links(self, a: str, b: str) -> None:
        """Let every link there is between ``a`` and ``b`` take what is sent and never deliver it; new ones are well.

        So are TCP's for some time after a long partition: each end waits before it tries again.
        """
        for wire in self._between(a, b):
            wire.stall()

    def break_links(self, a: str, b: str) -> None:
        """End every link between ``a`` and ``b`` for both ends at once; what is in flight is lost."""
        for wire in self._between(a, b):
            wire.break_off("the link broke")

    def node_down(self, node: str) -> None:
        """Break all links and listeners of ``node`` at once, as its death does; it may listen again later."""
        for (host, _), listener in list(self._listeners.items()):
            if host == node:
                listener.close()
        for wire in list(self._wires):
            if node in wire.nodes:
                wire.break_off(f"{node} went down")

    def _between(self, a: str, b: str) -> list[Wire]:
        return [wire for wire in self._wires if wire.joins(a, b)]

    def _path(self, source: str, target: str) -> Path:
        return self._paths.setdefault((source, target), Path())

    def bind(self, address: Address, frame_bytes_max: int) -> MemoryListener:
        """Take a name.

        Raises:
            OSError: it is in use.
        """
        name = (address.host, address.port)
        if name in self._listeners:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(address))
        listener = self._listeners[name] = MemoryListener(self, address, frame_bytes_max)
        return listener

    def unbind(self, address: Address) -> None:
        """Give a name back."""
        del self._listeners[address.host, address.port]

    async def dial(self, node: str, address: Address, frame_bytes_max: int) -> MemoryLink:
        """A link from ``node`` to the listener of ``address``, one round trip later.

        Raises:
            ConnectFailed: no such listener.
        """
        there, back = self._path(node, address.host), self._path(address.host, node)
        await trio.sleep(there.latency_s() + back.latency_s())
        while True:
            if not (there.cut or back.cut):
                listener = self._listeners.get((address.host, address.port))
                if listener is None:
                    raise ConnectFailed(f"{address}: nobody listens")
                if not listener.full:
                    break
            await self._diallers.park()
        self._dialled += 1
        wire = Wire(self._wires, (node, address.host), there, back, address.port, self.tap, self._dialled)
        listener.offer(wire)
        return MemoryLink(wire, dialled=True, remote=str(address), frame_bytes_max=frame_bytes_max)

    def dial_again(self) -> None:
        """Let every waiting dialler look again."""
        self._diallers.unpark_all()


class MemoryTransport:
    """``memory://node`` or ``memory://node:port``. Without arguments, one network for the whole process."""

    new_network: Final = MemoryNetwork
    """For who knows this class by its entry point only."""

    def __init__(self, network: MemoryNetwork | None = None, node: str = "local") -> None:
        self._network = _PROCESS_NETWORK if network is None else network
        self._node = node

    async def listen(self, address: Address, *, frame_bytes_max: int) -> MemoryListener:
        """Take the name ``address``.

        Raises:
            OSError: it is in use.
        """
        await trio.lowlevel.checkpoint()
        return self._network.bind(address, frame_bytes_max)

    async def connect(self, address: Address, *, frame_bytes_max: int) -> MemoryLink:
        """Dial ``address``; hangs while the way is cut or the listener's backlog is full.

        Raises:
            ConnectFailed: nobody listens there.
        """
        return await self._network.dial(self._node, address, frame_bytes_max)


_PROCESS_NETWORK: Final = MemoryNetwork()


async def _park(lot: trio.lowlevel.ParkingLot, until: float) -> None:
    """Wait to be woken, at most until a moment on Trio's clock."""
    if until == math.inf:
        await lot.park()
    else:
        with trio.move_on_at(until):
            await lot.park()
