"""Snapshots: fuzzy ones become exact by replay, damage is found, any chunk size reads the same."""

import gzip
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies as st

from tests.storage.kit import PLAIN, Heard, content, create, image, load, set_data
from trioquorum.errors import CorruptSnapshot, DiskFailed, StorageError
from trioquorum.events import SnapshotSkipped, SnapshotTaken
from trioquorum.storage.log_format import HEADER as LOG_HEADER, encode_records
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.snapshot import SnapshotParser, body_chunks, snapshot_chunks
from trioquorum.storage.snapshots import load_newest, write_snapshot
from trioquorum.tree import children, nodes
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op, Perm
from trioquorum.wire.records import Acl
from trioquorum.wire.txn import (
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    SetAclTxn,
    Txn,
    TxnHeader,
    decode_txn,
)

FRESH = bytes.fromhex(
    "5a4b534e 00000002 ffffffffffffffff 00000001 0100000000000000 00000fa0 00000001 0000000000000001 00000001 00000001"
    "00000005 776f726c64 00000006 616e796f6e65"
)
FRESH_TAIL = bytes.fromhex(
    "000000012f 0000000036fa3bfa 000000012f 0000000000000000 00000002 0000000000000000 0000000037c23e91 000000012f"
)


def parsed(data: bytes, chunk: int = 1 << 20, *, body: bool = False) -> DataTree:
    tree = DataTree()
    parser = SnapshotParser(tree, body=body)
    for at in range(0, len(data), chunk):
        parser.feed(data[at : at + chunk])
    parser.finish()
    return tree


def test_a_fresh_tree_as_3_8_writes_it() -> None:
    data = image(PLAIN)["snapshot.0"]
    tree = parsed(data)
    tree.sessions[0x0100000000000000] = 4000
    written = b"".join(snapshot_chunks(tree, 0, 1 << 20))
    assert written.startswith(FRESH)
    assert len(written) == 469 + 21
    assert written[:-21].endswith(FRESH_TAIL)


@pytest.mark.parametrize("chunk", [1, 2, 7, 60, 1000])
def test_pieces_of_any_size_read_the_same(chunk: int) -> None:
    data = image(PLAIN)["snapshot.25"]
    assert content(parsed(data, chunk)) == content(parsed(data))


def test_a_snapshot_is_cut_into_bounded_chunks() -> None:
    tree = DataTree()
    for n in range(6000):
        tree.apply(decode_txn(create(n + 1, f"/node-{n}", b"x" * 100)))
    chunks = list(body_chunks(tree, 4096))
    assert max(map(len, chunks)) < 4096 + 300
    assert content(parsed(b"".join(chunks), body=True)) == content(tree) | {"last_zxid": 0}
    # And by the time that it takes to make one.
    assert len(list(body_chunks(tree, 1 << 30))) > 10


@given(st.data())
@settings(max_examples=300)
def test_any_flipped_bit_is_found(draw: st.DataObject) -> None:
    data = bytearray(image(PLAIN)["snapshot.25"])
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptSnapshot):
        parsed(bytes(data))


def test_no_part_of_a_snapshot_is_a_snapshot() -> None:
    """But the layout of 3.5 ends behind the first seal, and 3.8 behind the digest."""
    data = image(PLAIN)["snapshot.25"]
    data = b"".join(snapshot_chunks(parsed(data), 0x25, 1 << 20))
    whole = {len(data), len(data) - 21, len(data) - 21 - 33}
    for size in range(len(data) + 1):
        if size in whole:
            parsed(data[:size])
        else:
            with pytest.raises(CorruptSnapshot):
                parsed(data[:size])
    with pytest.raises(CorruptSnapshot):
        parsed(data + b"\0")


def test_the_zxid_without_a_digest_is_not_taken_for_one() -> None:
    tree = DataTree(keeps_digest=False)
    tree.last_zxid = 7
    parser = SnapshotParser(DataTree())
    parser.feed(b"".join(snapshot_chunks(tree, 7, 1 << 20)))
    parser.finish()
    assert parser.digest is None


@given(st.binary(max_size=200))
def test_hostile_bodies_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptSnapshot):
        parsed(data, body=True)


