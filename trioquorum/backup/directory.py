"""What a server would make of a data directory, found out without changing it."""

from pathlib import Path
from typing import Final

import msgspec
import trio

from trioquorum.errors import CorruptLog, CorruptSnapshot, StorageError
from trioquorum.events import Event, Events
from trioquorum.limits import Limits
from trioquorum.offline.folder import DATA_FOLDER
from trioquorum.offline.overlay import Overlay
from trioquorum.storage.database import Database
from trioquorum.storage.epochs import Epochs
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid
from trioquorum.tree.nodes import DataTree, NewTree

TRIES: Final = 3
"""A server that runs there may remove a file between two looks."""

_SLOW_FLUSH_MS: Final = 1000  # nothing is flushed


class Loaded(msgspec.Struct, kw_only=True):
    """A data directory in memory. ``events`` are what a server would tell about it.

    Where epoch files are missing, ``accepted`` and ``current`` are what a server would take instead.
    """

    tree: DataTree
    accepted: int
    current: int
    events: list[Event]

    @property
    def zxid(self) -> int:
        """The last transaction."""
        return self.tree.last_zxid


def inner(data_dir: Path) -> Path:
    """Where the files are: a data directory may be named with or without ``version-2``."""
    return data_dir / DATA_FOLDER if (data_dir / DATA_FOLDER).is_dir() else data_dir


async def load_directory(data_dir: Path, log_dir: Path | None = None, new_tree: NewTree = DataTree) -> Loaded:
    """Load as ``trioquorum serve`` would, newest snapshot and what the log has behind it; nothing is written.

    A server may run there. What it logs meanwhile is taken or not; everything up to some transaction is.

    Raises:
        StorageError, CorruptLog, CorruptSnapshot: a server would not start there, or there is nothing to start from.
    """
    for left in reversed(range(TRIES)):
        try:
            return await _load(inner(data_dir), inner(log_dir or data_dir), new_tree)
        except (CorruptLog, CorruptSnapshot):
            raise
        except StorageError:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


async def _load(folder: Path, log_folder: Path, new_tree: NewTree) -> Loaded:
    for each in (folder, log_folder):
        if not each.is_dir():
            raise StorageError(f"{each}: there is no such directory")
    heard: list[Event] = []
    events = Events(heard.append)
    disk = Overlay(folder)
    log_disk = disk if log_folder == folder else Overlay(log_folder)
    if not sorted_by_zxid(await disk.list(), SNAPSHOT) and not sorted_by_zxid(await log_disk.list(), LOG):
        raise StorageError(f"{folder}: there is neither snapshot nor log in it; name the data directory")
    db = await Database.load(disk, log_disk, Limits(), events, slow_flush_ms=_SLOW_FLUSH_MS, new_tree=new_tree)
    epochs = await Epochs.load(disk, db.last_zxid)
    await trio.lowlevel.checkpoint()
    return Loaded(tree=db.tree, accepted=epochs.accepted, current=epochs.current, events=heard)
