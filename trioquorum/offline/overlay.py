"""A data directory that a server is made to load without touching it: what it would change stays in memory."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from trioquorum.errors import DiskFailed, StorageError
from trioquorum.offline.folder import Folder
from trioquorum.storage.disk import LOCK_FILE
from trioquorum.storage.files import AppendFile, AtomicFile


class Overlay(Folder):
    """A ``storage.files.Disk`` over a folder that may be another server's, running or not. Nothing is appended to it.

    ``cut`` and ``removed`` are the files that a server would have cut to a size, or removed. Every file read counts
    with its size from when it was first asked for, so one that grows meanwhile is not seen growing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.cut: dict[str, int] = {}
        self.removed: set[str] = set()
        self._written: dict[str, bytes] = {}
        self._sizes: dict[str, int] = {}

    async def list(self) -> list[str]:
        """Every file, sorted by name."""
        below = set(await super().list()) - {LOCK_FILE}
        return sorted((below - self.removed) | self._written.keys())

    async def size(self, name: str) -> int:
        """Length in bytes."""
        await trio.lowlevel.checkpoint()
        if name in self._written:
            return len(self._written[name])
        if name not in self._sizes:
            try:
                self._sizes[name] = await super().size(name)
            except OSError as error:
                raise self._unreadable(name, error) from None
        return min(self._sizes[name], self.cut.get(name, self._sizes[name]))

    async def read(self, name: str) -> bytes:
        """All of a small file."""
        return await self.read_at(name, 0, await self.size(name))

    async def read_at(self, name: str, at: int, size: int) -> bytes:
        """``size`` bytes from offset ``at``, fewer only at the end of the file."""
        size = max(0, min(size, await self.size(name) - at))
        if name in self._written:
            return self._written[name][at : at + size]
        try:
            return await super().read_at(name, at, size)
        except OSError as error:
            raise self._unreadable(name, error) from None

    def _unreadable(self, name: str, error: OSError) -> StorageError:
        return StorageError(f"{self.path / name} cannot be read: {error.strerror}")

    async def write_atomic(self, name: str, data: bytes) -> None:
        """Put a file in place, in memory."""
        await trio.lowlevel.checkpoint()
        self._written[name] = data

    @asynccontextmanager
    async def stream_atomic(self, name: str) -> AsyncGenerator[AtomicFile, None]:
        """The same in chunks."""
        chunks = _Chunks()
        yield chunks
        await self.write_atomic(name, b"".join(chunks.parts))

    async def create(self, name: str) -> AppendFile:
        """Refuse: who only loads appends nothing."""
        await trio.lowlevel.checkpoint()
        raise DiskFailed(f"{self.path / name} is only looked at and takes nothing")

    async def open_append(self, name: str, at: int) -> AppendFile:
        """Refuse, as ``create``."""
        del at
        return await self.create(name)

    async def truncate(self, name: str, size: int) -> None:
        """Note that a file would be cut, and show it so."""
        if size < await self.size(name):
            self.cut[name] = size

    async def remove(self, name: str) -> None:
        """Note that a file would go, and hide it."""
        await trio.lowlevel.checkpoint()
        self.removed.add(name)
        self._written.pop(name, None)

    async def free_bytes(self) -> int:
        """Nothing is written, so there is always room for it."""
        await trio.lowlevel.checkpoint()
        return 1 << 62

    def used_bytes(self) -> int:
        """What all files take."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())


class _Chunks:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    async def write(self, chunk: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.parts.append(chunk)
