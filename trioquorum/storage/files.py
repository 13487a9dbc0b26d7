"""What a data directory must be able to do, and the files in it."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable


class AppendFile(Protocol):
    """A file that only grows. One task at a time."""

    @property
    def size(self) -> int:
        """Bytes that were appended and are durable."""

    async def append(self, data: bytes) -> None:
        """Write and flush: durable when it returns. A cancelled caller waits until the flush is over.

        Raises:
            DiskFailed: write or flush failed; the file takes no more.
        """

    async def aclose(self) -> None:
        """Let go of the file. Idempotent."""


@runtime_checkable
class PromptFile(AppendFile, Protocol):
    """A file that can be appended to without a task that waits for the flush."""

    @property
    def done(self) -> int:
        """A descriptor that is readable once the flush that was begun is over, until ``finish``."""

    def begin(self, data: bytes) -> None:
        """Begin to write and flush; ``finish`` comes before the next call.

        Raises:
            DiskFailed: an earlier write or flush failed.
        """

    def finish(self) -> None:
        """What was begun is durable.

        Raises:
            DiskFailed: write or flush failed; the file takes no more.
        """


class AtomicFile(Protocol):
    """A file under construction."""

    async def write(self, chunk: bytes) -> None:
        """Add to it."""


class Disk(Protocol):
    """One folder of plain files. Changes are durable when their call returns.

    Every method raises ``StorageError`` for a file that cannot be read or is not there, and ``DiskFailed`` when a
    write or flush fails: then the peer stops, because what is on disk is no longer known. ``DiskFull`` of them is a
    write that did not fit: what is on disk is known then, or found out as after a crash.
    """

    async def list(self) -> list[str]:
        """Every file, sorted by name."""

    async def size(self, name: str) -> int:
        """Length in bytes, preallocated space included."""

    async def read(self, name: str) -> bytes:
        """All of a small file."""

    async def read_at(self, name: str, at: int, size: int) -> bytes:
        """``size`` bytes from offset ``at``, fewer only at the end of the file."""

    async def write_atomic(self, name: str, data: bytes) -> None:
        """Put a whole small file in place, or leave the old one; ``<name>.tmp`` exists meanwhile."""

    def stream_atomic(self, name: str) -> AbstractAsyncContextManager[AtomicFile]:
        """Write a large file in chunks; it gets its name when the block ends without an error, else it is gone."""

    async def create(self, name: str) -> AppendFile:
        """A new, empty file."""

    async def open_append(self, name: str, at: int) -> AppendFile:
        """Continue a file behind its first ``at`` bytes; what lies there is cut off first."""

    async def truncate(self, name: str, size: int) -> None:
        """Cut a file to ``size`` bytes."""

    async def remove(self, name: str) -> None:
        """Delete a file; one that is not there is fine."""

    async def free_bytes(self) -> int:
        """Space left for us."""

    def used_bytes(self) -> int:
        """What all files take now, preallocated space included; answered at once, for who asks by hand."""
