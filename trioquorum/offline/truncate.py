"""Cutting the log of a server that is stopped."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import trio

from trioquorum.errors import CorruptSnapshot, StorageError
from trioquorum.events import Events
from trioquorum.offline.folder import DATA_FOLDER
from trioquorum.offline.snapshots import reach
from trioquorum.storage.disk import RealDisk
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid
from trioquorum.storage.txn_log import TxnLog

KEPT: Final = "before-truncate"


def size_of(data_dir: Path) -> int:
    """Bytes that ``truncate`` copies."""
    folder = _folder(data_dir)
    return sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0


def _folder(data_dir: Path) -> Path:
    return data_dir / DATA_FOLDER if (data_dir / DATA_FOLDER).is_dir() else data_dir


async def truncate(data_dir: Path, zxid: int, copied: Callable[[int], object] = lambda _: None) -> Path:
    """Forget what lies behind ``zxid``; a copy of the whole directory as it was is made first, whose path is returned.

    ``copied`` is told of bytes that were copied.

    Raises:
        StorageError: a server runs there, the history would not reach ``zxid`` then, or a copy is there already.
        CorruptLog, DiskFailed: it could not be done; the copy is whole.
    """
    folder = _folder(data_dir)
    kept = folder.with_name(f"{folder.name}.{KEPT}-{zxid:x}")
    if kept.exists():
        raise StorageError(f"{kept} is there already; move it away")
    with closing(RealDisk(folder)) as disk:
        names = await disk.list()
        reached = _reached(folder, names, zxid)
        if not any(end <= zxid for end in reached.values()):
            oldest = min(reached.values(), default=None)
            raise StorageError(
                f"{folder}: no snapshot is as old as {zxid:#x}, so nothing would be left to start from; the oldest is "
                f"{'missing' if oldest is None else hex(oldest)}"
            )
        if not sorted_by_zxid(names, LOG):
            raise StorageError(f"{folder}: there is no log in it; logs in a folder of their own are cut there")

        def copy(source: str, target: str) -> None:
            shutil.copy2(source, target)
            trio.from_thread.run_sync(copied, Path(source).stat().st_size)

        await trio.to_thread.run_sync(partial(shutil.copytree, folder, kept, copy_function=copy))
        log = TxnLog(disk, Events())
        try:
            await log.truncate(zxid)
            for name, end in reached.items():
                if end > zxid:
                    await disk.remove(name)
        finally:
            await log.aclose()
    return kept


def _reached(folder: Path, names: Sequence[str], zxid: int) -> dict[str, int]:
    """Up to which transaction something is in each snapshot; of one behind ``zxid`` its name says enough.

    A fuzzy one has its zxid from before it was written: it may hold some of what came meanwhile, and nothing that is
    replayed would remove that. A damaged one is not among them: a server skips it.
    """
    reached = {}
    for found, name in sorted_by_zxid(names, SNAPSHOT):
        try:
            reached[name] = reach(folder / name) if found <= zxid else found
        except CorruptSnapshot:
            continue
    return reached
