"""Users from a JAAS login configuration, the file in which Java keeps them (client-protocol §12).

::

    Server {
        org.apache.zookeeper.server.auth.DigestLoginModule required
        user_bob="secret";
    };
"""

import re
from collections.abc import Iterator
from typing import Final

from trioquorum.errors import ConfigError

_TOKEN: Final = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/ | "(?P<quoted>(?:[^"\\\n]|\\.)*)" | (?P<word>[\w.$*-]+) | (?P<mark>[{};=])""",
    re.VERBOSE | re.DOTALL,
)
_DIGEST_MODULE: Final = "DigestLoginModule"
_USER: Final = "user_"


def digest_users(text: str, section: str, source: str) -> dict[str, str]:
    """Passwords by user of the DigestLoginModule in ``section``; ``source`` starts the message of an error.

    Raises:
        ConfigError: it is no such file, there is no such section, or it has another way of logging in.
    """
    for name, module, options in _entries(text, source):
        if name != section:
            continue
        if module.rpartition(".")[2] != _DIGEST_MODULE:
            raise ConfigError(
                f"{source}: section {section} logs in by {module}; only {_DIGEST_MODULE} is offered, with "
                f'user_NAME="password"'
            )
        return {key.removeprefix(_USER): value for key, value in options.items() if key.startswith(_USER)}
    raise ConfigError(f"{source}: there is no section {section}; add it, or name another one in sasl.serverconfig")


def _entries(text: str, source: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Name, login module and options of each section; of several modules in a section the first."""
    tokens = _tokens(text, source)

    def take(wanted: str = "") -> str:
        kind, value = next(tokens, ("", "the end"))
        if not kind or (wanted and value != wanted) or (not wanted and kind == "mark"):
            raise ConfigError(f"{source}: {wanted or 'a name'} was expected, not {value}")
        return value

    for kind, name in tokens:
        if kind == "mark":
            raise ConfigError(f"{source}: the name of a section was expected, not {name}")
        take("{")
        module, _flag = take(), take()
        options: dict[str, str] = {}
        for kind, key in tokens:
            if key == ";" and kind == "mark":
                break
            take("=")
            options[key] = take()
        yield name, module, options
        for kind, mark in tokens:  # modules that come next, up to the end of the section
            if kind == "mark" and mark == "}":
                break
        take(";")


def _tokens(text: str, source: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            line = text.count("\n", 0, at) + 1
            raise ConfigError(f"{source}:{line}: cannot be read here: {text[at : at + 20]!r}")
        at = found.end()
        if found["quoted"] is not None:
            yield "quoted", re.sub(r"\\(.)", r"\1", found["quoted"])
        elif found.lastgroup is not None:
            yield found.lastgroup, found[found.lastgroup]
