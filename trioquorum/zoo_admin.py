"""Keys of ``zoo.cfg`` about the admin server (config §1)."""

from collections.abc import Mapping
from typing import Final

from trioquorum.properties import Entry
from trioquorum.zoo_keys import integer, truth

ADMIN: Final = frozenset(("admin.enableServer", "admin.serverPort", "admin.serverAddress"))
"""Those that are in effect."""

DEFAULT_PORT: Final = 8080
LOOPBACK: Final = "127.0.0.1"
_LOOPBACKS: Final = frozenset((LOOPBACK, "localhost"))


def admin_url(found: Mapping[str, Entry], warnings: list[str]) -> str | None:
    """Where the admin port is to be: nowhere unless a key asks for it, and on loopback, as it would be open to all.

    Raises:
        ConfigError: a value makes no sense.
    """
    enabled, port, host = (found.get(f"admin.{key}") for key in ("enableServer", "serverPort", "serverAddress"))
    if not (truth(enabled) if enabled is not None else port is not None):
        return None
    if host is not None and host.value not in _LOOPBACKS:
        warnings.append(
            f"{host.where}: {host.key} has no effect here: the admin port is on {LOOPBACK}; serve --admin with "
            "--admin-token-file opens it to others"
        )
    return f"http://{LOOPBACK}:{DEFAULT_PORT if port is None else integer(port)}"
