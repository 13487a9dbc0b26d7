"""Links between peers that can be cut at will: how ``trioquorum ensemble`` makes a partition on one machine.

Who dialled a link knows whose it is, and holds back what goes either way over it while the two are parted; so does the
other one with the links that it dialled. Nothing is lost: after the partition what was held arrives, as TCP resends it.
"""

from collections.abc import Iterable, Mapping

import trio

from trioquorum.errors import LinkClosed, PeerProtocolError
from trioquorum.transport import Address, Link, Listener, Transport, Transports


class Cuts:
    """From which peers this one is parted."""

    def __init__(self) -> None:
        self._parted: frozenset[int] = frozenset()
        self._changed = trio.Event()

    def part_from(self, peers: Iterable[int]) -> None:
        """Let nothing pass to and from these, and everything to and from all others."""
        self._parted = frozenset(peers)
        self._changed.set()
        self._changed = trio.Event()

    async def passable(self, peer: int) -> None:
        """Wait while this peer is parted from ``peer``."""
        while peer in self._parted:
            await self._changed.wait()
        await trio.lowlevel.checkpoint()


class CutLink:
    """A link that this peer dialled."""

    def __init__(self, link: Link, peer: int, cuts: Cuts) -> None:
        self._link = link
        self._peer = peer
        self._cuts = cuts
        self._held: bytes | LinkClosed | PeerProtocolError | None = None

    @property
    def remote(self) -> str:
        """As the link below."""
        return self._link.remote

    async def send(self, frame: bytes) -> None:
        """Send when there is a way.

        Raises:
            LinkClosed: the link is gone.
            LocalProtocolError: the frame is larger than the link's limit.
        """
        await self._cuts.passable(self._peer)
        await self._link.send(frame)

    async def receive(self) -> bytes:
        """The next frame, or the end, once there is a way for it.

        Raises:
            LinkClosed: the link is gone.
            PeerProtocolError: the other end sent a frame over the limit.
        """
        if self._held is None:
            try:
                self._held = await self._link.receive()
            except (LinkClosed, PeerProtocolError) as ended:
                self._held = ended
        await self._cuts.passable(self._peer)
        held, self._held = self._held, None
        if isinstance(held, Exception):
            raise held
        return held

    async def aclose(self) -> None:
        """Close at once."""
        await self._link.aclose()


class CutTransports(Transports):
    """``inner``, but links to ``addresses``, which say whose they are, can be cut."""

    def __init__(self, inner: Transports, addresses: Mapping[Address, int], cuts: Cuts) -> None:
        super().__init__()
        self._inner = inner
        self._addresses = addresses
        self._cuts = cuts

    def __getitem__(self, scheme: str) -> Transport:
        if scheme not in self._by_scheme:
            self._by_scheme[scheme] = _CutTransport(self._inner[scheme], self._addresses, self._cuts)
        return self._by_scheme[scheme]


class _CutTransport:
    def __init__(self, inner: Transport, addresses: Mapping[Address, int], cuts: Cuts) -> None:
        self._inner = inner
        self._addresses = addresses
        self._cuts = cuts

    async def listen(self, address: Address, *, frame_bytes_max: int) -> Listener:
        return await self._inner.listen(address, frame_bytes_max=frame_bytes_max)

    async def connect(self, address: Address, *, frame_bytes_max: int) -> Link:
        peer = self._addresses.get(address)
        if peer is None:
            return await self._inner.connect(address, frame_bytes_max=frame_bytes_max)
        await self._cuts.passable(peer)
        link = await self._inner.connect(address, frame_bytes_max=frame_bytes_max)
        return CutLink(link, peer, self._cuts)
