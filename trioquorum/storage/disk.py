"""The files of one data directory, and the only place that knows threads.

``files.Disk`` is what the rest of ``storage/`` writes to: ``RealDisk`` here, ``MemoryDisk`` for tests and simulations.
"""

import errno
import fcntl
import os
import queue
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self, TypeVar

import trio

from trioquorum.errors import DiskFailed, DiskFull, StorageError
from trioquorum.storage.files import AppendFile as AppendFile, AtomicFile as AtomicFile, Disk as Disk

LOCK_FILE: Final = "trioquorum.lock"
TEMPORARY: Final = "tmp."
"""Prefix of files that are being written; ZooKeeper would take ``snapshot.5.tmp`` for a snapshot."""

PREALLOCATE_BYTES: Final = 64 << 20
PREALLOCATE_MARGIN_BYTES: Final = 4096
CLEANUP_LIMIT_S: Final = 10

_NO_SPACE: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_NO_PREALLOCATION: Final = _NO_SPACE | {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}

_T = TypeVar("_T")


class RealDisk:
    """A directory of the file system, made when missing and locked against a second server.

    ``force_sync`` off leaves appended data to the page cache (ZooKeeper's forceSync=no). Log files grow in steps of
    ``preallocate_bytes`` zeros, which readers take for the end, so that a flush has no metadata to write; 0 is off.
    They are left out where less than ``keep_free_bytes`` would be free then.

    Raises:
        StorageError: the directory cannot be used, or another server uses it.
    """

    def __init__(
        self,
        path: Path,
        *,
        force_sync: bool = True,
        preallocate_bytes: int = PREALLOCATE_BYTES,
        keep_free_bytes: int = 0,
    ) -> None:
        self.path = path
        self.keep_free_bytes = keep_free_bytes
        self.force_sync = force_sync
        self.preallocate_bytes = preallocate_bytes
        self._lock_fd = _lock(path)
        self._appender: _Appender | None = None

    async def list(self) -> list[str]:
        return await self._reading(".", lambda: sorted(name for name in os.listdir(self.path) if name != LOCK_FILE))

    async def size(self, name: str) -> int:
        return await self._reading(name, lambda: os.stat(self.path / name).st_size)

    async def read(self, name: str) -> bytes:
        return await self._reading(name, lambda: _read(self.path / name))

    async def read_at(self, name: str, at: int, size: int) -> bytes:
        return await self._reading(name, lambda: _read(self.path / name, at, size))

    async def write_atomic(self, name: str, data: bytes) -> None:
        def write() -> None:
            temporary = self.path / f"{name}.tmp"
            fd = _open_new(temporary, os.O_WRONLY | os.O_TRUNC)
            try:
                _write(fd, data, 0)
                os.fsync(fd)
            finally:
                os.close(fd)
            self._put_in_place(temporary, name)

        await self._writing(name, write)

    @asynccontextmanager
    async def stream_atomic(self, name: str) -> AsyncGenerator[AtomicFile, None]:
        temporary = self.path / f"{TEMPORARY}{name}"
        fd = await self._writing(name, lambda: _open_new(temporary, os.O_WRONLY | os.O_TRUNC))
        file = _StreamFile(self, name, fd)
        done = False
        try:
            yield file
            await file.flush()
            await self._writing(name, lambda: self._put_in_place(temporary, name))
            done = True
        finally:
            os.close(file.fd)
            if not done:
                with trio.move_on_after(CLEANUP_LIMIT_S, shield=True):
                    await self._writing(name, lambda: temporary.unlink(missing_ok=True))

    async def create(self, name: str) -> AppendFile:
        def create() -> int:
            fd = _open_new(self.path / name, os.O_RDWR | os.O_EXCL)
            _sync_dir(self.path)
            return fd

        return self._append_file(name, await self._writing(name, create), 0)

    async def open_append(self, name: str, at: int) -> AppendFile:
        return self._append_file(name, await self._writing(name, lambda: self._cut(name, at)), at)

    async def truncate(self, name: str, size: int) -> None:
        await self._writing(name, lambda: os.close(self._cut(name, size)))

    async def remove(self, name: str) -> None:
        def remove() -> None:
            (self.path / name).unlink(missing_ok=True)
            _sync_dir(self.path)

        await self._writing(name, remove)

    def used_bytes(self) -> int:
        total = 0
        for entry in os.scandir(self.path):
            try:
                total += entry.stat().st_size
            except FileNotFoundError:
                continue  # a file may be removed meanwhile
        return total

    async def free_bytes(self) -> int:
        return await self._reading(".", lambda: _free(self.path))

    def close(self) -> None:
        """End the thread and let go of the directory. Idempotent; every file was closed before."""
        if self._appender is not None:
            self._appender.stop()
            self._appender = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append_file(self, name: str, fd: int, at: int) -> "_RealAppendFile":
        if self._appender is None:
            self._appender = _Appender(f"log of {self.path}")
        return _RealAppendFile(self, name, fd, at, self._appender)

    def _cut(self, name: str, size: int) -> int:
        fd = os.open(self.path / name, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _put_in_place(self, temporary: Path, name: str) -> None:
        os.replace(temporary, self.path / name)
        _sync_dir(self.path)

    async def _reading(self, name: str, work: Callable[[], _T]) -> _T:
        try:
            return await trio.to_thread.run_sync(work)
        except OSError as error:
            raise StorageError(f"{self.path / name} cannot be read: {error.strerror}") from error

    async def _writing(self, name: str, work: Callable[[], _T]) -> _T:
        try:
            return await trio.to_thread.run_sync(work)
        except OSError as error:
            raise self.failure(name, error) from error

    def failure(self, name: str, error: OSError) -> DiskFailed:
        """What to raise when writing ``name`` failed."""
        if isinstance(error, _DidNotFit):
            return DiskFull(f"{self.path / name} cannot be written: {error.strerror}")
        return DiskFailed(f"{self.path / name} cannot be written: {error.strerror}; this peer stops, repair the disk")


class _StreamFile:
    """A file under its temporary name."""

    def __init__(self, disk: RealDisk, name: str, fd: int) -> None:
        self.fd = fd
        self._disk = disk
        self._name = name
        self._at = 0

    async def write(self, chunk: bytes) -> None:
        await self._disk._writing(self._name, lambda: _write(self.fd, chunk, self._at))
        self._at += len(chunk)

    async def flush(self) -> None:
        await self._disk._writing(self._name, lambda: os.fsync(self.fd))


class _Appender:
    """One thread that writes and flushes; a thread hand-over per flush would cost four times as much."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[_RealAppendFile, bytes] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, file: "_RealAppendFile", data: bytes) -> None:
        self._jobs.put((file, data))

    def stop(self) -> None:
        """Finish what was put, then end. Blocks."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            file, data = job
            file.flush(data)


class _RealAppendFile:
    """The data goes to the thread, which tells by an eventfd that it has flushed it."""

    def __init__(self, disk: RealDisk, name: str, fd: int, at: int, appender: _Appender) -> None:
        self._disk = disk
        self._name = name
        self._fd = fd
        self._size = at
        self._reserved = at
        self._preallocate = disk.preallocate_bytes
        self._appender = appender
        self._done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._begun = 0
        self._flushed = True
        self._error: OSError | None = None

    @property
    def size(self) -> int:
        return self._size

    @property
    def done(self) -> int:
        return self._done

    async def append(self, data: bytes) -> None:
        self.begin(data)
        # Whoever is cancelled meanwhile still learns whether the data is durable.
        with trio.CancelScope(shield=True):
            await trio.lowlevel.wait_readable(self._done)
        self.finish()

    def begin(self, data: bytes) -> None:
        if not self._flushed:
            # After a failed flush the kernel may have dropped the pages and forgotten the error: never again.
            raise DiskFailed(f"{self._disk.path / self._name} failed before and takes no more")
        self._flushed = False
        self._begun = len(data)
        self._appender.put(self, data)

    def finish(self) -> None:
        os.eventfd_read(self._done)
        if not self._flushed:
            raise self._disk.failure(self._name, self._error or OSError(errno.EIO, "the log thread ended"))
        self._size += self._begun

    def flush(self, data: bytes) -> None:
        """On the thread: make ``data`` durable behind what is there."""
        try:
            self._reserve(self._size + len(data))
            _write(self._fd, data, self._size)
            if self._disk.force_sync:
                os.fdatasync(self._fd)
            self._flushed = True
        except OSError as error:
            self._error = error
        finally:
            os.eventfd_write(self._done, 1)

    def _reserve(self, end: int) -> None:
        if self._preallocate <= 0 or end + PREALLOCATE_MARGIN_BYTES <= self._reserved:
            return
        reserved = self._reserved
        while reserved < end + PREALLOCATE_MARGIN_BYTES:
            reserved += self._preallocate
        if _free(self._disk.path) - (reserved - self._reserved) < self._disk.keep_free_bytes:
            self._preallocate = 0
            return
        try:
            os.posix_fallocate(self._fd, self._size, reserved - self._size)
            self._reserved = reserved
        except OSError as error:
            if error.errno not in _NO_PREALLOCATION:
                raise
            # Full, or a file system that cannot: each flush then writes the file's length as well.
            self._preallocate = 0
            if error.errno in _NO_SPACE:
                # Some of it may have been granted, and others need it more.
                os.ftruncate(self._fd, max(self._reserved, self._size))

    async def aclose(self) -> None:
        if self._fd < 0:
            await trio.lowlevel.checkpoint()
            return
        fd, self._fd = self._fd, -1

        def close() -> None:
            try:
                if self._flushed and self._reserved > self._size:
                    os.ftruncate(fd, self._size)
            finally:
                os.close(fd)
                os.close(self._done)

        with trio.move_on_after(CLEANUP_LIMIT_S, shield=True):
            await self._disk._writing(self._name, close)


def _lock(path: Path) -> int:
    """Make the directory and take its lock; the descriptor holds it."""
    try:
        if not path.is_dir():
            path.mkdir(parents=True)
            _sync_dir(path.parent)
        fd = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be used: {error.strerror}; make it a directory that this user may write to, or choose "
            "another data directory"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        why = f"is in use by process {holder}" if error.errno == errno.EWOULDBLOCK else f"has no lock: {error.strerror}"
        os.close(fd)
        raise StorageError(f"{path} {why}; stop that server or choose another data directory") from None
    os.ftruncate(fd, 0)
    with suppress(_DidNotFit):  # It only tells a second server whom to stop.
        _write(fd, b"%d\n" % os.getpid(), 0)
    return fd


def _sync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(path: Path, at: int = 0, size: int | None = None) -> bytes:
    with open(path, "rb") as file:
        file.seek(at)
        return file.read(-1 if size is None else size)


class _DidNotFit(OSError):
    """There was no space for a file or for what was written to it, and no flush has been asked for it."""


def _free(path: Path) -> int:
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize


def _open_new(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unless_full(error) from None


def _write(fd: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    try:
        while rest:
            written = os.pwrite(fd, rest, at)
            rest = rest[written:]
            at += written
    except OSError as error:
        raise _unless_full(error) from None


def _unless_full(error: OSError) -> OSError:
    return _DidNotFit(error.errno, error.strerror) if error.errno in _NO_SPACE else error
