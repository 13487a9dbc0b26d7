"""Frames in a stream of bytes: a 4-byte big-endian length and that many bytes."""

import struct
from collections import deque
from typing import Final

HEADER: Final = struct.Struct(">I")


class FrameSplitter:
    """Bytes in, whole frames out, without I/O.

    ``frames`` are those complete and not yet taken; ``violation`` says what was wrong with the header behind them.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self.frames: deque[bytes] = deque()
        self.violation = ""
        self._frame_bytes_max = frame_bytes_max
        self._partial = bytearray()
        self._needed = HEADER.size

    @property
    def inside_frame(self) -> bool:
        """True while a frame has begun and is not complete."""
        return bool(self._partial)

    def feed(self, data: bytes) -> None:
        """Take what arrived, cut anywhere. After a violation nothing more may be fed."""
        source: bytes | bytearray = data
        if self._partial:
            self._partial += data
            if len(self._partial) < self._needed:
                return
            source = self._partial
        view = memoryview(source)
        at = 0
        self._needed = HEADER.size
        while len(view) - at >= HEADER.size:
            (size,) = HEADER.unpack_from(view, at)
            if size > self._frame_bytes_max:
                self.violation = f"a frame of {size} bytes was announced, at most {self._frame_bytes_max} are allowed"
                break
            if len(view) - at < HEADER.size + size:
                self._needed = HEADER.size + size
                break
            at += HEADER.size + size
            self.frames.append(bytes(view[at - size : at]))
        self._partial = bytearray(view[at:])
