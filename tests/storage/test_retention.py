"""What may be removed, and what recovery still needs (disk-format §6)."""

import pytest

from tests.storage.kit import Heard, content, creates, load
from trioquorum.events import FilesPurged
from trioquorum.limits import Limits
from trioquorum.storage.log_format import HEADER, encode_records
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.retention import purge
from trioquorum.storage.snapshot import snapshot_chunks
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.txn import decode_txn

LOGS = {1: (1, 5), 6: (6, 6), 7: (7, 12), 13: (13, 14)}


def directory(*snapshots: int) -> MemoryDisk:
    """Logs of fourteen transactions, and snapshots at these zxids."""
    disk = MemoryDisk()
    tree = DataTree()
    for zxid, payload in [(0, b""), *creates(range(1, 15))]:
        if zxid:
            tree.apply(decode_txn(payload))
        if zxid in snapshots:
            disk.files[f"snapshot.{zxid:x}"] = bytearray(b"".join(snapshot_chunks(tree, zxid, 9999)))
    for start, (first, last) in LOGS.items():
        payloads = [payload for _, payload in creates(range(first, last + 1))]
        disk.files[f"log.{start:x}"] = bytearray(HEADER + encode_records(payloads))
    return disk


@pytest.mark.parametrize(
    ("snapshots", "keep", "left"),
    [
        ((0, 3, 6, 8), 3, "log.1 log.6 log.7 log.d snapshot.3 snapshot.6 snapshot.8"),
        ((0, 3, 6, 8), 2, "log.6 log.7 log.d snapshot.6 snapshot.8"),
        ((0, 3, 6, 8), 1, "log.7 log.d snapshot.8"),
        ((0, 5, 14), 1, "log.d snapshot.e"),
        ((0, 5, 14), 2, "log.1 log.6 log.7 log.d snapshot.5 snapshot.e"),
        ((0,), 3, "log.1 log.6 log.7 log.d snapshot.0"),
        ((), 3, "log.1 log.6 log.7 log.d"),
    ],
)
async def test_purge(snapshots: tuple[int, ...], keep: int, left: str) -> None:
    disk = directory(*snapshots)
    before = set(disk.files)
    heard = Heard()
    await purge(disk, disk, keep, heard.events)
    assert " ".join(sorted(disk.files)) == left
    gone = {file for event in heard.of(FilesPurged) for file in event.files}
    assert gone == before - set(disk.files)
    if snapshots:
        db = await load(disk)
        assert content(db.tree) == content((await load(directory(0))).tree)


@pytest.mark.parametrize("damaged", [b"", b"ZKSN" + bytes(100), b"XXXX" + bytes(100) + b"\0\0\0\1/"])
async def test_a_bad_snapshot_does_not_push_a_good_one_out(damaged: bytes) -> None:
    disk = directory(3, 6)
    disk.files["snapshot.8"] = bytearray(damaged)
    disk.files["snapshot.9"] = bytearray(damaged)
    await purge(disk, disk, 1, Heard().events)
    assert "snapshot.6" in disk.files
    assert "snapshot.3" not in disk.files
    assert (await load(disk)).last_zxid == 14


async def test_compressed_snapshots_count_by_their_magic() -> None:
    disk = directory(3)
    disk.files["snapshot.6.gz"] = bytearray(b"\x1f\x8b" + bytes(99))
    disk.files["snapshot.8.snappy"] = bytearray(b"\x82SNAPPY\0" + bytes(99))
    disk.files["snapshot.9.gz"] = bytearray(b"\0\0" + bytes(99))
    disk.files["snapshot.a.snappy"] = bytearray(b"\x82SNAPPX\0" + bytes(99))
    await purge(disk, disk, 2, Heard().events)
    assert sorted(name for name in disk.files if name.startswith("snapshot")) == [
        "snapshot.6.gz", "snapshot.8.snappy", "snapshot.9.gz", "snapshot.a.snappy",
    ]  # fmt: skip


async def test_two_directories_and_the_database() -> None:
    both = directory(0, 6, 8)
    snapshots = MemoryDisk({name: bytes(data) for name, data in both.files.items() if name.startswith("snap")})
    logs = MemoryDisk({name: bytes(data) for name, data in both.files.items() if name.startswith("log")})
    db = await load(snapshots, logs, limits=Limits())
    await db.purge(1)
    assert list(snapshots.files) == ["snapshot.8"]
    assert list(logs.files) == ["log.7", "log.d"]
