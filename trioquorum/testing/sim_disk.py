"""A disk in memory that fails as disks do, at moments and in ways that a seed decides.

It promises what ``RealDisk`` promises and nothing more: what a call that has returned made durable stays; what was
under way in a crash is done, undone, or half done where files show that; temporary files exist and may be left behind.
"""

import errno
import os
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from random import Random
from struct import Struct
from typing import Final

import msgspec
import trio

from trioquorum.errors import DiskFailed, DiskFull, PeerProtocolError, StorageError
from trioquorum.invariants import invariant
from trioquorum.storage.disk import TEMPORARY, AtomicFile
from trioquorum.storage.log_format import FRONT, HEADER, MAGIC, parse_records
from trioquorum.storage.memory_disk import FREE_BYTES, Effect, Files, MemoryDisk
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid, zxid_of

ZEROS_BYTES_MAX: Final = 8192
"""Preallocated space is longer in life, but readers look no further than they must."""

_FRONT: Final = Struct(">qi")  # as in log_format


class DiskFaults(msgspec.Struct, kw_only=True):
    """How bad a disk is; may be changed at any time. Rates are probabilities from 0 to 1; all faults are off at first.

    A flush takes the disk's ``flush_latency_s``, and ``flush_extra_s`` more on average, exponentially distributed; at
    ``stall_rate`` it stalls for up to ``stall_s`` as well, and at ``fail_rate`` it fails in the end. Files may take
    ``capacity_bytes``.

    In a crash some of an append under way arrived at ``torn_rate``, and at ``garbage_rate`` there is garbage where the
    rest of a record should be; another change under way is done at ``done_rate``; a file whose writing was not
    flushed is there, at any length, at ``unfinished_rate``; a log goes on with zeros that were preallocated at
    ``zeros_rate``.
    """

    flush_extra_s: float = 0.0
    stall_rate: float = 0.0
    stall_s: float = 0.0
    fail_rate: float = 0.0
    capacity_bytes: int = FREE_BYTES
    torn_rate: float = 0.0
    garbage_rate: float = 0.0
    done_rate: float = 0.0
    unfinished_rate: float = 0.0
    zeros_rate: float = 0.0


class Damage(msgspec.Struct, frozen=True):
    """What rot hit: a bit of the byte at ``offset``, or all of ``file`` without an offset.

    ``needed`` is false where recovery does without: then everything is as before, or the peer refuses to start.
    """

    file: str
    offset: int | None
    needed: bool


class _Change(msgspec.Struct, eq=False):
    """A change under way: either has an effect as a whole, or appends ``data``."""

    name: str
    effect: Effect | None = None
    data: bytes = b""