NAMES = st.sampled_from(["/a", "/b", "/a/x", "/a/y", "/a/x/1", "/b/z", "/c", "/c/1", "/c/2"])
SESSIONS = st.integers(1, 3)
ACLS = st.none() | st.lists(
    st.builds(Acl, st.sampled_from([Perm.READ, Perm.ALL, Perm.ADMIN]), st.just("world"), st.just("anyone")),
    min_size=1,
    max_size=2,
)
RECORDS = st.one_of(
    st.tuples(st.just(Op.CREATE), st.builds(CreateTxn, NAMES, st.binary(max_size=5), ACLS, st.booleans(), st.just(-1))),
    st.tuples(st.just(Op.CREATE_CONTAINER), st.builds(CreateContainerTxn, NAMES, st.none(), ACLS, st.just(-1))),
    st.tuples(
        st.just(Op.CREATE_TTL), st.builds(CreateTtlTxn, NAMES, st.just(b"t"), ACLS, st.just(-1), st.integers(1, 9))
    ),
    st.tuples(st.just(Op.DELETE), st.builds(DeleteTxn, NAMES)),
    st.tuples(st.just(Op.SET_ACL), st.builds(SetAclTxn, NAMES, ACLS, st.integers(1, 9))),
    st.tuples(st.just(Op.CREATE_SESSION), st.builds(CreateSessionTxn, st.just(4000))),
    st.tuples(st.just(Op.CLOSE_SESSION), st.just(CloseSessionTxn(None))),
)


def txns(kinds: list[tuple[Op, Record, int]], first: int, tree: DataTree) -> list[Txn]:
    """Transactions that a leader could have written, applied to ``tree``."""
    made: list[Txn] = []
    for kind, record, session in kinds:
        match record:
            case CreateTxn() | CreateContainerTxn() | CreateTtlTxn():
                parent = tree.nodes.get(record.path.rpartition("/")[0] or "/")
                if record.path in tree.nodes or parent is None:
                    continue
                record.parent_cversion = parent.cversion + 1
            case DeleteTxn(path):
                if path not in tree.nodes or tree.nodes[path].children:
                    continue
            case SetAclTxn(path):
                if path not in tree.nodes:
                    continue
            case CloseSessionTxn():
                record = CloseSessionTxn(sorted(tree.ephemerals.get(session, ())))
        txn = decode_txn(Txn(TxnHeader(session, 0, first + len(made), 1000 + len(made), kind), record).encode())
        tree.apply(txn)
        made.append(txn)
    return made


@given(
    st.lists(st.tuples(RECORDS, SESSIONS), max_size=25),
    st.lists(st.tuples(RECORDS, SESSIONS), max_size=25),
    st.booleans(),
    st.data(),
)
def test_replay_makes_a_fuzzy_snapshot_exact(before: list, during: list, wide: bool, draw: st.DataObject) -> None:
    """``wide``: two children are so many already that their names are walked in pages, of two."""
    with pytest.MonkeyPatch.context() as patch:
        if wide:
            patch.setattr(nodes, "NARROW_MAX", 1)
            patch.setattr(children, "PAGE_MAX", 2)
        replay_over_a_fuzzy_snapshot(before, during, lambda: draw.draw(st.integers(0, 3)))


def replay_over_a_fuzzy_snapshot(before: list, during: list, chunks_between: Callable[[], int]) -> None:
    tree = DataTree()
    last = len(txns([(*kind, session) for kind, session in before], 1, tree))
    first = tree.last_zxid + 1
    chunks = snapshot_chunks(tree, tree.last_zxid, 1)
    data = b""
    later: list[Txn] = []
    for kind, session in during:
        for _ in range(chunks_between()):
            data += next(chunks, b"")
        later += txns([(*kind, session)], first + len(later), tree)
    data += b"".join(chunks)

    loaded = DataTree()
    parser = SnapshotParser(loaded)
    parser.feed(data)
    parser.finish()
    loaded.last_zxid = last
    for txn in later:
        loaded.apply(txn)
        if parser.digest is not None and parser.digest.zxid == txn.header.zxid:
            assert loaded.digest == parser.digest.digest
    assert content(loaded) == content(tree)


def test_a_snapshot_of_very_many_children_that_come_and_go() -> None:
    """Each chunk is followed by creates and deletes below the one parent that has them all."""
    rng = random.Random(8)
    tree = DataTree()
    for zxid in range(1, 6 * children.PAGE_MAX):
        tree.apply(decode_txn(create(zxid, f"/n{zxid}", b"%d" % zxid, zxid)))
    first = tree.last_zxid
    data = b""
    later: list[Txn] = []
    for chunk in snapshot_chunks(tree, first, 1 << 20):
        data += chunk
        for _ in range(180):
            path = f"/n{rng.randrange(first + 500)}"
            gone = path in tree.nodes
            record = DeleteTxn(path) if gone else CreateTxn(path, b"", None, False, tree.nodes["/"].cversion + 1)
            header = TxnHeader(1, 0, tree.last_zxid + 1, 1, Op.DELETE if gone else Op.CREATE)
            later.append(decode_txn(Txn(header, record).encode()))
            tree.apply(later[-1])
    assert len(later) > 2000
    loaded = parsed(data)
    loaded.last_zxid = first
    for txn in later:
        loaded.apply(txn)
    assert content(loaded) == content(tree)


