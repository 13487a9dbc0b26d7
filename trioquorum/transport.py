"""The transport interface: ordered links of whole frames between peers, by address scheme.

A third party registers a transport under the entry-point group ``trioquorum.transports``; the suite in
``tests/transports`` is the definition of what a transport must do.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from trioquorum.errors import ConfigError

ENTRY_POINT_GROUP = "trioquorum.transports"


class Address(msgspec.Struct, frozen=True, order=True):
    """Where a transport listens or dials, written ``scheme://host:port`` (or ``memory://name``)."""

    scheme: str
    host: str
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``tcp://127.0.0.1:2181``, ``tcp://[::1]:2181``, ``memory://name``.

        Raises:
            ConfigError: not an address.
        """
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"{text!r} is not an address: {error}") from None
        if not parts.scheme or not host:
            raise ConfigError(f"{text!r} is not an address; write it like tcp://127.0.0.1:2181")
        if port is None and parts.scheme != "memory":
            raise ConfigError(f"{text!r} has no port; write it like {parts.scheme}://{host}:2181")
        return cls(parts.scheme, host, port or 0)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" if self.port else f"{self.scheme}://{host}"


class Link(Protocol):
    """A two-way channel of whole frames, in order.

    One task may send while another receives; two tasks must not do the same thing at once. Either end may close at
    any time: then ``send`` and ``receive`` on both ends raise ``LinkClosed`` (after the frames that had already
    arrived were received). A cancelled ``send`` may leave the link broken, never a half frame delivered as whole; a
    cancelled ``receive`` loses nothing.
    """

    @property
    def remote(self) -> str:
        """Who is at the other end, for people to read."""

    async def send(self, frame: bytes) -> None:
        """Hand over one frame; waits while the other end does not keep up.

        Raises:
            LinkClosed: the link is gone.
            LocalProtocolError: the frame is larger than the link's limit.
        """

    async def receive(self) -> bytes:
        """The next frame.

        Raises:
            LinkClosed: the link is gone, or the other end closed it.
            PeerProtocolError: the other end announced a frame over the limit; the link is closed.
        """

    async def aclose(self) -> None:
        """Close both directions. Idempotent, bounded, also when cancelled."""


@runtime_checkable
class PromptLink(Link, Protocol):
    """A link that can often send without a wait; what has no task of its own to wake saves the wake-up."""

    @property
    def has_rest(self) -> bool:
        """Whether part of a frame that ``send_nowait`` took has not left; ``send_rest`` sees to it."""

    def send_nowait(self, frame: bytes) -> bool:
        """Hand over one frame if that needs no waiting. False: nothing was taken, ``send`` does it or says why not.

        Never called while ``send`` or ``send_rest`` is under way.
        """

    async def send_rest(self) -> None:
        """Send what is left of a frame; cancelling loses nothing.

        Raises:
            LinkClosed: the link is gone.
        """


Take = Callable[[bytes], bool]
"""Takes one frame without waiting; false when its caller has to see to something before the next one."""


@runtime_checkable
class PolledLink(Link, Protocol):
    """A link whose frames the poller can hand over, without a turn of the loop for each arrival."""

    async def deliver(self, take: Take, flush: Callable[[], None]) -> None:
        """Hand every frame to ``take`` until it returns false, and call ``flush`` behind those that came together.

        What either of them raises is raised here; cancelled, neither is called any more and no frame is lost.

        Raises:
            LinkClosed, PeerProtocolError: as ``receive`` does.
        """


async def deliver(link: Link, take: Take, flush: Callable[[], None]) -> None:
    """``PolledLink.deliver`` for every link."""
    if isinstance(link, PolledLink):
        await link.deliver(take, flush)
        return
    while True:
        frame = await link.receive()
        try:
            goes_on = take(frame)
        finally:
            flush()
        if not goes_on:
            return


class Listener(Protocol):
    """A bound address that accepts links."""

    @property
    def address(self) -> Address:
        """Where it really listens (port 0 was replaced)."""

    async def accept(self) -> Link:
        """The next link.

        Raises:
            LinkClosed: the listener was closed.
        """

    async def aclose(self) -> None:
        """Stop accepting; links accepted before live on. Idempotent."""


class Transport(Protocol):
    """One address scheme. ``frame_bytes_max`` bounds frames in both directions of each link."""

    async def listen(self, address: Address, *, frame_bytes_max: int) -> Listener:
        """Bind ``address``.

        Raises:
            OSError: the address cannot be bound (in use, not ours, no permission).
        """

    async def connect(self, address: Address, *, frame_bytes_max: int) -> Link:
        """Dial ``address``; the caller bounds the time with a cancel scope.

        Raises:
            ConnectFailed: nobody is there or the name does not resolve.
        """


class Transports:
    """Transports by scheme: those given, then those that entry points name, created at first use."""

    def __init__(self, **given: Transport) -> None:
        self._by_scheme: dict[str, Transport] = dict(given)

    def __getitem__(self, scheme: str) -> Transport:
        """The transport of ``scheme``.

        Raises:
            ConfigError: no installed package offers it.
        """
        if scheme not in self._by_scheme:
            found = entry_points(group=ENTRY_POINT_GROUP, name=scheme)
            if not found:
                names = sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})
                raise ConfigError(f"no transport for {scheme}://; installed are {', '.join(names)}")
            self._by_scheme[scheme] = next(iter(found)).load()()
        return self._by_scheme[scheme]

    def on_all_addresses(self) -> "Transports":
        """The same, but who listens does so on every address of this host, at the port that was given."""
        return _OnAllAddresses(self)


class _OnAllAddresses(Transports):
    def __init__(self, inner: Transports) -> None:
        super().__init__()
        self._inner = inner

    def __getitem__(self, scheme: str) -> Transport:
        if scheme not in self._by_scheme:
            self._by_scheme[scheme] = _ListensEverywhere(self._inner[scheme])
        return self._by_scheme[scheme]


class _ListensEverywhere:
    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    async def listen(self, address: Address, *, frame_bytes_max: int) -> Listener:
        everywhere = "::" if ":" in address.host else "0.0.0.0"
        wider = msgspec.structs.replace(address, host=everywhere)
        return await self._inner.listen(wider, frame_bytes_max=frame_bytes_max)

    async def connect(self, address: Address, *, frame_bytes_max: int) -> Link:
        return await self._inner.connect(address, frame_bytes_max=frame_bytes_max)
