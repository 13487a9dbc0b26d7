"""A ``Disk`` without a disk, for tests and simulations: no thread, time is Trio's clock."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio

from trioquorum.errors import DiskFailed, StorageError
from trioquorum.storage.disk import AppendFile, AtomicFile
from trioquorum.storage.log_format import last_record
from trioquorum.storage.membership import COMMITTED, NEXT
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid

FREE_BYTES: Final = 1 << 40

Files = dict[str, bytearray]
Effect = Callable[[Files], None]


class MemoryDisk:
    """Files as bytes. What a call has not finished when ``crash`` comes is lost; ``flush_latency_s`` is its duration.

    A subclass adds faults by overriding ``flush``, which every change awaits before it takes effect, or ``change`` and
    ``append``, which all changes go through.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None, *, flush_latency_s: float = 0.0) -> None:
        self.files: Files = {name: bytearray(data) for name, data in (files or {}).items()}
        self.flush_latency_s = flush_latency_s
        self.crashed = False
        self._in_flight: dict[str, bytes] = {}
        self._ends: dict[str, tuple[int, int]] = {}
        self._logs: list[str] | None = None
        self._snapshot = 0

    def logged_zxid(self) -> int:
        """The last transaction that is durable here, in a log or a snapshot; 0 without one.

        Reads no further than what was added since the last call: checkers ask at every frame.
        """
        if self._logs is None:
            self._logs = [name for _, name in reversed(sorted_by_zxid(self.files, LOG))]
            self._snapshot = max((zxid for zxid, _ in sorted_by_zxid(self.files, SNAPSHOT)), default=0)
        for name in self._logs:
            zxid, _ = self._ends[name] = last_record(self.files[name], *self._ends.get(name, (0, 0)))
            if zxid:
                return max(zxid, self._snapshot)
        return self._snapshot

    def epoch(self, name: str) -> int | None:
        """What the epoch file ``name`` durably says; ``None`` without one."""
        data = self.files.get(name)
        return None if data is None else int(data)

    def membership(self) -> int:
        """The newest version that a membership file durably holds; 0 without one."""
        files = (self.files.get(name) for name in (COMMITTED, NEXT))
        return max((int(data.rpartition(b"version=")[2], 16) for data in files if data), default=0)

    def _changed(self, name: str) -> None:
        """The file was replaced or cut, has begun or is gone: what was known of it is void."""
        self._logs = None
        self._ends.pop(name, None)

    async def flush(self, name: str, size: int) -> None:
        """Wait as long as making ``size`` bytes of ``name`` durable takes.

        Raises:
            DiskFailed: it could not be done, or the machine crashed meanwhile.
        """
        del size
        self._check(name)
        if self.flush_latency_s:
            await trio.sleep(self.flush_latency_s)
        else:
            await trio.lowlevel.checkpoint()
        self._check(name)

    def crash(self, torn_bytes: int = 0) -> "MemoryDisk":
        """Power loss: the disk as a restarted machine finds it; this one fails from now on.

        Of each append in flight the first ``torn_bytes`` bytes arrived.
        """
        self.crashed = True
        files = {name: bytes(data) for name, data in self.files.items()}
        for name, data in self._in_flight.items():
            files[name] += data[:torn_bytes]
        return MemoryDisk(files, flush_latency_s=self.flush_latency_s)

    async def list(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        return sorted(self.files)

    async def size(self, name: str) -> int:
        await trio.lowlevel.checkpoint()
        return len(self._file(name))

    async def read(self, name: str) -> bytes:
        await trio.lowlevel.checkpoint()
        return bytes(self._file(name))

    async def read_at(self, name: str, at: int, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return bytes(self._file(name)[at : at + size])

    async def change(self, name: str, size: int, effect: Effect) -> None:
        """Do to the files what ``effect`` does; durable when it returns."""
        await self.flush(name, size)
        effect(self.files)
        self._changed(name)

    async def write_atomic(self, name: str, data: bytes) -> None:
        await self.change(name, len(data), lambda files: _put(files, name, bytearray(data)))

    @asynccontextmanager
    async def stream_atomic(self, name: str) -> AsyncGenerator[AtomicFile, None]:
        file = _MemoryStream()
        yield file
        await self.change(name, len(file.data), lambda files: _put(files, name, file.data))

    async def create(self, name: str) -> AppendFile:
        if name in self.files:
            raise DiskFailed(f"{name} exists")
        await self.change(name, 0, lambda files: _put(files, name, bytearray()))
        return _MemoryAppendFile(self, name)

    async def open_append(self, name: str, at: int) -> AppendFile:
        await self.truncate(name, at)
        return _MemoryAppendFile(self, name)

    async def truncate(self, name: str, size: int) -> None:
        self._file(name)
        await self.change(name, 0, lambda files: _cut(files, name, size))

    async def remove(self, name: str) -> None:
        await self.change(name, 0, lambda files: _drop(files, name))

    def used_bytes(self) -> int:
        return sum(map(len, self.files.values()))

    async def free_bytes(self) -> int:
        await trio.lowlevel.checkpoint()
        return FREE_BYTES - sum(map(len, self.files.values()))

    async def append(self, name: str, data: bytes) -> None:
        """Durable when it returns; only ``AppendFile`` calls this."""
        self._in_flight[name] = data
        try:
            with trio.CancelScope(shield=True):
                await self.flush(name, len(data))
            self.files[name] += data
        finally:
            del self._in_flight[name]

    def _check(self, name: str) -> None:
        if self.crashed:
            raise DiskFailed(f"{name} cannot be written: the machine crashed")

    def _file(self, name: str) -> bytearray:
        try:
            return self.files[name]
        except KeyError:
            raise StorageError(f"{name} cannot be read: no such file") from None


class _MemoryStream:
    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, chunk: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.data += chunk


class _MemoryAppendFile:
    def __init__(self, disk: MemoryDisk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._failed = False
        self._size = len(disk.files[name])

    @property
    def size(self) -> int:
        return self._size

    async def append(self, data: bytes) -> None:
        if self._failed:
            raise DiskFailed(f"{self._name} failed before and takes no more")
        self._failed = True
        await self._disk.append(self._name, data)
        self._failed = False
        self._size += len(data)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def _put(files: Files, name: str, data: bytearray) -> None:
    files[name] = data


def _cut(files: Files, name: str, size: int) -> None:
    del files[name][size:]


def _drop(files: Files, name: str) -> None:
    files.pop(name, None)
