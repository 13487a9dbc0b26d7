"""The fields of jute that have a length in front (client-protocol §2), as values and as bytes.

Numbers are read and written by ``librt``, which compiled modules do without a call (``ops/compiling.py``).
"""

import codecs
import re
from typing import Final

from librt.strings import BytesWriter, read_i32_be, write_i32_be

from trioquorum.errors import PeerProtocolError

NULL: Final = b"\xff\xff\xff\xff"
LENGTH_BYTES: Final = 4


def _replace_as_java(error: UnicodeError) -> tuple[str, int]:
    """One U+FFFD per broken sequence, as Java reads them; an encoded surrogate, whole or cut, counts as one."""
    assert isinstance(error, UnicodeDecodeError)
    surrogate = _SURROGATE.match(error.object, error.start)
    return "\ufffd", surrogate.end() if surrogate else error.end


_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]?")
codecs.register_error("jute", _replace_as_java)


def raw_text(text: str) -> bytes:
    """A ustring's bytes. Characters beyond U+FFFF become two 3-byte surrogates, as Java writes them."""
    if text.isascii():
        return text.encode()
    try:
        return text.encode() if max(text) <= "\uffff" else _cesu8(text)
    except UnicodeEncodeError:
        return _cesu8(text)


def _cesu8(text: str) -> bytes:
    units = text.encode("utf-16-be", "surrogatepass")
    parts = [chr(int.from_bytes(units[i : i + 2], "big")) for i in range(0, len(units), 2)]
    return b"".join([part.encode("utf-8", "surrogatepass") for part in parts])


def write_text(out: BytesWriter, text: str) -> None:
    """Append a ustring."""
    write_buffer(out, raw_text(text))


def write_buffer(out: BytesWriter, data: bytes | None) -> None:
    """Append a buffer; null and empty are different values."""
    if data is None:
        write_i32_be(out, -1)
        return
    write_i32_be(out, len(data))
    out.write(data)


def encode_text(text: str | None) -> bytes:
    """A ustring."""
    return NULL if text is None else encode_buffer(raw_text(text))


def encode_buffer(data: bytes | None) -> bytes:
    """A buffer."""
    return NULL if data is None else len(data).to_bytes(LENGTH_BYTES, "big") + data


def length_at(data: bytes, at: int) -> int:
    """The length in front of a field.

    Raises:
        PeerProtocolError: truncated.
    """
    try:
        return read_i32_be(data, at)
    except IndexError:
        raise PeerProtocolError(f"truncated: {len(data) - at} bytes are no length") from None


def refuse(what: str, size: int, left: int) -> None:
    """Raise PeerProtocolError for a length that cannot be, in front of a text or a buffer."""
    if size == -1:
        raise PeerProtocolError(f"null where a {what} is needed")
    raise PeerProtocolError(f"{what} of length {size}" if size < 0 else f"{what} of {size} bytes in {left}")


def decode_text(data: bytes, at: int) -> tuple[str | None, int]:
    """The ustring at ``at`` and the offset behind it; bytes that are no UTF-8 read as U+FFFD, as in Java.

    Raises:
        PeerProtocolError: truncated, or a length that cannot be.
    """
    size = length_at(data, at)
    at += LENGTH_BYTES
    if size == -1:
        return None, at
    end = at + size
    if size < 0 or end > len(data):
        refuse("text", size, len(data) - at)
    return data[at:end].decode("utf-8", "jute"), end


def decode_str(data: bytes, at: int) -> tuple[str, int]:
    """As ``decode_text``, but null is refused."""
    size = length_at(data, at)
    at += LENGTH_BYTES
    end = at + size
    if size < 0 or end > len(data):
        refuse("text", size, len(data) - at)
    return data[at:end].decode("utf-8", "jute"), end


def decode_buffer(data: bytes, at: int) -> tuple[bytes | None, int]:
    """The buffer at ``at`` and the offset behind it.

    Raises:
        PeerProtocolError: truncated, or a length that cannot be.
    """
    size = length_at(data, at)
    at += LENGTH_BYTES
    if size == -1:
        return None, at
    end = at + size
    if size < 0 or end > len(data):
        refuse("buffer", size, len(data) - at)
    return data[at:end], end
