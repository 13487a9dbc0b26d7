"""What clients were told: the replies that leave a client port, but for those of peers without a leader."""

from struct import Struct
from typing import Final

from trioquorum.testing.safety.sight import COUNTER_MASK

_REPLY: Final = Struct(">iiq")  # length, xid, zxid
_READ_ONLY_BYTES: Final = 37
"""Of a ``ConnectResponse`` with its trailing byte, for who asked with one."""

_WORD: Final = 0x20202020
"""No frame is so long: these four bytes are letters, a four-letter word."""


class Replies:
    """The server's bytes on one client link, of which only the headers are looked at."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0
        self._greeted = False
        self._read_only = False
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
            if not self._greeted:
                # The answer to the connect request carries no zxid; its last byte says whether there is a leader.
                if at + 4 + length > size:
                    break
                self._greeted = True
                self._read_only = length == _READ_ONLY_BYTES and data[at + 3 + length] == 1
            elif zxid > highest and zxid & COUNTER_MASK and not self._read_only:
                highest = zxid
            at += 4 + length
        self._rest, self._skip = (data[at:], 0) if at < size else (b"", at - size)
        return highest
