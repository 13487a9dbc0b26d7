"""``tcp+ws://``: one port that takes plain TCP links and WebSocket ones, so that a peer can be reached by both.

A WebSocket caller begins with the letter G of its GET. As the first byte of a TCP frame's length that would announce
more than a gigabyte, which no link allows; so one byte tells, and it is only looked at. Who dials this scheme uses TCP;
who cannot (a proxy on the way that lets HTTP through only) names the same port ``ws://`` in its own file.

A token guards the WebSocket side alone, as TCP has none: use this scheme where TCP would be used.
"""

import socket
from typing import Final

import trio

from trioquorum.transport import Address, Link
from trioquorum_transports.tcp import TcpLink, TcpTransport
from trioquorum_transports.websocket import WebSocketListener, WebSocketTransport, bind

SILENCE_S: Final = 0.5
"""A WebSocket caller speaks at once. Who is silent for longer waits to be spoken to: that is TCP."""

_GET: Final = b"G"


class EitherListener(WebSocketListener):
    """Looks at the first byte of each caller, beside the others."""

    async def _shake_hands(self, accepted: trio.SocketStream) -> None:
        by_websocket: bool | None = None
        try:
            by_websocket = await _begins_with_get(accepted.socket)
        finally:
            if by_websocket is None:
                accepted.socket.close()
        if by_websocket:
            await super()._shake_hands(accepted)
        else:
            await self._hand_over(accepted.socket)

    async def _hand_over(self, accepted: trio.socket.SocketType) -> None:
        """To whoever accepts next, as a plain link."""
        try:
            name = accepted.getpeername()
        except OSError:
            accepted.close()  # Gone before it had a name.
            await trio.lowlevel.checkpoint()
            return
        remote = str(Address("tcp", name[0], name[1]))
        link = TcpLink(socket.socket(fileno=accepted.detach()), remote, self._frame_bytes_max)
        taken = False
        try:
            await self._ready.send(link)
            taken = True
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()  # Nobody accepts any more.
        finally:
            if not taken:
                with trio.CancelScope(shield=True):
                    await link.aclose()


async def _begins_with_get(caller: trio.socket.SocketType) -> bool:
    first = b""
    try:
        with trio.move_on_after(SILENCE_S):
            first = await caller.recv(1, socket.MSG_PEEK)
    except OSError:
        await trio.lowlevel.checkpoint()  # Broken already: whoever reads the link is told.
    return first == _GET


class EitherTransport:
    """Listens for both, dials by TCP. ``websocket`` says whom that side lets in."""

    def __init__(self, websocket: WebSocketTransport | None = None) -> None:
        self._websocket = websocket or WebSocketTransport()
        self._tcp = TcpTransport()

    async def listen(self, address: Address, *, frame_bytes_max: int) -> EitherListener:
        """Bind every address the host has on this machine.

        Raises:
            OSError: none can be bound, one is in use or not allowed, or the name does not resolve.
        """
        listening, bound = await bind(address)
        return EitherListener(self._websocket, listening, bound, frame_bytes_max)

    async def connect(self, address: Address, *, frame_bytes_max: int) -> Link:
        """Dial by TCP; the caller bounds the time with a cancel scope.

        Raises:
            ConnectFailed: nobody is there or the name does not resolve.
        """
        return await self._tcp.connect(address, frame_bytes_max=frame_bytes_max)
