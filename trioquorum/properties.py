"""Java's properties format, which ``zoo.cfg`` is written in (config §1)."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from trioquorum.errors import ConfigError


class Entry(NamedTuple):
    """One ``key=value`` and where it stands, ``file:line``."""

    key: str
    value: str
    where: str


def read_properties(text: str, name: str) -> Iterator[Entry]:
    """Java's properties format: comments, continued lines, escapes; ``=``, ``:`` or a blank ends the key."""
    lines = enumerate(re.split("\r\n|\r|\n", text), 1)
    for number, line in lines:
        whole = line.lstrip(_BLANKS)
        if not whole or whole[0] in "#!":
            continue
        while _continues(whole):
            whole = whole[:-1] + next(lines, (0, ""))[1].lstrip(_BLANKS)
        found = _PROPERTY.match(whole)
        where = f"{name}:{number}"
        if found is None:
            raise ConfigError(f"{where}: has no key before the =")
        key, value = (_unescape(part, where).strip() for part in (found["key"], whole[found.end() :]))
        yield Entry(key, value, where)


_BLANKS: Final = " \t\f"
_PROPERTY: Final = re.compile(r"(?P<key>(?:\\.|[^\\=: \t\f])+)[ \t\f]*[=:]?[ \t\f]*", re.DOTALL)
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def _continues(line: str) -> bool:
    """An odd number of backslashes at the end."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescape(text: str, where: str) -> str:
    def replace(found: re.Match[str]) -> str:
        escaped = found[1]
        if escaped[0] == "u":
            if len(escaped) < 5:
                raise ConfigError(f"{where}: \\u is not followed by four hexadecimal digits")
            return chr(int(escaped[1:], 16))
        return _ESCAPES.get(escaped, escaped)

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", replace, text, flags=re.DOTALL)
