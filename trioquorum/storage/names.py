"""Names of snapshots and logs (disk-format §1): a prefix, a zxid in hex, sometimes a suffix."""

from collections.abc import Iterable
from typing import Final

LOG: Final = "log"
SNAPSHOT: Final = "snapshot"


def file_name(prefix: str, zxid: int) -> str:
    """``log.100000001``."""
    return f"{prefix}.{zxid:x}"


def zxid_of(name: str, prefix: str) -> int | None:
    """The zxid in a name; ``None`` for any other file."""
    parts = name.split(".")
    if len(parts) < 2 or parts[0] != prefix:
        return None
    try:
        return int(parts[1], 16)
    except ValueError:
        return None


def sorted_by_zxid(names: Iterable[str], prefix: str) -> list[tuple[int, str]]:
    """The files of one kind with their zxids, oldest first."""
    found = [(zxid, name) for name in names if (zxid := zxid_of(name, prefix)) is not None]
    return sorted(found)
