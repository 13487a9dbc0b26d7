"""ZooKeeper's transaction log file as bytes (disk-format §2): records in, records out, and where a file really ends."""

from collections.abc import Sequence
from enum import Enum
from struct import Struct
from typing import Final
from zlib import adler32

import msgspec
from librt.strings import BytesWriter, write_i32_be, write_i64_be

from trioquorum.errors import CorruptLog
from trioquorum.wire.txn import payload_zxid

HEADER: Final = b"ZKLG\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00"
"""Magic, version 2, database id 0, as ZooKeeper writes it; its readers check the magic alone."""

MAGIC: Final = HEADER[:4]
FRONT: Final = HEADER[:8]
"""What every log begins with, ours too; see ``header``."""

RECORD_BYTES_MAX: Final = 64 << 20
"""No transaction is longer; a longer length is damage."""

END_OF_RECORD: Final = 0x42
SECTOR_BYTES: Final = 512

_FRONT: Final = Struct(">qi")  # Adler-32 of the entry, its length
RECORD_OVERHEAD_BYTES: Final = _FRONT.size + 1
_ENTRY_MIN: Final = 32  # TxnHeader

DOUBT_BYTES: Final = 2 * RECORD_BYTES_MAX
"""How far to look before a record without its end passes for an interrupted write."""


_BEFORE: Final = Struct(">Q")


def header(before: int) -> bytes:
    """A header of ours: in place of the database id, which nobody reads, the zxid that the file follows.

    A lost file or snapshot in front of this one leaves a hole that zxids do not show when an epoch begins here.
    """
    return FRONT + _BEFORE.pack(before)


def before(start: bytes) -> int:
    """The zxid that a log with this header follows; 0 where it does not say."""
    return int(_BEFORE.unpack_from(start, len(FRONT))[0]) if len(start) >= len(HEADER) else 0


class Stop(Enum):
    """Why no further record was read."""

    MORE = "more"  # the data ends, the file goes on: read again from ``at``, ``need`` bytes at least
    END = "end"  # padding, or the end of the file right behind a record
    TORN = "torn"  # a record that was being written when everything stopped


class Parsed(msgspec.Struct, gc=False):
    """Whole records of a piece of a file, the offset behind the last of them, and why they end there."""

    records: list[tuple[int, bytes]]
    at: int
    stop: Stop
    need: int = 0


def encode_records(payloads: Sequence[bytes]) -> bytes:
    """The bytes to append for these transactions."""
    out = BytesWriter()
    for payload in payloads:
        write_i64_be(out, adler32(payload))
        write_i32_be(out, len(payload))
        out.write(payload)
        out.append(END_OF_RECORD)
    return out.getvalue()


def parse_records(data: bytes, at: int = 0, *, whole: bool, base: int = 0) -> Parsed:
    """The records in ``data`` from ``at`` on; ``whole``: the file ends where ``data`` ends.

    ``base`` is the offset of ``data`` in its file, a multiple of a sector.

    A file that was preallocated goes on with zeros behind its last record, and a write that a crash interrupted left
    zeros, or nothing, where its bytes are missing. Anything else that is no record is damage.

    Raises:
        CorruptLog: damage; the message names the offset in the file.
    """
    records: list[tuple[int, bytes]] = []
    size = len(data)
    while True:
        behind = at + _FRONT.size
        if behind > size:
            if not whole:
                return Parsed(records, at, Stop.MORE, _FRONT.size + 1)
            return Parsed(records, at, Stop.TORN if any(data[at:]) else Stop.END)
        checksum, length = _FRONT.unpack_from(data, at)
        if checksum == length == 0:
            return Parsed(records, at, Stop.END)
        if not 0 <= length <= RECORD_BYTES_MAX:
            raise CorruptLog(f"a record of {length} bytes at {base + at}")
        end = behind + length
        if not whole and end >= size:
            return Parsed(records, at, Stop.MORE, RECORD_OVERHEAD_BYTES + length)
        if not length or end >= size or data[end] != END_OF_RECORD:
            if not whole and size - at < DOUBT_BYTES:
                return Parsed(records, at, Stop.MORE, DOUBT_BYTES)
            _check_torn(data, at, length, base)
            return Parsed(records, at, Stop.TORN)
        payload = data[behind:end]
        if adler32(payload) != checksum or length < _ENTRY_MIN:
            raise CorruptLog(f"the checksum of the record at {base + at} is wrong, {_named(payload)}")
        records.append((payload_zxid(payload), payload))
        at = end + 1


def last_record(data: bytes | bytearray, zxid: int = 0, at: int = 0) -> tuple[int, int]:
    """zxid of the last whole record of a file that is all right, and the offset behind it; 0 without one.

    Pass what it returned to look at no more than what was appended since. Checksums are not looked at.
    """
    at = at or len(HEADER)
    size = len(data)
    while at + RECORD_OVERHEAD_BYTES + _ENTRY_MIN <= size:
        _, length = _FRONT.unpack_from(data, at)
        end = at + _FRONT.size + length
        if length < _ENTRY_MIN or end >= size or data[end] != END_OF_RECORD:
            break
        zxid = payload_zxid(bytes(data[at + _FRONT.size : at + _FRONT.size + _ENTRY_MIN]))
        at = end + 1
    return zxid, at


def _named(payload: bytes) -> str:
    return f"zxid 0x{payload_zxid(payload) & 0xFFFFFFFFFFFFFFFF:x}" if len(payload) >= _ENTRY_MIN else "zxid unknown"


def _check_torn(data: bytes, at: int, length: int, base: int) -> None:
    """Refuse a record without its end that no interrupted write explains.

    Damage to a length must not pass for a crash, for everything behind it would be dropped without a word.

    Raises:
        CorruptLog: bytes follow where zeros should, whole records lie inside, or another length makes it whole.
    """
    end = at + _FRONT.size + length
    if end < len(data):
        sector_end = (end // SECTOR_BYTES + 1) * SECTOR_BYTES
        if any(data[end:sector_end]):
            raise CorruptLog(f"the record at {base + at} has no end, and more follows")
    checksum = _FRONT.unpack_from(data, at)[0]
    if any(_is_entry(data, at, checksum, length ^ 1 << bit) for bit in range(RECORD_BYTES_MAX.bit_length())):
        raise CorruptLog(f"the record at {base + at} has a wrong length, {length}")
    inside = data[at:end].rstrip(b"\0")
    start = -1
    # The end of a record and the four zeros that every checksum begins with: few places have to be looked at closely.
    while (start := inside.find(b"B\0\0\0\0", start + 1)) >= 0:
        front_at = at + start + 1
        if front_at + _FRONT.size <= end and _is_entry(data, front_at, *_FRONT.unpack_from(data, front_at)):
            raise CorruptLog(f"the record at {base + at} has no end, and records follow")


def _is_entry(data: bytes, at: int, checksum: int, length: int) -> bool:
    """Whether the record at ``at`` is whole if its length is ``length``."""
    start = at + _FRONT.size
    end = start + length
    if not _ENTRY_MIN <= length <= RECORD_BYTES_MAX or end >= len(data) or data[end] != END_OF_RECORD:
        return False
    return adler32(memoryview(data)[start:end]) == checksum
