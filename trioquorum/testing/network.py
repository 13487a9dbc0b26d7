"""What an ensemble in memory needs of a network, and a client's byte stream over its links."""

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from random import Random
from typing import Final, Protocol

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from trioquorum.client import Dial
from trioquorum.errors import ConfigError, LinkClosed
from trioquorum.transport import ENTRY_POINT_GROUP, Address, Link, Transport

QUORUM_PORT: Final = 2888
OBSERVER_MASTER_PORT: Final = 2889
ELECTION_PORT: Final = 3888
CLIENT_PORT: Final = 2181
"""Of every peer in memory; each is a host of its own."""

CHUNK_BYTES_MAX: Final = 64 << 10  # one frame of the link
LINK_FRAME_BYTES_MAX: Final = 16 << 20  # replies come in frames as large as the server likes


Tap = Callable[[tuple[str, str], int, bool, bytes, int], None]
"""(nodes of dialler and listener, port of the listener, whether the dialler sends, frame, number of the link)."""


class Network(Protocol):
    """What an ensemble needs, such as ``trioquorum_transports.memory.MemoryNetwork``.

    ``tap`` is told every frame when it leaves its sender, in whom it raises.
    """

    tap: Tap | None

    def transport(self, node: str) -> Transport:
        """The transport of one node."""

    def cut(self, a: str, b: str) -> None:
        """Hold everything between two nodes back."""

    def heal_all(self) -> None:
        """End every cut."""

    def node_down(self, node: str) -> None:
        """Break all links and listeners of a node at once."""


class SimulatedNetwork(Network, Protocol):
    """What a simulation does to a network besides; ``MemoryNetwork`` says what each fault is."""

    def delay(self, a: str, b: str, delay_s: float, *, jitter_s: float = 0.0, random: Random | None = None) -> None:
        """Set the latency between two nodes."""

    def delay_one_way(self, a: str, b: str, delay_s: float) -> None:
        """Set the latency from one node to another."""

    def bandwidth(self, a: str, b: str, bytes_per_s: float | None) -> None:
        """Set how much goes each way between two nodes; ``None`` is no limit."""

    def cut_one_way(self, a: str, b: str) -> None:
        """Hold back what one node sends to another."""

    def heal(self, a: str, b: str) -> None:
        """End the cuts between two nodes."""

    def break_links(self, a: str, b: str) -> None:
        """End every link between two nodes at once."""

    def stall_links(self, a: str, b: str) -> None:
        """Let every link there is between two nodes take what is sent and never deliver it."""

    def break_at(self, a: str, b: str, rate: float, *, random: Random, stream_ports: Iterable[int] = ()) -> None:
        """Let links between two nodes break in the middle of a frame, at ``rate`` per frame."""

    def left(self) -> tuple[list[str], list[str]]:
        """Links and listeners that are still there."""


def new_network() -> SimulatedNetwork:
    """A network of its own for a simulation, from the package that offers ``memory://``.

    Raises:
        ConfigError: no installed package does, or the one that does cannot be simulated.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP, name="memory"):
        make: Callable[[], SimulatedNetwork] | None = getattr(point.load(), "new_network", None)
        if make is not None:
            return make()
    raise ConfigError("no installed transport for memory:// can be simulated; install trioquorum with its transports")


def node_name(peer: int) -> str:
    """The node of a peer."""
    return f"peer{peer}"


class LinkStream(ByteStream):
    """Bytes over ``link``: every frame is a piece of the stream, cut anywhere."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._rest = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Some bytes, at most ``max_bytes``.

        Raises:
            anyio.EndOfStream: the link is gone.
        """
        await anyio.lowlevel.checkpoint()
        while not self._rest:
            try:
                self._rest = await self._link.receive()
            except LinkClosed:
                raise anyio.EndOfStream from None
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def send(self, item: bytes) -> None:
        """Send all of ``item``.

        Raises:
            anyio.BrokenResourceError: the link is gone; some of it may have arrived.
        """
        await anyio.lowlevel.checkpoint()
        try:
            for at in range(0, len(item), CHUNK_BYTES_MAX):
                await self._link.send(item[at : at + CHUNK_BYTES_MAX])
        except LinkClosed as error:
            raise anyio.BrokenResourceError(str(error)) from None

    async def send_eof(self) -> None:
        """Close: a link has no half-open state."""
        await self._link.aclose()

    async def aclose(self) -> None:
        """Close the link."""
        await self._link.aclose()


def dial_over(transport: Transport, address: Address) -> Dial:
    """What ``trioquorum.client.connect`` needs to reach a server at ``address``."""

    async def dial() -> ByteStream:
        return LinkStream(await transport.connect(address, frame_bytes_max=LINK_FRAME_BYTES_MAX))

    return dial
