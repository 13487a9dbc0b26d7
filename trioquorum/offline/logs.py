"""Log files, read without a server: each record with its place, and what is wrong with a file."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import trio

from trioquorum.errors import CorruptLog, PeerProtocolError
from trioquorum.events import Events
from trioquorum.offline.folder import Folder
from trioquorum.storage.log_format import HEADER, RECORD_OVERHEAD_BYTES, Stop
from trioquorum.storage.log_reader import FileReader, follows
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid, zxid_of
from trioquorum.storage.txn_log import TxnLog
from trioquorum.wire.txn import decode_txn


class Place(msgspec.Struct, frozen=True):
    """A record: its file, its offset there, its zxid and its payload."""

    file: Path
    at: int
    zxid: int
    payload: bytes


class FileReport(msgspec.Struct, kw_only=True):
    """What one log file holds. ``problem`` is empty when it is all right; a torn end is no problem of the last file."""

    file: str
    records: int = 0
    first_zxid: int = 0
    last_zxid: int = 0
    bytes_used: int = 0
    bytes_total: int = 0
    torn: bool = False
    problem: str = ""


class Records:
    """The records of one file, some at a time, in order."""

    def __init__(self, file: Path) -> None:
        self.reader = FileReader(Folder(file.parent), file.name)  # type: ignore[arg-type]  # it reads only
        self._file = file
        self._at = len(HEADER)

    async def next_places(self) -> list[Place]:
        """The next ones; none at the end.

        Raises:
            CorruptLog: damage; names file, offset and zxid.
        """
        places = []
        for zxid, payload in await self.reader.next_batch():
            places.append(Place(self._file, self._at, zxid, payload))
            self._at += len(payload) + RECORD_OVERHEAD_BYTES
        return places


async def verify(files: Sequence[Path], read: Callable[[int], object] = lambda _: None) -> list[FileReport]:
    """Check every record of ``files``, oldest file first: checksums, content, the order and holes between zxids.

    ``read`` is told how many bytes are done.
    """
    reports = []
    last = 0
    for number, file in enumerate(files):
        report = await _verify(file, last, files[:number], is_last=number == len(files) - 1)
        last = report.last_zxid or last
        read(report.bytes_total)
        reports.append(report)
    await trio.lowlevel.checkpoint()
    return reports


async def _verify(file: Path, last: int, earlier: Sequence[Path], *, is_last: bool) -> FileReport:
    await trio.lowlevel.checkpoint()
    report = FileReport(file=file.name, bytes_total=file.stat().st_size)
    folder = Folder(file.parent)
    if is_last and await TxnLog(folder, Events())._never_begun(file.name):  # type: ignore[arg-type]  # it reads only
        return report  # A server that starts removes it.
    reader = FileReader(folder, file.name)  # type: ignore[arg-type]  # it reads only
    try:
        while batch := await reader.next_batch():
            if not report.records:
                report.problem = _missing(file, last, reader.before, batch[0][0], earlier)
            for zxid, payload in batch:
                decode_txn(payload)
                if last and not follows(zxid, last) and not _bridged(file, last, zxid):
                    report.problem = report.problem or f"{zxid:#x} stands behind {last:#x}"
                last = zxid
            report.first_zxid = report.first_zxid or batch[0][0]
            report.records += len(batch)
            report.last_zxid = last
    except (CorruptLog, PeerProtocolError) as error:
        report.problem = str(error)
    report.bytes_used = reader.at
    report.torn = reader.stop is Stop.TORN
    if report.torn and not is_last and not report.problem:
        report.problem = f"it ends in half a record at {reader.at}, and another file follows"
    return report


def _missing(file: Path, last: int, before: int, first: int, earlier: Sequence[Path]) -> str:
    """What is wrong in front of ``first``, the first record of a file that follows ``before``, as its header says.

    ``last`` is the last record of the ``earlier`` files, 0 without any.
    """
    if last:
        if last >= before or _bridged(file, max(last, before), first):
            return ""
        return f"it follows {before:#x}, but the file before it ends at {last:#x}"
    beside = {other.name for other in file.parent.iterdir()} - {other.name for other in earlier}
    begins = zxid_of(file.name, LOG) or 0
    # Without snapshots beside it, as where logs have a folder of their own, nothing shows what it should follow.
    older = any(zxid < begins for zxid, _ in sorted_by_zxid(beside, LOG))
    if older or not sorted_by_zxid(beside, SNAPSHOT) or _bridged(file, before, first):
        return ""
    return f"it begins with {first:#x} and follows {max(before, first - 1):#x}, but no snapshot leads there"


def _bridged(file: Path, last: int, zxid: int) -> bool:
    """Whether a snapshot beside ``file`` leads from ``last`` to ``zxid``: it came from a leader, the log did not."""
    taken = sorted_by_zxid([other.name for other in file.parent.iterdir()], SNAPSHOT)
    return any(found >= last and (found >= zxid or follows(zxid, found)) for found, _ in taken)
