"""Jute, ZooKeeper's record encoding (client-protocol §2): big-endian, fields in declared order, no tags.

A record is a ``Record`` subclass whose annotations are the jute types below. Its codec is generated once, with
neighbouring fixed-size fields merged into one ``struct.Struct``, because these functions are the server's hot path.
A field annotated ``str`` (or an item of ``list[str]``) refuses null, which ``Text`` takes.
"""

import codecs
import re
from collections.abc import Callable
from struct import Struct, error as struct_error
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

import msgspec

from trioquorum.errors import PeerProtocolError

Byte = Annotated[int, "b"]
Int = Annotated[int, "i"]
Long = Annotated[int, "q"]
Bool = Annotated[bool, "?"]
Text = str | None
Buffer = bytes | None

_Codec = tuple[Callable[[Any], bytes], Callable[[bytes, int], tuple[Any, int]]]

_INT = Struct(">i")
_INT_SIZE = 4
_NULL = _INT.pack(-1)


def encode_text(text: str | None) -> bytes:
    """A ustring. Characters beyond U+FFFF become two 3-byte surrogates, as Java writes them."""
    if text is None:
        return _NULL
    try:
        raw = text.encode()
        if len(raw) >= 4 and not text.isascii() and max(text) > "\uffff":
            raw = _cesu8(text)
    except UnicodeEncodeError:
        raw = _cesu8(text)
    return _INT.pack(len(raw)) + raw


def _cesu8(text: str) -> bytes:
    units = text.encode("utf-16-be", "surrogatepass")
    return b"".join(
        chr(int.from_bytes(units[i : i + 2], "big")).encode("utf-8", "surrogatepass") for i in range(0, len(units), 2)
    )


def encode_buffer(data: bytes | None) -> bytes:
    """A buffer; null and empty are different values."""
    return _NULL if data is None else _INT.pack(len(data)) + data


def _replace_as_java(error: UnicodeError) -> tuple[str, int]:
    """One U+FFFD per broken sequence, as Java reads them; an encoded surrogate, whole or cut, counts as one."""
    assert isinstance(error, UnicodeDecodeError)
    surrogate = _SURROGATE.match(error.object, error.start)
    return "\ufffd", surrogate.end() if surrogate else error.end


_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]?")
codecs.register_error("jute", _replace_as_java)


def decode_text(data: bytes, at: int) -> tuple[str | None, int]:
    """The ustring at ``at`` and the offset behind it; bytes that are no UTF-8 read as U+FFFD, as in Java."""
    (size,) = _INT.unpack_from(data, at)
    at += _INT_SIZE
    if size < 0:
        if size == -1:
            return None, at
        raise PeerProtocolError(f"text of length {size}")
    end = at + size
    if end > len(data):
        raise PeerProtocolError(f"text of {size} bytes in {len(data) - at}")
    return data[at:end].decode("utf-8", "jute"), end


def _decode_str(data: bytes, at: int) -> tuple[str, int]:
    text, at = decode_text(data, at)
    if text is None:
        raise PeerProtocolError("null where a text is needed")
    return text, at


def decode_buffer(data: bytes, at: int) -> tuple[bytes | None, int]:
    """The buffer at ``at`` and the offset behind it."""
    (size,) = _INT.unpack_from(data, at)
    at += _INT_SIZE
    if size < 0:
        if size == -1:
            return None, at
        raise PeerProtocolError(f"buffer of length {size}")
    end = at + size
    if end > len(data):
        raise PeerProtocolError(f"buffer of {size} bytes in {len(data) - at}")
    return data[at:end], end


def _encode_vector(items: "list[Any] | tuple[Any, ...] | None", encode: Callable[[Any], bytes]) -> bytes:
    if items is None:
        return _NULL
    return _INT.pack(len(items)) + b"".join([encode(item) for item in items])


def _decode_vector(
    data: bytes, at: int, decode: Callable[[bytes, int], tuple[Any, int]]
) -> tuple[list[Any] | None, int]:
    (count,) = _INT.unpack_from(data, at)
    at += _INT_SIZE
    if count == -1:
        return None, at
    # Every item takes at least one byte, so a count can never make us build more than what was sent.
    if not 0 <= count <= len(data) - at:
        raise PeerProtocolError(f"vector of {count} items in {len(data) - at} bytes")
    items = []
    for _ in range(count):
        item, at = decode(data, at)
        items.append(item)
    return items, at


