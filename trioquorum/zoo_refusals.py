"""What is wrong with a ``zoo.cfg``, in its own words: the line, and ZooKeeper's names in place of ours."""

import re
from collections.abc import Mapping
from typing import Final

from trioquorum.errors import ConfigError
from trioquorum.properties import Entry
from trioquorum.zoo_keys import LIMITS, SETTINGS, THROTTLES
from trioquorum.zoo_security import NAMES

_THEIRS: Final[Mapping[str, str]] = {
    **{name: key for key, (name, _) in SETTINGS.items()},
    **{f"limits.{name}": key for key, name in LIMITS.items()},
    **{f"throttles.{name}": key for key, (name, _) in THROTTLES.items()},
    **NAMES,
}
"""Setting as ``peers.toml`` names it → key."""

_NAME: Final = re.compile(r"[a-z]\w*(?:\.\w+)?")


def in_their_words(error: ConfigError, source: str, found: Mapping[str, Entry]) -> ConfigError:
    """An error about settings, which begins with ``source``, for who wrote the entries in ``found``.

    Values are told as they were written, and the line is that of the first setting which was.
    """
    said, where = str(error).removeprefix(f"{source}: "), source
    for name in dict.fromkeys(_NAME.findall(said)):
        key = _THEIRS.get(name)
        entry = found.get(key or f"trioquorum.{name.removeprefix('limits.')}")
        if entry is None and key is None:
            continue  # a word like any other
        if entry is not None:
            where = entry.where if where == source else where
            key = entry.key
            said = re.sub(rf"\b{re.escape(name)} is [-\d.]+;", f"{name} is {entry.value};", said)
        said = re.sub(rf"\b{re.escape(name)}\b", str(key), said)
    return ConfigError(f"{where}: {said}")
