"""The subject of an X.509 certificate as Java writes it, which is an identity of the scheme x509 (client-protocol §12).

RFC 2253: the last part first, names of types that the RFC knows, every other type as its number with the value in
hexadecimal. Java decodes every kind of string but two as UTF-8, and so must we, or ACLs made there would not match.
"""

from typing import Final

from trioquorum.errors import PeerProtocolError

_OID: Final = 0x06
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_TEXTS: Final = frozenset((0x0C, 0x13, 0x14, 0x16, 0x1B, 0x1E))
"""UTF8, Printable, T61, IA5, General and BMP strings."""

_KEYWORDS: Final = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}
_ESCAPED: Final = frozenset(',=+<>#;"\\')
_BLANKS: Final = " \r"

_Element = tuple[int, bytes, bytes]
"""Tag, content, and the whole encoding."""


def subject_of(certificate: bytes) -> str:
    """The subject's distinguished name, ``CN=bob,O=Acme``.

    Raises:
        PeerProtocolError: it is no certificate in DER.
    """
    fields = _elements(_sequence(_sequence(certificate)))
    # version (absent in version 1), serial number, signature, issuer, validity, subject
    at = 5 if fields and fields[0][0] == _VERSION else 4
    parts = [_part(content) for _, content, _ in _elements(_sequence(b"".join(whole for _, _, whole in fields[at:])))]
    return ",".join(reversed(parts))


def _part(content: bytes) -> str:
    """One relative name; it may have several values."""
    return "+".join(_value(pair) for _, pair, _ in _elements(content))


def _value(pair: bytes) -> str:
    found = _elements(pair)
    if len(found) != 2 or found[0][0] != _OID:
        raise PeerProtocolError("a name in a certificate that is no type and value")
    (_, oid, _), (tag, content, whole) = found
    number = _dotted(oid)
    keyword = _KEYWORDS.get(number)
    if keyword is None or tag not in _TEXTS:
        return f"{keyword or number}=#{whole.hex()}"
    return f"{keyword}={_escape(content.decode('utf-8', 'replace'))}"


def _escape(text: str) -> str:
    lead = len(text) - len(text.lstrip(_BLANKS))
    trail = len(text.rstrip(_BLANKS))
    return "".join(
        "\\00" if char == "\0" else f"\\{char}" if char in _ESCAPED or not lead <= i < trail else char
        for i, char in enumerate(text)
    )


def _dotted(oid: bytes) -> str:
    numbers, value = [], 0
    for byte in oid:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    if not numbers:
        raise PeerProtocolError("an empty object identifier in a certificate")
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _sequence(data: bytes) -> bytes:
    """What is in the sequence that ``data`` begins with."""
    found = _elements(data)
    if not found or found[0][0] != _SEQUENCE:
        raise PeerProtocolError("no certificate")
    return found[0][1]


def _elements(data: bytes) -> list[_Element]:
    """The DER elements in ``data``, one behind the other."""
    found = []
    at = 0
    while at < len(data):
        start = at
        if len(data) - at < 2:
            raise PeerProtocolError("a truncated certificate")
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            more = size & 0x7F
            size = int.from_bytes(data[at : at + more])
            at += more
        if at + size > len(data):
            raise PeerProtocolError("a truncated certificate")
        at += size
        found.append((tag, data[at - size : at], data[start:at]))
    return found
