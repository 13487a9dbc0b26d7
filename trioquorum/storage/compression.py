"""How a snapshot file is compressed, which its suffix says (disk-format §4): plain, gzip, or snappy. Pure.

Of snappy only the blocks are a library's, which ``trioquorum[snappy]`` installs; the framing around them is the one
that ZooKeeper writes (xerial's): a header, then blocks, each behind its length.
"""

import zlib
from collections.abc import Iterator
from struct import Struct
from types import ModuleType
from typing import Final, Literal, Protocol

from trioquorum.errors import CorruptSnapshot, StorageError

Method = Literal["", "gz", "snappy"]

PIECE_BYTES: Final = 32 << 10
"""What is packed or comes out in one go: small enough that it never holds the loop for long."""

GZIP_MAGIC: Final = b"\x1f\x8b"
SNAPPY_MAGIC: Final = b"\x82SNAPPY\0"
SNAPPY_BLOCK_BYTES: Final = 32 << 10
"""What ZooKeeper packs into one block."""

SNAPPY_BLOCK_BYTES_MAX: Final = 1 << 20
"""No block is larger, packed or unpacked; a larger one is damage."""

_GZIP_WINDOW: Final = 31
_SNAPPY_HEADER: Final = SNAPPY_MAGIC + b"\0\0\0\1" * 2  # version, and the oldest version that can read it
_INT: Final = Struct(">i")


class Packer(Protocol):
    """Makes the bytes of a file from those of a snapshot."""

    def pack(self, data: bytes) -> Iterator[bytes]:
        """Take ``data`` piece by piece; after each, what can be written, which may be nothing."""

    def finish(self) -> bytes:
        """The end of the file."""


class Unpacker(Protocol):
    """Makes the bytes of a snapshot from those of a file. Both methods raise CorruptSnapshot."""

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What comes out of ``data``, in pieces that are never large."""

    def finish(self) -> None:
        """Check that the file ended where its compressed data does."""


def suffix_of(method: Method) -> str:
    """What the name of a file ends with."""
    return f".{method}" if method else ""


def method_of(name: str) -> Method:
    """By what a file is compressed."""
    if name.endswith(".gz"):
        return "gz"
    return "snappy" if name.endswith(".snappy") else ""


def packer(method: Method) -> Packer:
    """For one file.

    Raises:
        StorageError: the library for it is not installed.
    """
    return _GzipPacker() if method == "gz" else _SnappyPacker() if method == "snappy" else _PlainPacker()


def unpacker(name: str) -> Unpacker:
    """For the file of this name.

    Raises:
        StorageError: the library for it is not installed.
    """
    method = method_of(name)
    return _GzipUnpacker() if method == "gz" else _SnappyUnpacker(name) if method == "snappy" else _PlainUnpacker()


class _PlainPacker:
    def pack(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> bytes:
        return b""


class _PlainUnpacker:
    def unpack(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        """Any end is as good as another."""


class _GzipPacker:
    def __init__(self) -> None:
        self._zip = zlib.compressobj(wbits=_GZIP_WINDOW)

    def pack(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), PIECE_BYTES):
            yield self._zip.compress(data[at : at + PIECE_BYTES])

    def finish(self) -> bytes:
        return self._zip.flush()


class _GzipUnpacker:
    def __init__(self) -> None:
        self._unzip = zlib.decompressobj(wbits=_GZIP_WINDOW)

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while data:
            try:
                # A small piece may unpack into a very large one.
                piece = self._unzip.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise CorruptSnapshot(f"it cannot be unpacked: {error}") from None
            yield piece
            data = self._unzip.unconsumed_tail

    def finish(self) -> None:
        if self._unzip.unused_data or not self._unzip.eof:
            raise CorruptSnapshot("it does not end where its compressed data ends")


class _SnappyPacker:
    def __init__(self) -> None:
        self._snappy = _library("a snapshot cannot be written").snappy
        self._start = _SNAPPY_HEADER
        self._waiting = b""

    def pack(self, data: bytes) -> Iterator[bytes]:
        data = self._waiting + data
        whole = len(data) - len(data) % SNAPPY_BLOCK_BYTES
        for at in range(0, whole, SNAPPY_BLOCK_BYTES):
            yield self._block(data[at : at + SNAPPY_BLOCK_BYTES])
        self._waiting = data[whole:]

    def finish(self) -> bytes:
        return self._block(self._waiting) if self._waiting or self._start else b""

    def _block(self, data: bytes) -> bytes:
        packed = bytes(self._snappy.compress_raw(data))
        start, self._start = self._start, b""
        return start + _INT.pack(len(packed)) + packed


class _SnappyUnpacker:
    def __init__(self, name: str) -> None:
        self._library = _library(f"{name} cannot be read")
        self._data = b""
        self._begun = False

    def unpack(self, data: bytes) -> Iterator[bytes]:
        self._data += data
        at = self._header()
        while self._begun and (end := self._block_end(at)) <= len(self._data):
            block = self._unpacked(self._data[at + _INT.size : end])
            for piece_at in range(0, len(block), PIECE_BYTES):
                yield block[piece_at : piece_at + PIECE_BYTES]
            at = end
        self._data = self._data[at:]

    def finish(self) -> None:
        if self._data or not self._begun:
            raise CorruptSnapshot("it does not end where its compressed data ends")

    def _header(self) -> int:
        """Check the header, once it is there; returns the offset behind it."""
        if self._begun or len(self._data) < len(_SNAPPY_HEADER):
            return 0
        if not self._data.startswith(_SNAPPY_HEADER):
            raise CorruptSnapshot("it does not begin like a file compressed by snappy")
        self._begun = True
        return len(_SNAPPY_HEADER)

    def _block_end(self, at: int) -> int:
        """Offset behind the block at ``at``; behind the data if not even its length is there."""
        if at + _INT.size > len(self._data):
            return len(self._data) + 1
        size: int = _INT.unpack_from(self._data, at)[0]
        if not 0 < size <= SNAPPY_BLOCK_BYTES_MAX:
            raise CorruptSnapshot(f"a compressed block of {size} bytes")
        return at + _INT.size + size

    def _unpacked(self, block: bytes) -> bytes:
        try:
            # Told first, so that damage does not ask for gigabytes.
            size = self._library.snappy.decompress_raw_len(block)
            if size <= SNAPPY_BLOCK_BYTES_MAX:
                return bytes(self._library.snappy.decompress_raw(block))
        except self._library.DecompressionError as error:
            raise CorruptSnapshot(f"it cannot be unpacked: {error}") from None
        raise CorruptSnapshot(f"a block that unpacks into {size} bytes")


def _library(what: str) -> ModuleType:
    try:
        import cramjam
    except ImportError:
        raise StorageError(
            f"{what}: for snappy a library is needed that is not installed; run pip install 'trioquorum[snappy]', or "
            "let snapshots be written without compression"
        ) from None
    return cramjam
