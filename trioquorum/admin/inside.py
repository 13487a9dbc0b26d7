"""The admin port's own way to the peer's clients: a listener inside this process that the peer serves like any other.

So what comes by WebSocket is a client like all others: sessions, ACLs, quotas, throttles and limits hold, and rules for
addresses see the browser's, since that is what its link is called.
"""

from collections.abc import Callable
from typing import Final

import trio

from trioquorum.errors import ConnectFailed, LinkClosed
from trioquorum.transport import Address, Link, Transport, Transports

SCHEME: Final = "admin"
PLACE: Final = Address(SCHEME, "inside")
"""What the peer is told to listen at, besides its own addresses."""


class InsideListener:
    """Hands over what the admin port offers."""

    def __init__(self, gone: Callable[["InsideListener"], None]) -> None:
        self._offers, self._links = trio.open_memory_channel[Link](0)
        self._gone = gone

    @property
    def address(self) -> Address:
        """``PLACE``."""
        return PLACE

    async def offer(self, link: Link) -> None:
        """Wait until the peer takes ``link``.

        Raises:
            LinkClosed: the listener was closed.
        """
        try:
            await self._offers.send(link)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise LinkClosed("the peer does not serve clients any more") from None

    async def accept(self) -> Link:
        """The next link.

        Raises:
            LinkClosed: the listener was closed.
        """
        try:
            return await self._links.receive()
        except (trio.ClosedResourceError, trio.EndOfChannel):
            raise LinkClosed("the listener was closed") from None

    async def aclose(self) -> None:
        """Stop accepting. Idempotent."""
        self._offers.close()
        self._links.close()
        self._gone(self)
        await trio.lowlevel.checkpoint()


class Inside:
    """The transport of the scheme ``admin``, of which there is one listener."""

    def __init__(self) -> None:
        self._listener: InsideListener | None = None

    async def listen(self, address: Address, *, frame_bytes_max: int) -> InsideListener:
        """Begin to listen."""
        del address, frame_bytes_max
        await trio.lowlevel.checkpoint()
        self._listener = InsideListener(self._left)
        return self._listener

    async def connect(self, address: Address, *, frame_bytes_max: int) -> Link:
        """Nobody dials here.

        Raises:
            ConnectFailed: always.
        """
        del frame_bytes_max
        await trio.lowlevel.checkpoint()
        raise ConnectFailed(f"{address}: only the admin port itself calls there")

    def _left(self, listener: InsideListener) -> None:
        if self._listener is listener:
            self._listener = None

    async def offer(self, link: Link, within_s: float) -> None:
        """Wait until the peer serves ``link``.

        Raises:
            LinkClosed: it did not take it ``within_s``, or serves no clients.
        """
        if self._listener is None:
            await trio.lowlevel.checkpoint()
            raise LinkClosed("the peer does not serve the admin port's clients")
        with trio.move_on_after(within_s):
            await self._listener.offer(link)
            return
        raise LinkClosed("the peer takes no new clients at the moment")

    def beside(self, others: Transports) -> Transports:
        """``others``, and this one."""
        return _With(self, others)


class _With(Transports):
    def __init__(self, inside: Inside, others: Transports) -> None:
        super().__init__()
        self._inside = inside
        self._others = others

    def __getitem__(self, scheme: str) -> Transport:
        return self._inside if scheme == SCHEME else self._others[scheme]
