"""Compressed snapshots: what is packed comes out again, damage is found, names and settings say by what."""

import gzip
import random
import sys
from itertools import pairwise
from struct import pack

import pytest
import trio
from hypothesis import given, strategies as st

from tests.storage.kit import PLAIN, Heard, content, create, image
from trioquorum.errors import CorruptSnapshot, StorageError
from trioquorum.events import SnapshotSkipped, SnapshotTaken
from trioquorum.limits import Limits
from trioquorum.storage.compression import (
    SNAPPY_BLOCK_BYTES,
    SNAPPY_BLOCK_BYTES_MAX,
    Method,
    method_of,
    packer,
    suffix_of,
    unpacker,
)
from trioquorum.storage.database import Database
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.snapshots import load_newest, write_snapshot
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.txn import decode_txn

METHODS: list[Method] = ["", "gz", "snappy"]
methods = pytest.mark.parametrize("method", METHODS)
HEADER = b"\x82SNAPPY\0\0\0\0\1\0\0\0\1"
PIECE_MAX = 32 << 10


def packed(parts: list[bytes], method: Method) -> bytes:
    packing = packer(method)
    return b"".join(piece for part in parts for piece in packing.pack(part)) + packing.finish()


def unpacked(data: bytes, method: Method, step: int = 4096) -> bytes:
    unpacking = unpacker(f"snapshot.1{suffix_of(method)}")
    pieces = [piece for at in range(0, len(data), step) for piece in unpacking.unpack(data[at : at + step])]
    unpacking.finish()
    assert all(len(piece) <= max(PIECE_MAX, step) for piece in pieces)
    return b"".join(pieces)


@methods
@given(st.lists(st.binary(max_size=300)), st.integers(1, 400))
def test_what_is_packed_comes_out(method: Method, parts: list[bytes], step: int) -> None:
    assert unpacked(packed(parts, method), method, step) == b"".join(parts)


@methods
@pytest.mark.parametrize("size", [n + d for n in (SNAPPY_BLOCK_BYTES, 3 * SNAPPY_BLOCK_BYTES) for d in (-1, 0, 1)])
def test_sizes_about_a_block(method: Method, size: int) -> None:
    for data in (bytes(size), random.Random(size).randbytes(size)):
        assert unpacked(packed([data], method), method) == data
        assert unpacked(packed([data[:1000], data[1000:]], method), method) == data


def test_snappy_is_framed_as_zookeeper_does() -> None:
    data = packed([bytes(2 * SNAPPY_BLOCK_BYTES + 7)], "snappy")
    assert data.startswith(HEADER)
    ends = [len(HEADER)]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 4 + int.from_bytes(data[ends[-1] : ends[-1] + 4]))
    assert ends[-1] == len(data)
    sizes = [len(unpacked(HEADER + data[begin:end], "snappy")) for begin, end in pairwise(ends)]
    assert sizes == [SNAPPY_BLOCK_BYTES, SNAPPY_BLOCK_BYTES, 7]


@pytest.mark.parametrize("method", METHODS[1:])
def test_zookeepers_files_hold_what_its_plain_one_holds(method: Method) -> None:
    files = image(f"standalone-{method}")
    assert unpacked(files[f"snapshot.0.{method}"], method) == image(PLAIN)["snapshot.0"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not end where"),
        (HEADER[:-1], "does not end where"),
        (HEADER[:-1] + b"\2", "does not begin like"),
        (b"\x82SNAPPX\0" + bytes(8), "does not begin like"),
        (HEADER + pack(">i", 0), "a compressed block of 0 bytes"),
        (HEADER + pack(">i", -1), "a compressed block of -1 bytes"),
        (HEADER + pack(">i", SNAPPY_BLOCK_BYTES_MAX + 1), "a compressed block of 1048577 bytes"),
        (HEADER + pack(">i", 5) + b"\xff\xff\xff\xff\x0f", "a block that unpacks into 4294967295 bytes"),
        (HEADER + pack(">i", 2) + b"\5\0", "cannot be unpacked"),
        (HEADER + pack(">i", 3) + b"\5\0", "does not end where"),
    ],
)
def test_what_is_not_snappy_is_damage(data: bytes, message: str) -> None:
    with pytest.raises(CorruptSnapshot, match=message):
        unpacked(data, "snappy")
    with pytest.raises(CorruptSnapshot, match=message):
        unpacked(data, "snappy", 1)


@methods
async def test_a_tree_is_written_and_loaded(method: Method) -> None:
    tree = DataTree()
    rng = random.Random(7)
    for zxid in range(1, 400):
        data = rng.randbytes(rng.randrange(2000)) if zxid % 50 else bytes(300_000)
        tree.apply(decode_txn(create(zxid, f"/n{zxid:x}", data)))
    heard, disk = Heard(), MemoryDisk()
    assert await write_snapshot(disk, tree, heard.events, 5000, method) == 399
    (name,) = disk.files
    assert name == f"snapshot.18f{suffix_of(method)}"
    assert method_of(name) == method
    assert [event.size_bytes for event in heard.of(SnapshotTaken)] == [len(disk.files[name])]
    loaded = await load_newest(disk, heard.events)
    assert loaded is not None
    assert content(loaded.tree) == content(tree)
    if method == "gz":
        plain = MemoryDisk()
        await write_snapshot(plain, tree, heard.events, 5000)
        assert gzip.decompress(disk.files[name]) == plain.files["snapshot.18f"]


async def test_a_new_file_of_the_same_transactions_replaces_one_by_another_method() -> None:
    disk = MemoryDisk()
    for method in ("", "gz", "snappy", ""):
        await write_snapshot(disk, DataTree(), Heard().events, 5000, method)
        assert list(disk.files) == [f"snapshot.0{suffix_of(method)}"]


@methods
async def test_a_database_writes_as_it_was_told(method: Method) -> None:
    disk = MemoryDisk()
    db = await Database.load(disk, disk, Limits(), Heard().events, slow_flush_ms=1000, compression=method)
    assert list(disk.files) == [f"snapshot.0{suffix_of(method)}"]
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        payload = create(1, "/a")
        db.append([(1, payload)])
        await db.log.drained()
        db.apply(decode_txn(payload))
        await db.take_snapshot()
        nursery.cancel_scope.cancel()
    assert f"snapshot.1{suffix_of(method)}" in disk.files
    again = await Database.load(disk, disk, Limits(), Heard().events, slow_flush_ms=1000)
    assert content(again.tree) == content(db.tree)


async def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)  # as if it were not there
    files = image("standalone-snappy")
    heard = Heard()
    with pytest.raises(StorageError, match=r"snapshot.25.snappy cannot be read: .*pip install 'trioquorum\[snappy\]'"):
        await load_newest(MemoryDisk(files), heard.events)
    assert not heard.of(SnapshotSkipped)  # an older one would do, but only by luck
    with pytest.raises(StorageError, match=r"pip install 'trioquorum\[snappy\]'"):
        await write_snapshot(MemoryDisk(), DataTree(), heard.events, 5000, "snappy")