async def test_written_and_loaded_again() -> None:
    heard = Heard()
    disk = MemoryDisk()
    db = await load(MemoryDisk(image(PLAIN)))
    assert await write_snapshot(disk, db.tree, heard.events, 300) == 0x2B
    assert list(disk.files) == ["snapshot.2b"]
    assert [event.size_bytes for event in heard.of(SnapshotTaken)] == [len(disk.files["snapshot.2b"])]
    loaded = await load_newest(disk, heard.events)
    assert loaded is not None
    assert content(loaded.tree) == content(db.tree)
    assert loaded.digest is not None
    assert (loaded.zxid, loaded.digest.zxid, loaded.digest.digest) == (0x2B, 0x2B, db.tree.digest)


async def test_gzip_is_read_by_its_suffix() -> None:
    data = image(PLAIN)["snapshot.25"]
    heard = Heard()
    loaded = await load_newest(MemoryDisk({"snapshot.25.gz": gzip.compress(data)}), heard.events)
    assert loaded is not None
    assert content(loaded.tree) == content(parsed(data)) | {"last_zxid": 0x25}
    with pytest.raises(StorageError):
        await load_newest(MemoryDisk({"snapshot.25.gz": data}), heard.events)
    with pytest.raises(StorageError):
        await load_newest(MemoryDisk({"snapshot.25.gz": gzip.compress(data) + gzip.compress(data)}), heard.events)


@pytest.mark.parametrize("cut", [1, 8, 20])
async def test_a_gzip_that_was_not_written_to_its_end(cut: int) -> None:
    data = gzip.compress(image(PLAIN)["snapshot.25"])
    with pytest.raises(StorageError):
        await load_newest(MemoryDisk({"snapshot.25.gz": data[:-cut]}), Heard().events)


async def test_damaged_snappy_is_skipped() -> None:
    heard = Heard()
    files = {"snapshot.0": image(PLAIN)["snapshot.0"], "snapshot.25.snappy": b"\x82SNAPPY\0" + bytes(99)}
    loaded = await load_newest(MemoryDisk(files), heard.events)
    assert loaded is not None
    assert (loaded.zxid, loaded.skipped) == (0, {0x25})
    assert "snappy" in heard.of(SnapshotSkipped)[0].reason


async def test_only_names_of_snapshots_count() -> None:
    heard = Heard()
    data = image(PLAIN)["snapshot.0"]
    names = ["snapshot", "snapshot.xyz", "snapshots.5", "tmp.snapshot.5", "log.5"]
    assert await load_newest(MemoryDisk(dict.fromkeys(names, data)), heard.events) is None


async def test_a_failed_write_leaves_nothing() -> None:
    class Full(MemoryDisk):
        async def flush(self, name: str, size: int) -> None:
            raise DiskFailed(f"{name} cannot be written: {size}")

    disk = Full()
    with pytest.raises(DiskFailed):
        await write_snapshot(disk, DataTree(), Heard().events, 100)
    assert not disk.files


async def test_a_fuzzy_snapshot_and_its_log_load_exactly() -> None:
    """The digest in the file belongs to the moment when its last node was written."""
    tree = DataTree()
    payloads = [create(1, "/a"), create(2, "/b"), set_data(3, "/a", b"new"), create(4, "/z", b"late", 3)]
    tree.apply(decode_txn(payloads[0]))
    tree.apply(decode_txn(payloads[1]))
    chunks = snapshot_chunks(tree, 2, 1)
    data = b"".join(next(chunks) for _ in range(3))
    tree.apply(decode_txn(payloads[2]))
    tree.apply(decode_txn(payloads[3]))
    data += b"".join(chunks)
    heard = Heard()
    db = await load(MemoryDisk({"snapshot.2": data, "log.1": LOG_HEADER + encode_records(payloads)}), heard=heard)
    assert content(db.tree) == content(tree)
    assert db.digests.mismatches == 0
    # Without the log behind it there is nothing to compare the digest with.
    db = await load(MemoryDisk({"snapshot.2": data, "log.1": LOG_HEADER + encode_records(payloads[:2])}))
    assert db.digests.mismatches == 0
    assert db.last_zxid == 2
