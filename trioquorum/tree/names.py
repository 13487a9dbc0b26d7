"""Which names may stand in ACLs: distinguished names of certificates and Kerberos principals (client-protocol §12)."""

import re
from typing import Final

_KEYWORDS: Final = frozenset(
    ("CN", "C", "L", "ST", "S", "OU", "O", "T", "IP", "STREET", "DC", "DNQUALIFIER", "DNQ", "SURNAME", "GIVENNAME")
    + ("INITIALS", "GENERATION", "EMAILADDRESS", "EMAIL", "UID", "SERIALNUMBER")
)
"""The types that Java knows by name; others are written as numbers."""

# Alternatives begin with different characters everywhere, so that none of these is slow on any text.
_PART: Final = re.compile(r'(?:[^,;+"\\]|\\.|"(?:[^"\\]|\\.)*")*', re.DOTALL)
_NUMBER: Final = re.compile(r"(?:OID\.)?(?:[01]\.[1-3]?[0-9]|2\.[0-9]+)(?:\.[0-9]+)*", re.IGNORECASE)
_ESCAPE: Final = r'\\(?:[0-9A-Fa-f]{2}|[,=+<>#;"\\ ])'
_HEXADECIMAL: Final = re.compile(r"#(?:[0-9A-Fa-f]{2})+")
_QUOTED: Final = re.compile(rf'"(?:[^"\\]|{_ESCAPE})*"')
_BARE: Final = re.compile(rf'(?:[^,;+<>"\\]|{_ESCAPE})*')

_PRINCIPAL: Final = re.compile(r"[^@]*|[^/@]*(?:/[^/@]*)?@[^/@]*")


def is_distinguished_name(text: str) -> bool:
    """Whether Java would read it as the subject of a certificate, ``CN=bob,O=Acme``."""
    if not text:
        return True
    at = -1
    while at < len(text):
        part = _PART.match(text, at + 1)
        if part is None or not _is_type_and_value(part[0]):
            return False
        at = part.end()
        if at < len(text) and text[at] not in ",;+":
            return False
    return True


def _is_type_and_value(text: str) -> bool:
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.lstrip()
    if not equals or not (name.upper() in _KEYWORDS or _NUMBER.fullmatch(name)):
        return False
    if value.startswith("#"):
        return _HEXADECIMAL.fullmatch(value.rstrip()) is not None
    if value.startswith('"'):
        return _QUOTED.fullmatch(value.rstrip()) is not None
    return _BARE.fullmatch(value) is not None


def is_principal(text: str) -> bool:
    """Whether it is ``name``, ``name@REALM`` or ``name/host@REALM``, which every id of the scheme sasl must be."""
    return _PRINCIPAL.fullmatch(text) is not None
