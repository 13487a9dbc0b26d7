"""Jute, ZooKeeper's record encoding (client-protocol §2): big-endian, fields in declared order, no tags.

A record is a ``Record`` subclass whose annotations are the jute types below. Its codec is generated once, with
neighbouring fixed-size fields merged into one ``struct.Struct``.
A field annotated ``str`` (or an item of ``list[str]``) refuses null, which ``Text`` takes.
"""

from collections.abc import Callable
from struct import Struct, error as struct_error
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

import msgspec

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.fields import NULL, decode_str, encode_buffer, encode_text, refuse

Byte = Annotated[int, "b"]
Int = Annotated[int, "i"]
Long = Annotated[int, "q"]
Bool = Annotated[bool, "?"]
Text = str | None
Buffer = bytes | None

_Codec = tuple[Callable[[Any], bytes], Callable[[bytes, int], tuple[Any, int]]]

_INT = Struct(">i")
_INT_SIZE = 4


def _encode_vector(items: "list[Any] | tuple[Any, ...] | None", encode: Callable[[Any], bytes]) -> bytes:
    if items is None:
        return NULL
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
    """Base of every jute record: ``encode()`` to bytes, ``decode(data)`` of exactly one record.

    The first use of a class gives it an ``encode`` and a ``decode_from`` of its own. A record has no descendants.
    """

    _codec: ClassVar[_Codec | None] = None
    _frequent: ClassVar[tuple[bytes, list[Any]] | None] = None

    def __init_subclass__(cls) -> None:
        """Refuse descendants: a codec would be inherited and know none of their fields."""
        if Record not in cls.__bases__:
            raise TypeError(f"{cls.__name__} must derive from Record itself")

    def encode(self) -> bytes:
        """The record's bytes."""
        return codec_of(type(self))[0](self)

    @classmethod
    def decode_from(cls, data: bytes, at: int = 0) -> tuple[Self, int]:
        """The record at ``at`` and the offset behind it.

        Raises:
            PeerProtocolError: truncated or not such a record.
        """
        return codec_of(cls)[1](data, at)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The record that ``data`` starts with; bytes behind it are ignored, as ZooKeeper does."""
        return cls.decode_from(data)[0]


def codec_of(cls: type[Record]) -> _Codec:
    """The functions behind ``encode`` and ``decode_from``, for who calls them often."""
    codec: _Codec | None = cls._codec
    if codec is None:
        codec = cls._codec = _generate(cls)
        type.__setattr__(cls, "encode", codec[0])
        type.__setattr__(cls, "decode_from", staticmethod(codec[1]))
    return codec


def recognize(vector: list[Any]) -> bytes:
    """From now on such a vector is told by its bytes, which are returned, and read as this very list: never change it.

    Call it before the first use of any record with such a field.
    """
    cls = type(vector[0])
    encoded = _encode_vector(vector, codec_of(cls)[0])
    cls._frequent = encoded, vector
    return encoded


def _generate(cls: type[Record]) -> _Codec:
    """Write and compile the two functions of ``cls``, the way dataclasses write ``__init__``."""
    scope: dict[str, Any] = {
        "cls": cls,
        "encode_text": encode_text,
        "encode_buffer": encode_buffer,
        "decode_str": decode_str,
        "encode_vector": _encode_vector,
        "decode_vector": _decode_vector,
        "length_at": _INT.unpack_from,
        "refuse": refuse,
        "struct_error": struct_error,
        "PeerProtocolError": PeerProtocolError,
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
        steps.append(f"({targets},) = {name}.unpack_from(data, at)")
        steps.append(f"at += {packed.size}")
        fixed.clear()

    for name, hint in fields:
        if get_origin(hint) is Annotated:
            fixed.append((name, get_args(hint)[1]))
            continue
        close_fixed()
        encode, decode = _field(hint, scope)
        parts.append(encode.format(value=f"r.{name}"))
        steps += [step.format(value=f"f_{name}") for step in decode]
    close_fixed()
    body = "".join(f"        {step}\n" for step in steps)
    names = ", ".join(f"f_{name}" for name, _ in fields)
    code = (
        f"def encode(r):\n    return {' + '.join(parts) or 'bytes()'}\n"
        f"def decode(data, at=0):\n    try:\n{body}        return cls({names}), at\n"
        "    except (struct_error, OverflowError) as error:\n"
        f"        raise PeerProtocolError(f'truncated {cls.__name__}: {{error}}') from None\n"
    )
    exec(compile(code, f"<jute {cls.__name__}>", "exec"), scope)  # noqa: S102
    return scope["encode"], scope["decode"]


def _field(hint: Any, scope: dict[str, Any]) -> tuple[str, list[str]]:
    """Source of one variable-size field's encode and lines of its decode, both with ``{value}``.

    Texts and buffers are read in place: a call for each would cost as much as the reading.
    """
    if hint is str:
        return "encode_text({value})", _read("text", ".decode('utf-8', 'jute')", null=False)
    if hint == Text:
        return "encode_text({value})", _read("text", ".decode('utf-8', 'jute')", null=True)
    if hint == Buffer or hint is bytes:
        return "encode_buffer({value})", _read("buffer", "", null=True)
    if isinstance(hint, type) and issubclass(hint, Record):
        encode, decode = _record_functions(hint, scope)
        return f"{encode}({{value}})", [f"{{value}}, at = {decode}(data, at)"]
    item = _vector_item(hint)
    if item is str:
        return "encode_vector({value}, encode_text)", ["{value}, at = decode_vector(data, at, decode_str)"]
    if isinstance(item, type) and issubclass(item, Record):
        encode, decode = _record_functions(item, scope)
        return _vector(item, f"encode_vector({{value}}, {encode})", f"decode_vector(data, at, {decode})", scope)
    raise TypeError(f"{hint} is no jute type")


def _vector(item: type[Record], encode: str, decode: str, scope: dict[str, Any]) -> tuple[str, list[str]]:
    if item._frequent is None:
        return encode, [f"{{value}}, at = {decode}"]
    known, name = f"known{len(scope)}", f"bytes{len(scope)}"
    scope[name], scope[known] = item._frequent
    return f"({name} if {{value}} is {known} else {encode})", [
        f"if data.startswith({name}, at):",
        f"    {{value}} = {known}",
        f"    at += {len(item._frequent[0])}",
        "else:",
        f"    {{value}}, at = {decode}",
    ]


def _read(what: str, convert: str, *, null: bool) -> list[str]:
    """Lines that read a length and as many bytes, or null."""
    lines = [
        "(size,) = length_at(data, at)",
        "at += 4",
        "end = at + size",
        "if size < 0 or end > len(data):",
        f"    refuse({what!r}, size, len(data) - at)",
        f"{{value}} = data[at:end]{convert}",
        "at = end",
    ]
    if not null:
        return lines
    return [*lines[:2], "if size == -1:", "    {value} = None", "else:", *(f"    {line}" for line in lines[2:])]


def _vector_item(hint: Any) -> Any:
    for candidate in (hint, *get_args(hint)):
        if get_origin(candidate) is list:
            return get_args(candidate)[0]
    return None


def _record_functions(cls: type[Record], scope: dict[str, Any]) -> tuple[str, str]:
    encode, decode = codec_of(cls)
    scope[f"encode_{cls.__name__}"] = encode
    scope[f"decode_{cls.__name__}"] = decode
    return f"encode_{cls.__name__}", f"decode_{cls.__name__}"
