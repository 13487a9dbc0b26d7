"""The snapshots of a directory: written whole or not at all, the newest good one is loaded (disk-format §4, §5)."""

from typing import Final

import msgspec
import trio

from trioquorum.errors import CorruptSnapshot, StorageError
from trioquorum.events import Events, SnapshotSkipped, SnapshotTaken
from trioquorum.storage.compression import GZIP_MAGIC, SNAPPY_MAGIC, Method, method_of, packer, suffix_of, unpacker
from trioquorum.storage.disk import TEMPORARY, Disk
from trioquorum.storage.names import SNAPSHOT, file_name, sorted_by_zxid
from trioquorum.storage.snapshot import MAGIC, SnapshotDigest, SnapshotParser, snapshot_chunks
from trioquorum.tree.nodes import DataTree, NewTree

CANDIDATES_MAX: Final = 100
READ_BYTES: Final = 32 << 10
"""Small enough that parsing a piece full of small nodes holds the loop for about a millisecond."""

_TAIL: Final = b"\0\0\0\1/"
_SIZE_MIN: Final = 10


class Loaded(msgspec.Struct):
    """A snapshot in memory. ``skipped`` are the zxids of newer ones that could not be used."""

    tree: DataTree
    zxid: int
    digest: SnapshotDigest | None
    skipped: set[int]


async def write_snapshot(
    disk: Disk, tree: DataTree, events: Events, chunk_bytes: int, compression: Method = "", *, exact: bool = True
) -> int:
    """Write the tree as of now, durably, while it goes on changing; returns the zxid it is named by.

    ``exact``: see ``snapshot_chunks``.

    Raises:
        DiskFailed: it could not be written; nothing of it is left.
        StorageError: what ``compression`` needs is not installed.
    """
    began = trio.current_time()
    zxid = tree.last_zxid
    name = file_name(SNAPSHOT, zxid) + suffix_of(compression)
    packing = packer(compression)
    size = 0
    async with disk.stream_atomic(name) as file:
        for chunk in snapshot_chunks(tree, zxid, chunk_bytes, exact=exact):
            for piece in packing.pack(chunk):
                size += len(piece)
                if piece:
                    await file.write(piece)
                else:
                    await trio.lowlevel.checkpoint()
        if end := packing.finish():
            size += len(end)
            await file.write(end)
    # The same transactions under another suffix: an older file, which must not be taken for this one.
    for found, other in sorted_by_zxid(await disk.list(), SNAPSHOT):
        if found == zxid and other != name:
            await disk.remove(other)
    duration_ms = int((trio.current_time() - began) * 1000)
    events.emit(SnapshotTaken(zxid=zxid, size_bytes=size, duration_ms=duration_ms))
    return zxid


async def load_newest(
    disk: Disk, events: Events, new_tree: NewTree = DataTree, zxid_max: int | None = None
) -> Loaded | None:
    """The newest snapshot that is whole, not newer than ``zxid_max``; ``None`` if there is no such file.

    Raises:
        StorageError: there are some, but none can be used, or what one needs to be unpacked is not installed.
    """
    found = sorted_by_zxid(await disk.list(), SNAPSHOT)
    candidates = [(zxid, name) for zxid, name in reversed(found) if zxid_max is None or zxid <= zxid_max]
    skipped: set[int] = set()
    for zxid, name in candidates[:CANDIDATES_MAX]:
        try:
            tree, digest = await _load(disk, name, new_tree())
        except CorruptSnapshot as error:
            events.emit(SnapshotSkipped(file=name, reason=str(error)))
            skipped.add(zxid)
        else:
            tree.last_zxid = zxid
            return Loaded(tree, zxid, digest, skipped)
    if candidates:
        raise StorageError(
            f"none of the {len(candidates)} snapshots can be used; restore one, or start this peer with --resync, "
            "which takes everything from the others"
        )
    return None


async def _load(disk: Disk, name: str, tree: DataTree) -> tuple[DataTree, SnapshotDigest | None]:
    parser = SnapshotParser(tree)
    unpacking = unpacker(name)
    packed = bool(method_of(name))
    at = 0
    while chunk := await disk.read_at(name, at, READ_BYTES):
        at += len(chunk)
        for piece in unpacking.unpack(chunk):
            parser.feed(piece)
            if packed:
                await trio.lowlevel.checkpoint()
    unpacking.finish()
    parser.finish()
    return tree, parser.digest


async def looks_whole(disk: Disk, name: str) -> bool:
    """ZooKeeper's quick check of a snapshot: its first and last bytes."""
    size = await disk.size(name)
    if size < _SIZE_MIN:
        return False
    start = await disk.read_at(name, 0, len(SNAPPY_MAGIC))
    if method := method_of(name):
        return start.startswith(GZIP_MAGIC if method == "gz" else SNAPPY_MAGIC)
    return start.startswith(MAGIC) and await disk.read_at(name, size - len(_TAIL), len(_TAIL)) == _TAIL


async def remove_after(disk: Disk, zxid: int) -> None:
    """Remove snapshots newer than ``zxid``: they hold what was truncated."""
    for found, name in sorted_by_zxid(await disk.list(), SNAPSHOT):
        if found > zxid:
            await disk.remove(name)


async def remove_unfinished(disk: Disk) -> None:
    """Remove what a crash left of a snapshot that was being written."""
    for name in await disk.list():
        if name.startswith(f"{TEMPORARY}{SNAPSHOT}."):
            await disk.remove(name)


async def size_of_newest(disk: Disk) -> int:
    """Bytes of the newest snapshot file, 0 without one."""
    found = sorted_by_zxid(await disk.list(), SNAPSHOT)
    return await disk.size(found[-1][1]) if found else 0