class Record(msgspec.Struct, gc=False):
    """Base of every jute record: ``encode()`` to bytes, ``decode(data)`` of exactly one record."""

    _codec: ClassVar[_Codec | None] = None

    def encode(self) -> bytes:
        """The record's bytes."""
        return _codec_of(type(self))[0](self)

    @classmethod
    def decode_from(cls, data: bytes, at: int = 0) -> tuple[Self, int]:
        """The record at ``at`` and the offset behind it.

        Raises:
            PeerProtocolError: truncated or not such a record.
        """
        try:
            return _codec_of(cls)[1](data, at)
        except (struct_error, OverflowError) as error:
            raise PeerProtocolError(f"truncated {cls.__name__}: {error}") from None

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The record that ``data`` starts with; bytes behind it are ignored, as ZooKeeper does."""
        return cls.decode_from(data)[0]


def _codec_of(cls: type[Record]) -> _Codec:
    codec: _Codec | None = cls.__dict__.get("_codec")
    if codec is None:
        codec = cls._codec = _generate(cls)
    return codec


def _generate(cls: type[Record]) -> _Codec:
    """Write and compile the two functions of ``cls``, the way dataclasses write ``__init__``."""
    scope: dict[str, Any] = {
        "cls": cls,
        "encode_text": encode_text,
        "encode_buffer": encode_buffer,
        "decode_text": decode_text,
        "decode_str": _decode_str,
        "decode_buffer": decode_buffer,
        "encode_vector": _encode_vector,
        "decode_vector": _decode_vector,
    }
    hints = get_type_hints(cls, include_extras=True)
    fields = [(name, hints[name]) for name in cls.__struct_fields__]
    parts: list[str] = []
    steps: list[str] = []
    fixed: list[tuple[str, str]] = []

    def close_fixed() -> None:
        if not fixed:
            return
        name = f"fixed{len(scope)}"
        packed = Struct(">" + "".join(code for _, code in fixed))
        scope[name] = packed
        parts.append(f"{name}.pack({', '.join(f'r.{field}' for field, _ in fixed)})")
        targets = ", ".join(f"f_{field}" for field, _ in fixed)
        steps.append(f"({targets},) = {name}.unpack_from(data, at); at += {packed.size}")
        fixed.clear()

    for name, hint in fields:
        if get_origin(hint) is Annotated:
            fixed.append((name, get_args(hint)[1]))
            continue
        close_fixed()
        encode, decode = _field(hint, scope)
        parts.append(encode.format(value=f"r.{name}"))
        steps.append(f"f_{name}, at = {decode}")
    close_fixed()
    body = "\n    ".join(steps) or "pass"
    names = ", ".join(f"f_{name}" for name, _ in fields)
    code = (
        f"def encode(r):\n    return {' + '.join(parts) or 'bytes()'}\n"
        f"def decode(data, at):\n    {body}\n    return cls({names}), at\n"
    )
    exec(compile(code, f"<jute {cls.__name__}>", "exec"), scope)  # noqa: S102
    return scope["encode"], scope["decode"]


def _field(hint: Any, scope: dict[str, Any]) -> tuple[str, str]:
    """Source of one variable-size field's encode (with ``{value}``) and decode."""
    if hint is str:
        return "encode_text({value})", "decode_str(data, at)"
    if hint == Text:
        return "encode_text({value})", "decode_text(data, at)"
    if hint == Buffer or hint is bytes:
        return "encode_buffer({value})", "decode_buffer(data, at)"
    if isinstance(hint, type) and issubclass(hint, Record):
        encode, decode = _record_functions(hint, scope)
        return f"{encode}({{value}})", f"{decode}(data, at)"
    item = _vector_item(hint)
    if item is str:
        return "encode_vector({value}, encode_text)", "decode_vector(data, at, decode_str)"
    if isinstance(item, type) and issubclass(item, Record):
        encode, decode = _record_functions(item, scope)
        return f"encode_vector({{value}}, {encode})", f"decode_vector(data, at, {decode})"
    raise TypeError(f"{hint} is no jute type")


def _vector_item(hint: Any) -> Any:
    for candidate in (hint, *get_args(hint)):
        if get_origin(candidate) is list:
            return get_args(candidate)[0]
    return None


def _record_functions(cls: type[Record], scope: dict[str, Any]) -> tuple[str, str]:
    encode, decode = _codec_of(cls)
    scope[f"encode_{cls.__name__}"] = encode
    scope[f"decode_{cls.__name__}"] = decode
    return f"encode_{cls.__name__}", f"decode_{cls.__name__}"
