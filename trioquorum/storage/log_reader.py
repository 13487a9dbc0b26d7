"""Reading the transaction log back, file after file, a bounded piece at a time."""

from collections.abc import Mapping, Sequence
from typing import Final, Self

import trio

from trioquorum.errors import CorruptLog, PeerProtocolError
from trioquorum.storage.disk import Disk
from trioquorum.storage.log_format import HEADER, MAGIC, SECTOR_BYTES, Stop, before, parse_records

CHUNK_BYTES: Final = 64 << 10
"""Small enough that parsing a piece full of small records holds the loop for about a millisecond."""

COUNTER_MASK: Final = 0xFFFFFFFF

Record = tuple[int, bytes]
"""zxid and payload."""


def follows(zxid: int, last: int) -> bool:
    """Whether ``zxid`` comes right after ``last``: the next one, or the first of a higher epoch."""
    return zxid == last + 1 or (zxid >> 32 > last >> 32 and zxid & COUNTER_MASK == 1)


class FileReader:
    """The records of one log file. ``at`` is the offset behind the last record that was read, ``before`` the zxid that
    the file follows (0: it does not say), known once something was read.

    ``size`` bounds what is read; without it the file is read to its end.
    """

    def __init__(self, disk: Disk, name: str, size: int | None = None) -> None:
        self.name = name
        self.at = len(HEADER)
        self.before = 0
        self.stop: Stop | None = None
        self._disk = disk
        self._size = size
        self._need = 0

    async def next_batch(self) -> list[Record]:
        """The next records in order; empty only at the end of the file, and then ``stop`` is END or TORN.

        Raises:
            CorruptLog: damage; names file, offset and zxid.
        """
        if self._size is None:
            self._size = await self._disk.size(self.name)
        while self.stop is None:
            base = 0 if self.at == len(HEADER) else self.at // SECTOR_BYTES * SECTOR_BYTES
            wanted = max(CHUNK_BYTES, self._need + SECTOR_BYTES)
            data = await self._disk.read_at(self.name, base, min(wanted, self._size - base))
            try:
                if base == 0 and data[: len(MAGIC)] != MAGIC:
                    raise CorruptLog("it does not begin like a log")
                if base == 0:
                    self.before = before(data)
                whole = base + len(data) >= self._size
                parsed = parse_records(data, self.at - base, whole=whole, base=base)
            except (CorruptLog, PeerProtocolError) as error:
                raise CorruptLog(
                    f"{self.name} is damaged: {error}; restore it, or start this peer with --resync, which "
                    "takes everything from the others"
                ) from None
            self.at = base + parsed.at
            self._need = parsed.need
            if parsed.stop is not Stop.MORE:
                self.stop = parsed.stop
            if parsed.records:
                return parsed.records
        await trio.lowlevel.checkpoint()
        return []


class LogReader:
    """``async for batch in reader``: lists of (zxid, payload), in order and without a gap.

    Raises:
        CorruptLog: damage, or transactions are missing between two records.
        StorageError: a file went away meanwhile.
    """

    def __init__(
        self, disk: Disk, files: Sequence[str], sizes: Mapping[str, int], zxid: int, *, with_predecessor: bool
    ) -> None:
        """Reads ``files`` from behind ``zxid`` on, and with ``with_predecessor`` the newest record up to it too."""
        self._disk = disk
        self._files = list(reversed(files))
        self._sizes = sizes
        self._zxid = zxid
        self._held: list[Record] = []
        self._with_predecessor = with_predecessor
        self._last = None if with_predecessor else zxid
        self._file: FileReader | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Record]:
        while True:
            if self._file is None:
                if not self._files:
                    break
                name = self._files.pop()
                self._file = FileReader(self._disk, name, self._sizes.get(name))
            batch = await self._file.next_batch()
            last = self._held[-1][0] if self._held else self._last
            if not batch:
                self._file = None
            elif wanted := self._select(batch):
                if last is not None and last < self._file.before:
                    raise _hole(last, batch[0][0])
                self._check(wanted)
                return wanted
        await trio.lowlevel.checkpoint()
        if not self._held:
            raise StopAsyncIteration
        held, self._held = self._held, []
        return held

    def _select(self, batch: list[Record]) -> list[Record]:
        if self._zxid < batch[0][0]:
            wanted = self._held + batch
            self._held = []
            return wanted
        behind = next((i for i, record in enumerate(batch) if record[0] > self._zxid), len(batch))
        if self._with_predecessor:
            if behind == len(batch):
                self._held = batch[-1:]
                return []
            return batch[behind - 1 :]
        return batch[behind:]

    def _check(self, records: list[Record]) -> None:
        last = self._last
        for zxid, _ in records:
            if last is not None and not follows(zxid, last):
                raise _hole(last, zxid)
            last = zxid
        self._last = last


def _hole(last: int, zxid: int) -> CorruptLog:
    return CorruptLog(
        f"the log has nothing between 0x{last:x} and 0x{zxid:x}; restore the missing file, or start this peer with "
        "--resync, which takes everything from the others"
    )