class SimDisk(MemoryDisk):
    """A ``Disk`` with ``faults``, which strike as ``rng`` draws; each that does is counted in ``counts`` by its kind.

    After a change that failed the files are as they might be; a peer that starts anew may use the same disk. ``crash``
    gives the one that the restarted machine finds, with the same faults, randomness and counts. ``archive`` is given
    every transaction that is logged, by zxid, and keeps it whatever becomes of the log.
    """

    def __init__(
        self,
        rng: Random,
        faults: DiskFaults,
        counts: Counter[str],
        files: Mapping[str, bytes] | None = None,
        *,
        flush_latency_s: float = 0.0,
        archive: dict[int, bytes] | None = None,
    ) -> None:
        super().__init__(files, flush_latency_s=flush_latency_s)
        self.archive = archive
        self.faults = faults
        self.counts = counts
        self._rng = rng
        self._power_off = trio.Event()
        self._under_way: list[_Change] = []
        self._unflushed: dict[str, None] = {}  # temporary files; sets that keep their order
        self._appended: dict[str, None] = {}
        self._unlinked: dict[str, bytearray] = {}  # without a flush of the directory since
        self._rotten: dict[str, None] = {}

    async def free_bytes(self) -> int:
        await trio.lowlevel.checkpoint()
        return max(self._room(), 0)

    def _room(self) -> int:
        return self.faults.capacity_bytes - sum(map(len, self.files.values()))

    # Flushes

    def _strikes(self, rate: float, kind: str) -> bool:
        if rate <= 0 or self._rng.random() >= rate:
            return False
        self.counts[kind] += 1
        return True

    async def flush(self, name: str, size: int) -> None:
        del size
        self._check(name)
        faults = self.faults
        latency_s = self.flush_latency_s
        if faults.flush_extra_s > 0:
            latency_s += self._rng.expovariate(1 / faults.flush_extra_s)
        if self._strikes(faults.stall_rate, "flush stalled"):
            latency_s += self._rng.uniform(0.0, faults.stall_s)
        if latency_s:
            with trio.move_on_after(latency_s):
                await self._power_off.wait()
        else:
            await trio.lowlevel.checkpoint()
        self._check(name)
        if self._strikes(self.faults.fail_rate, "flush failed"):
            raise _failure(name, errno.EIO)

    async def change(self, name: str, size: int, effect: Effect) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._perform(_Change(name, effect), size)
        self._placed(name)

    def _placed(self, name: str) -> None:
        """The change of ``name`` is over, and with it the directory was flushed."""
        self._unlinked.clear()
        self._rotten.pop(name, None)
        self._changed(name)

    async def _perform(self, change: _Change, size: int) -> None:
        """A thread cannot be cancelled: whatever was begun is carried through, as by ``RealDisk``."""
        self._under_way.append(change)
        try:
            with trio.CancelScope(shield=True):
                await self.flush(change.name, size)
        except DiskFailed:
            if not self.crashed:
                self._interrupt(change, self.files)
                self._changed(change.name)
            raise
        finally:
            self._under_way.remove(change)
        if change.effect is not None:
            change.effect(self.files)
        else:
            self.files[change.name] += change.data

    async def append(self, name: str, data: bytes) -> None:
        if self.archive is not None:
            self._keep(name, data)
        room = self._room()
        if len(data) > room:
            await trio.lowlevel.checkpoint()
            self.files[name] += data[: max(room, 0)]
            raise self._full(name)
        self._appended[name] = None
        await self._perform(_Change(name, data=data), len(data))

    def _keep(self, name: str, data: bytes) -> None:
        assert self.archive is not None
        begun = 0 if self.files[name] else len(HEADER)
        for zxid, payload in parse_records(data, begun, whole=True).records:
            known = self.archive.setdefault(zxid, payload)
            invariant(known == payload, "one transaction bears a zxid", zxid=zxid, logged=payload, known=known)

    # Whole files, by way of temporary ones

    async def write_atomic(self, name: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        temporary = f"{name}.tmp"
        self.begin(temporary)
        self.extend(temporary, data)
        await self._perform(_Change(name, lambda files: _rename(files, temporary, name)), len(data))
        self._renamed(temporary, name)

    @asynccontextmanager
    async def stream_atomic(self, name: str) -> AsyncGenerator[AtomicFile, None]:
        temporary = f"{TEMPORARY}{name}"
        await trio.lowlevel.checkpoint()
        self.begin(temporary)
        done = False
        try:
            yield _SimStream(self, temporary)
            size = len(self.files[temporary])
            await trio.lowlevel.checkpoint_if_cancelled()
            await self._perform(_Change(name, lambda files: _rename(files, temporary, name)), size)
            self._renamed(temporary, name)
            done = True
        finally:
            if not (done or self.crashed) and temporary in self.files:
                self._unlinked[temporary] = self.files.pop(temporary)

    def begin(self, temporary: str) -> None:
        """Make an empty file, or empty it; nothing is flushed."""
        self._check(temporary)
        self.files[temporary] = bytearray()
        self._unflushed[temporary] = None

    def extend(self, temporary: str, data: bytes) -> None:
        """Write without a flush.

        Raises:
            DiskFull: not all of it fits.
        """
        self._check(temporary)
        room = max(self._room(), 0)
        self.files[temporary] += data[:room]
        if len(data) > room:
            raise self._full(temporary)

    def _renamed(self, temporary: str, name: str) -> None:
        self._unflushed.pop(temporary, None)
        self._placed(name)

    def _full(self, name: str) -> DiskFull:
        self.counts["disk full"] += 1
        return DiskFull(f"{name} cannot be written: {os.strerror(errno.ENOSPC)}")

    # Crashes

    def crash(self, torn_bytes: int = 0) -> "SimDisk":
        """Power loss, as ``MemoryDisk.crash``; how much of an append arrived is drawn, whatever ``torn_bytes`` says."""
        del torn_bytes
        self.crashed = True
        self._power_off.set()
        files = {name: bytearray(data) for name, data in self.files.items()}
        for change in self._under_way:
            self._interrupt(change, files)
        for name in self._unflushed:
            if name not in files:
                continue
            if self._strikes(self.faults.unfinished_rate, "unfinished file left"):
                del files[name][self._rng.randint(0, len(files[name])) :]
            else:
                del files[name]
        for name, data in self._unlinked.items():
            if name not in files and self._strikes(self.faults.unfinished_rate, "removed file came back"):
                files[name] = data
        for name in self._appended:
            if name in files and self._strikes(self.faults.zeros_rate, "zeros behind a log"):
                files[name] += bytes(self._rng.randint(1, ZEROS_BYTES_MAX))
        whole = {name: bytes(data) for name, data in files.items()}
        found = SimDisk(
            self._rng,
            self.faults,
            self.counts,
            whole,
            flush_latency_s=self.flush_latency_s,
            archive=self.archive,
        )
        found._rotten = dict(self._rotten)
        return found

    def _interrupt(self, change: _Change, files: Files) -> None:
        """Leave in ``files`` what there is of a change whose flush never came to its end."""
        if change.effect is not None:
            if self._strikes(self.faults.done_rate, "change done unnoticed"):
                change.effect(files)
            return
        if not self._strikes(self.faults.torn_rate, "append torn"):
            return
        data = change.data
        # All of it, and nobody was told: as worthwhile as any other length.
        kept = self._rng.choice((len(data), self._rng.randint(0, len(data))))
        begun = 0 if files[change.name] else len(HEADER)
        files[change.name] += data[:kept]
        missing = _missing_of_record(data, begun, kept)
        # Elsewhere than inside a record whose length has arrived, garbage is what damage looks like too.
        if missing and self._strikes(self.faults.garbage_rate, "garbage in a torn record"):
            files[change.name] += self._rng.randbytes(self._rng.randint(1, missing))

    # Rot, between two lives

    def flip_bit(self, rng: Random) -> Damage | None:
        """Turn one bit of a log or snapshot around, whichever ``rng`` draws; ``None`` when there is no such file.

        To be done while no peer runs on this disk, and only if the others have a quorum without this peer's data.
        """
        names = [name for name in self._data_files() if self.files[name]]
        if not names:
            return None
        name = rng.choice(names)
        file = self.files[name]
        offset = rng.randrange(len(file))
        needed = self._needed(name) and not (zxid_of(name, LOG) is not None and _unread(bytes(file), offset))
        file[offset] ^= 1 << rng.randrange(8)
        self.counts["bit flipped"] += 1
        self._rotten[name] = None
        self._changed(name)
        return Damage(name, offset, needed)

    def lose_file(self, rng: Random) -> Damage | None:
        """Remove a log or snapshot, whichever ``rng`` draws; otherwise as ``flip_bit``."""
        names = self._data_files()
        if not names:
            return None
        name = rng.choice(names)
        damage = Damage(name, None, self._needed(name))
        del self.files[name]
        self.counts["file lost"] += 1
        self._changed(name)
        return damage

    def _data_files(self) -> list[str]:
        return [name for prefix in (SNAPSHOT, LOG) for _, name in sorted_by_zxid(self.files, prefix)]

    def _needed(self, name: str) -> bool:
        """Whether recovery reads the file: it begins with the newest snapshot, or an older one if that is rotten."""
        snapshots = [found for found in sorted_by_zxid(self.files, SNAPSHOT) if found[1] not in self._rotten]
        if not snapshots:
            return True
        newest = snapshots[-1]
        if zxid_of(name, SNAPSHOT) is not None:
            return name == newest[1]
        logs = sorted_by_zxid(self.files, LOG)
        first = sum(1 for start, _ in logs[1:] if start <= newest[0])
        return name in [log for _, log in logs[first:]]


class _SimStream:
    def __init__(self, disk: SimDisk, temporary: str) -> None:
        self._disk = disk
        self._temporary = temporary

    async def write(self, chunk: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._disk.extend(self._temporary, chunk)


def _rename(files: Files, temporary: str, name: str) -> None:
    files[name] = files.pop(temporary)


def _failure(name: str, number: int) -> DiskFailed:
    return DiskFailed(f"{name} cannot be written: {os.strerror(number)}; this peer stops, repair the disk")


def _missing_of_record(data: bytes, at: int, kept: int) -> int:
    """How many bytes in front of the end of the record are missing that ``kept`` bytes of ``data`` tear apart.

    0 if they tear none apart behind its length. The first record is at ``at``.
    """
    while at + _FRONT.size <= kept:
        end = at + _FRONT.size + int(_FRONT.unpack_from(data, at)[1])
        if kept <= end:
            return end - kept
        at = end + 1
    return 0


def _unread(data: bytes, offset: int) -> bool:
    """Whether no reader of a log looks at this byte: the header behind its magic, preallocated space."""
    if offset < len(FRONT):
        return offset >= len(MAGIC)
    try:
        return offset >= parse_records(data, len(HEADER), whole=True).at
    except (StorageError, PeerProtocolError):
        return False
