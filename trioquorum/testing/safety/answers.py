"""What clients were told: the replies that leave a client port."""

from struct import Struct
from typing import Final

from trioquorum.testing.safety.sight import COUNTER_MASK

_REPLY: Final = Struct(">iiq")  # length, xid, zxid
_WORD: Final = 0x20202020
"""No frame is so long: these four bytes are letters, a four-letter word."""


class Replies:
    """The server's bytes on one client link, of which only the headers are looked at."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0
        self._greeted = False
        self._text: bool | None = None

    def asked(self, frame: bytes) -> None:
        """The client sent something: its first bytes say whether it speaks the protocol at all."""
        if self._text is None:
            self._text = len(frame) < 4 or int.from_bytes(frame[:4]) >= _WORD

    def told(self, frame: bytes) -> int:
        """The highest zxid that a reply in ``frame`` carries, 0 if there is none."""
        if self._text is not False:
            return 0
        data = self._rest + frame if self._rest else frame
        at, size, highest = self._skip, len(data), 0
        while at + _REPLY.size <= size:
            length, _, zxid = _REPLY.unpack_from(data, at)
            if self._greeted and zxid > highest and zxid & COUNTER_MASK:
                highest = zxid
            self._greeted = True  # The answer to the connect request carries none.
            at += 4 + length
        self._rest, self._skip = (data[at:], 0) if at < size else (b"", at - size)
        return highest
