"""The transaction log: files ``log.<first zxid>``, appended to by one writer, read back after a crash."""

from collections.abc import Sequence

import trio

from trioquorum.events import Events, LogTruncated, TornTailCut
from trioquorum.storage.disk import AppendFile, Disk
from trioquorum.storage.files import PromptFile
from trioquorum.storage.log_format import FRONT, HEADER, RECORD_OVERHEAD_BYTES, Stop, encode_records, header
from trioquorum.storage.log_reader import CHUNK_BYTES, FileReader, LogReader
from trioquorum.storage.names import LOG, file_name, sorted_by_zxid
from trioquorum.wire.txn import payload_zxid


class TxnLog:
    """One log directory. ``recover`` comes first; ``append``, ``roll`` and ``truncate`` never run at once.

    ``last_zxid`` is that of the last durable record, 0 without one. ``base`` is that of a snapshot whose history was
    never logged here; a file that begins says what it follows, so that a hole in front of it is seen.
    """

    def __init__(self, disk: Disk, events: Events) -> None:
        self.last_zxid = 0
        self.base = 0
        self.disk = disk
        self._events = events
        self._file: AppendFile | None = None
        self._name = ""
        self._end = 0
        self._begun_zxid = 0

    # Reading

    async def recover(self) -> int:
        """Find the end of the log, cutting off what a crash left half-written; returns ``last_zxid``.

        Raises:
            CorruptLog: the last file is damaged elsewhere than at its very end.
        """
        await self._forget_file()
        self.last_zxid = 0
        files = await self._files()
        if files and await self._never_begun(files[-1][1]):
            await self.disk.remove(files.pop()[1])
        if not files:
            return 0
        name = files[-1][1]
        reader = await self._read_file(name)
        size = await self.disk.size(name)
        # Also what was read whole may be on no disk yet: a process that was killed between write and flush left it to
        # the page cache, and this peer is about to vote with it. Cutting flushes.
        await self.disk.truncate(name, reader.at)
        if reader.stop is Stop.TORN:
            self._events.emit(TornTailCut(file=name, offset=reader.at, bytes_cut=size - reader.at))
        self._name, self._end = name, reader.at
        while not self.last_zxid and len(files) > 1:
            # The last file has a header and no record yet: the newest one is in an older file.
            files.pop()
            await self._read_file(files[-1][1])
        return self.last_zxid

    async def _read_file(self, name: str) -> FileReader:
        reader = FileReader(self.disk, name)
        while batch := await reader.next_batch():
            self.last_zxid = batch[-1][0]
        return reader

    async def _never_begun(self, name: str) -> bool:
        """Whether a crash came before the first flush of the last file: part of a header, then zeros at most."""
        size = await self.disk.size(name)
        start = await self.disk.read_at(name, 0, len(HEADER))
        if start.startswith(FRONT):
            return size < len(HEADER)
        if not FRONT.startswith(start.rstrip(b"\0")):
            return False
        for at in range(len(HEADER), size, CHUNK_BYTES):
            if any(await self.disk.read_at(name, at, CHUNK_BYTES)):
                return False
        return True

    async def _files(self) -> list[tuple[int, str]]:
        return sorted_by_zxid(await self.disk.list(), LOG)

    async def _files_from(self, zxid: int) -> list[str]:
        """Every file that may hold records behind ``zxid``, oldest first, and the one that may hold ``zxid``."""
        files = await self._files()
        first = sum(1 for start, _ in files[1:] if start <= zxid)
        return [name for _, name in files[first:]]

    async def read_after(self, zxid: int) -> LogReader:
        """Every durable record behind ``zxid``; the first one is the next after it, or begins a higher epoch."""
        return await self._reader(zxid, with_predecessor=False)

    async def read_from(self, zxid: int) -> LogReader:
        """The newest record at or before ``zxid``, if there is one, and every durable record behind it."""
        return await self._reader(zxid, with_predecessor=True)

    async def _reader(self, zxid: int, *, with_predecessor: bool) -> LogReader:
        files = await self._files_from(zxid)
        sizes = self._sizes()
        begun = [name for name in files if sizes.get(name) != 0]
        return LogReader(self.disk, begun, sizes, zxid, with_predecessor=with_predecessor)

    def _sizes(self) -> dict[str, int]:
        """What may be read of the file that is being appended to: not what is still on its way to the disk."""
        return {self._name: self._end} if self._name else {}

    async def size_from(self, zxid: int) -> int:
        """Bytes of the file that may hold ``zxid`` and of all later ones."""
        sizes = self._sizes()
        total = 0
        for name in await self._files_from(zxid):
            total += sizes[name] if name in sizes else await self.disk.size(name)
        return total

    # Writing

    async def append(self, payloads: Sequence[bytes]) -> None:
        """Make these transactions durable with one write and one flush.

        Raises:
            DiskFailed: it is unknown what is on disk; the peer stops.
        """
        data = encode_records(payloads)
        if self._file is None:
            if self._name:
                self._file = await self.disk.open_append(self._name, self._end)
            else:
                self._name, self._end = file_name(LOG, payload_zxid(payloads[0])), 0
                self._file = await self.disk.create(self._name)
                data = header(max(self.last_zxid, self.base)) + data
        await self._file.append(data)
        self._end = self._file.size
        self.last_zxid = payload_zxid(payloads[-1])

    @property
    def prompt(self) -> PromptFile | None:
        """The open file, if it can be appended to by ``begin``."""
        return self._file if isinstance(self._file, PromptFile) else None

    def begin(self, file: PromptFile, payloads: Sequence[bytes]) -> None:
        """``append`` without a wait, to what ``prompt`` gave; ``finish`` comes before anything else.

        Raises:
            DiskFailed: an earlier flush failed.
        """
        file.begin(encode_records(payloads))
        self._begun_zxid = payload_zxid(payloads[-1])

    def finish(self, file: PromptFile) -> None:
        """``file.done`` is readable: the transactions are durable.

        Raises:
            DiskFailed: it is unknown what is on disk; the peer stops.
        """
        file.finish()
        self._end = file.size
        self.last_zxid = self._begun_zxid

    async def roll(self) -> None:
        """Let the next append begin a new file, unless the present one has no record yet."""
        if self._end > len(HEADER):
            await self._forget_file()
        else:
            await trio.lowlevel.checkpoint()

    async def _forget_file(self) -> None:
        file, self._file = self._file, None
        self._name, self._end = "", 0
        if file is not None:
            await file.aclose()
        else:
            await trio.lowlevel.checkpoint()

    async def truncate(self, zxid: int) -> None:
        """Remove every record behind ``zxid``, durably. A failure is fatal: half a history must not be served.

        Raises:
            CorruptLog, DiskFailed: it could not be done.
        """
        await self._forget_file()
        files = await self._files()
        # Newest first: whatever a crash leaves is a history without a hole.
        while files and files[-1][0] > zxid:
            await self.disk.remove(files.pop()[1])
        self.last_zxid = 0
        if files:
            name = files[-1][1]
            self._end = await self._cut(name, zxid)
            self._name = name
        while not self.last_zxid and len(files) > 1:
            files.pop()
            await self._read_file(files[-1][1])
        self._events.emit(LogTruncated(zxid=zxid))

    async def _cut(self, name: str, zxid: int) -> int:
        """Cut one file before its first record behind ``zxid``; returns its new size."""
        reader = FileReader(self.disk, name)
        end = len(HEADER)
        while batch := await reader.next_batch():
            kept = [record for record in batch if record[0] <= zxid]
            if kept:
                self.last_zxid = kept[-1][0]
                end += sum(len(payload) + RECORD_OVERHEAD_BYTES for _, payload in kept)
            if len(kept) < len(batch):
                break
        await self.disk.truncate(name, end)
        return end

    async def aclose(self) -> None:
        """Let go of the open file."""
        await self._forget_file()
