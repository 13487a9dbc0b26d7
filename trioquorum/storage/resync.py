"""``serve --resync``: damaged data is set aside, and everything comes from the leader (quorum-protocol §21).

The promises in the epoch files and the membership stay. A marker keeps the peer from voting, over restarts too, until
the leader's snapshot is on disk: what it helped to commit could else be outvoted with its help.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from trioquorum.errors import StorageError
from trioquorum.storage.disk import RealDisk
from trioquorum.storage.epochs import ACCEPTED, CURRENT
from trioquorum.storage.membership import COMMITTED, NEXT

MARKER: Final = "resync"
"""In a folder whose data is to come from a leader yet."""

ASIDE: Final = ".aside"
FRESH: Final = ".resync"

_KEPT: Final = (ACCEPTED, CURRENT, COMMITTED, NEXT)


def set_aside(folder: Path, log_folder: Path) -> list[Path]:
    """Move the folder of snapshots, and that of logs if it is another one, out of the way; where they are now.

    Whatever a crash leaves is finished by calling this again, or by ``finish``.

    Raises:
        StorageError: a server runs on the data.
        OSError: something cannot be moved.
    """
    finish(folder)
    for each in {folder, log_folder}:
        if each.is_dir():
            RealDisk(each).close()  # Refuses when somebody else has it.
    fresh = folder.with_name(folder.name + FRESH)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in _KEPT:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, fresh / name)
    (fresh / MARKER).touch()
    for file in [*fresh.iterdir(), fresh]:
        _flush(file)
    # Snapshots go first: logs without any are refused, while a snapshot without its log would pass for the whole.
    moved = [_move(folder)] if folder.is_dir() else []
    fresh.rename(folder)
    _flush(folder.parent)
    if log_folder != folder and log_folder.is_dir():
        moved.append(_move(log_folder))
        _flush(log_folder.parent)
    return moved


def finish(folder: Path) -> None:
    """Finish what a crash interrupted between two renames."""
    fresh = folder.with_name(folder.name + FRESH)
    if (fresh / MARKER).is_file() and not folder.exists():
        fresh.rename(folder)
        _flush(folder.parent)


def _move(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}{ASIDE}-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        raise StorageError(f"{path}: cannot be flushed: {error.strerror}") from None
    finally:
        os.close(fd)
