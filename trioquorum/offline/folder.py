"""A directory that is only read, and not locked: also that of a server that runs."""

from pathlib import Path
from typing import Final

import trio

from trioquorum.errors import StorageError
from trioquorum.storage.names import LOG, SNAPSHOT, zxid_of

DATA_FOLDER: Final = "version-2"


class Folder:
    """The reading part of ``storage.disk.Disk``. Reads are plain calls: nobody waits for this process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def list(self) -> list[str]:
        """Every file, sorted by name."""
        await trio.lowlevel.checkpoint()
        return sorted(file.name for file in self.path.iterdir())

    async def size(self, name: str) -> int:
        """Length in bytes."""
        await trio.lowlevel.checkpoint()
        return (self.path / name).stat().st_size

    async def read_at(self, name: str, at: int, size: int) -> bytes:
        """``size`` bytes from offset ``at``, fewer only at the end of the file."""
        await trio.lowlevel.checkpoint()
        with (self.path / name).open("rb", buffering=0) as file:
            file.seek(at)
            return file.read(size)


def files_of(paths: list[Path], prefix: str) -> list[Path]:
    """The files that ``paths`` name, oldest first: files themselves, or all of one kind in a data directory.

    ``prefix`` is ``storage.names.LOG`` or ``SNAPSHOT``. A data directory may be named with or without ``version-2``.

    Raises:
        StorageError: there is no such file, or a directory without one.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            found.append(path)
            continue
        if not path.is_dir():
            raise StorageError(f"{path}: there is no such file or directory")
        folder = path / DATA_FOLDER if (path / DATA_FOLDER).is_dir() else path
        inside = [(zxid, file) for file in folder.iterdir() if (zxid := zxid_of(file.name, prefix)) is not None]
        if not inside:
            kind = {LOG: "log", SNAPSHOT: "snapshot"}[prefix]
            raise StorageError(f"{folder}: there is no {kind} in it; name the file or the data directory")
        found += [file for _, file in sorted(inside)]
    return found
