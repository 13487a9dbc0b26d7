"""Path rules (client-protocol §13). A path is text that starts with ``/``; the root is ``/``."""

import re

from trioquorum.wire.jute import Text

ROOT = "/"
SYSTEM = "/zookeeper"
QUOTA = "/zookeeper/quota"
CONFIG = "/zookeeper/config"
SPECIAL = frozenset({ROOT, SYSTEM, QUOTA, CONFIG})
"""Paths that nobody may delete."""

_ILLEGAL = re.compile(
    r"//|/$|/\.\.?(?:/|$)|[\0-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]",
)


def validate_path(path: Text) -> bool:
    """Whether a node may have this path: absolute, no empty, ``.`` or ``..`` component, no forbidden character."""
    if path is None or not path.startswith("/"):
        return False
    if path.isascii() and path.isprintable() and not ("//" in path or "/." in path or path.endswith("/")):
        return True  # Nearly every path, for a fraction of what the search below costs.
    return path == ROOT or _ILLEGAL.search(path) is None


def roughly_valid(path: Text) -> bool:
    """What every write checks before it looks at the tree (§8.2): there is a ``/`` and no NUL."""
    return path is not None and "/" in path and "\0" not in path


def parent_of(path: str) -> str:
    """The path in front of the last ``/``; ``/`` for the root's children and for the root itself."""
    return path[: path.rfind("/")] or ROOT


def sequence_suffix(cversion: int) -> str:
    """What a sequential create appends: the parent's stored cversion, ten digits wide, a sign in front (§14)."""
    return f"{cversion:010d}" if cversion >= 0 else f"-{-cversion:09d}"
