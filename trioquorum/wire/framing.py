"""Length-prefixed frames, sans I/O (client-protocol §1)."""

from librt.strings import read_i32_be

from trioquorum.errors import FrameRefused

_LENGTH_BYTES = 4


class FrameSplitter:
    """Cuts a byte stream into the payloads of its frames; keeps one incomplete frame at most.

    ``limit`` bounds a payload in bytes and may be changed between calls. After a refused length the splitter is spent:
    feed it no more.
    """

    __slots__ = ("_needed", "_partial", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._partial = bytearray()
        self._needed = _LENGTH_BYTES

    @property
    def pending(self) -> bytes:
        """The incomplete frame at the end, length prefix included; fewer than ``limit`` + 4 bytes."""
        return bytes(self._partial)

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads that are complete now, in order, however the stream was cut.

        Raises:
            FrameRefused: a length below 0 or over the limit.
        """
        partial = self._partial
        if partial:
            # Nothing is parsed or copied again before the frame is whole: a frame that comes in single bytes costs no
            # more than its size.
            partial += data
            if len(partial) < self._needed:
                return []
            data = bytes(partial)
            partial.clear()
        self._needed = _LENGTH_BYTES
        frames: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= _LENGTH_BYTES:
            size: int = read_i32_be(data, at)
            if not 0 <= size <= self.limit:
                raise FrameRefused(size, self.limit, frames)
            following = at + _LENGTH_BYTES + size
            if following > end:
                self._needed = _LENGTH_BYTES + size
                break
            frames.append(data[at + _LENGTH_BYTES : following])
            at = following
        if at < end:
            partial += data[at:] if at else data
        return frames
