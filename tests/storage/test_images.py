"""Directories that ZooKeeper 3.8 wrote, whole and damaged: what it makes of them, we make of them."""

import json

import pytest

from tests.storage.kit import IMAGES, PLAIN, Heard, expected_tree, image, load, seen_tree
from trioquorum.errors import CorruptLog, StorageError
from trioquorum.events import DatabaseLoaded, DigestMismatch, SnapshotSkipped, TornTailCut
from trioquorum.storage.log_format import HEADER, encode_records
from trioquorum.storage.log_reader import FileReader
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.snapshot import SnapshotParser, body_chunks, snapshot_chunks
from trioquorum.tree.nodes import DataTree

GOOD = {
    "standalone-plain": 0x2B,
    "standalone-gz": 0x2B,
    "standalone-snappy": 0x2B,
    "standalone-nodigest": 0x2B,
    "standalone-old-closesession": 0x2B,
    "rolling-fuzzy": 0x20C,
    "ens-fresh-start-workload-s3": 0x100000017,
    "ens-fresh-start-workload-s4": 0x100000017,
    "ens-leader-loss-s1": 0x300000005,
    "ens-leader-loss-s3": 0x300000005,
    "ens-no-digest-s1": 0x100000007,
    "ens-restart-snap-s1": 0x1000002C7,
    "ens-restart-snap-s3": 0x1000002C7,
    "ens-restart-trunc-s2": 0x200000005,
    "ens-restart-trunc-s3": 0x200000005,
    "ens-restart-trunc-s3-before": 0x100000003,
    "ens-reconfig-s1": 0x200000004,
    "ens-reconfig-s3": 0x200000004,
    "ens-reconfig-s4": 0x10000000E,
}
PACKED = ("standalone-gz", "standalone-snappy")
SESSIONS: dict[str, dict[str, int]] = json.loads((IMAGES / "sessions.json").read_text())
"""Of each whole directory, session ids and timeouts at its end, as ZooKeeper's own records tell them."""
CONFIG = "/zookeeper/config"
DIGEST_BYTES = 20 + 13
ZXID_BYTES = 8 + 13
"""The last blocks of a snapshot with their seals."""


@pytest.mark.parametrize("name", GOOD)
async def test_a_directory_of_zookeeper_loads(name: str) -> None:
    heard = Heard()
    files = image(name)
    disk = MemoryDisk(files)
    db = await load(disk, heard=heard)
    expected, seen = expected_tree(name), seen_tree(db.tree)
    if name.startswith("ens-"):
        # Peers write the configuration into their own tree, not into the log.
        del expected[CONFIG], seen[CONFIG]
    assert seen == expected
    assert {str(session): timeout_ms for session, timeout_ms in db.tree.sessions.items()} == SESSIONS[name]
    assert db.last_zxid == db.last_logged == GOOD[name]
    assert db.digests.mismatches == 0
    assert {type(event) for event in heard.all} == {DatabaseLoaded}
    assert {name: bytes(data) for name, data in disk.files.items()} == files


@pytest.mark.parametrize("name", GOOD)
async def test_logs_encode_to_the_same_bytes(name: str) -> None:
    files = image(name)
    logs = [log for log in files if log.startswith("log.")]
    assert logs
    for log in logs:
        reader = FileReader(MemoryDisk(files), log)
        payloads = []
        while batch := await reader.next_batch():
            payloads += [payload for _, payload in batch]
        assert HEADER + encode_records(payloads) == files[log]


@pytest.mark.parametrize("name", [name for name in GOOD if name not in PACKED])
async def test_snapshots_encode_to_the_same_bytes(name: str) -> None:
    files = image(name)
    snapshots = [snapshot for snapshot in files if snapshot.startswith("snapshot.")]
    assert snapshots
    for snapshot in snapshots:
        data = files[snapshot]
        tree = DataTree()
        parser = SnapshotParser(tree)
        parser.feed(data)
        parser.finish()
        tree.last_zxid = zxid = int(snapshot.split(".")[1], 16)
        written = b"".join(snapshot_chunks(tree, zxid, 200))
        # Header, sessions, ACLs, nodes and their seal; 3.8 has perhaps a digest behind them and no zxid yet.
        sealed = len(written) - DIGEST_BYTES - ZXID_BYTES
        assert written[:sealed] == data[:sealed]
        assert len(data) - sealed in (0, DIGEST_BYTES)
        if parser.digest is not None and (parser.digest.zxid, parser.digest.digest) == (zxid, tree.digest):
            assert written[:-ZXID_BYTES] == data


@pytest.mark.parametrize(
    ("name", "cut_at", "bytes_cut"),
    [
        ("torn-cut-mid-record", 385, 24),
        ("torn-after-crc", 385, 8),
        ("torn-zero-tail", 385, 61),
        ("torn-eor-missing", 385, 61),
    ],
)
async def test_a_torn_tail_is_cut_off(name: str, cut_at: int, bytes_cut: int) -> None:
    heard = Heard()
    disk = MemoryDisk(image(name))
    db = await load(disk, heard=heard)
    assert heard.of(TornTailCut) == [TornTailCut(file="log.26", offset=cut_at, bytes_cut=bytes_cut)]
    assert db.last_zxid == 0x2A
    # The last transaction closes a session without ephemerals, so the nodes are the same.
    assert seen_tree(db.tree) == expected_tree(PLAIN)
    assert len(disk.files["log.26"]) == cut_at
    again = Heard()
    await load(disk, heard=again)
    assert not again.of(TornTailCut)


async def test_a_record_that_kill_9_tore_is_cut_off() -> None:
    heard = Heard()
    db = await load(MemoryDisk(image("torn-kill9")), heard=heard)
    assert len(heard.of(TornTailCut)) == 1
    assert db.last_zxid == 0x1B
    seen, expected = seen_tree(db.tree), expected_tree("torn-kill9")
    assert len(seen["/t"].pop("data")) == 1_000_000
    del expected["/t"]["data"]  # a megabyte is left out of the image
    assert seen == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flip-last-txn", "log.26 is damaged: the checksum of the record at 385 is wrong, zxid 0x2b"),
        ("flip-middle-txn", "log.26 is damaged: the checksum of the record at "),
        ("flip-old-log", "log.1 is damaged: the checksum of the record at 238 is wrong, zxid 0x4"),
        ("log-bad-magic", "log.26 is damaged: it does not begin like a log"),
    ],
)
async def test_a_damaged_log_is_refused(name: str, message: str) -> None:
    files = image(name)
    disk = MemoryDisk(files)
    with pytest.raises(CorruptLog, match=message):
        await load(disk)
    assert {name: bytes(data) for name, data in disk.files.items()} == files


@pytest.mark.parametrize("size", [0, 7, 16])
async def test_a_last_log_without_a_record_is_no_harm(size: int) -> None:
    files = image(PLAIN)
    files["log.26"] = files["log.26"][:size]
    disk = MemoryDisk(files)
    db = await load(disk)
    assert db.last_zxid == db.last_logged == 0x25
    assert ("log.26" in disk.files) == (size == len(HEADER))


@pytest.mark.parametrize("name", ["snap-flip", "snap-cut"])
async def test_a_bad_snapshot_gives_way_to_an_older_one(name: str) -> None:
    heard = Heard()
    db = await load(MemoryDisk(image(name)), heard=heard)
    assert [event.file for event in heard.of(SnapshotSkipped)] == ["snapshot.25"]
    assert db.last_zxid == 0x2B
    assert seen_tree(db.tree) == expected_tree(PLAIN)
    assert db.digests.mismatches == 0


async def test_the_layout_of_3_5_has_no_digest() -> None:
    heard = Heard()
    db = await load(MemoryDisk(image("snap-no-digest-block")), heard=heard)
    assert {type(event) for event in heard.all} == {DatabaseLoaded}
    assert seen_tree(db.tree) == expected_tree(PLAIN)


async def test_a_wrong_digest_is_reported_once() -> None:
    heard = Heard()
    db = await load(MemoryDisk(image("snap-digest-mismatch")), heard=heard)
    assert heard.of(DigestMismatch) == [DigestMismatch(zxid=0x25, expected=31262406989, found=31262406988)]
    assert db.digests.mismatches == 1
    assert seen_tree(db.tree) == expected_tree(PLAIN)


@pytest.mark.parametrize("name", ["log-empty", "log-header-only"])
async def test_a_log_that_had_just_begun_is_taken(name: str) -> None:
    """ZooKeeper starts from one with a header, and refuses one without, which a crash leaves as well."""
    heard = Heard()
    db = await load(MemoryDisk(image(name)), heard=heard)
    assert {type(event) for event in heard.all} == {DatabaseLoaded}
    assert db.last_zxid == db.last_logged == 0x25
    expected = expected_tree("damaged/log-header-only")
    assert seen_tree(db.tree) == expected


async def test_a_log_without_any_snapshot_is_refused() -> None:
    files = {name: data for name, data in image(PLAIN).items() if name.startswith("log.")}
    with pytest.raises(StorageError, match="no snapshot"):
        await load(MemoryDisk(files))


@pytest.mark.parametrize("name", PACKED)
async def test_a_truncated_compressed_snapshot_is_skipped(name: str) -> None:
    files = image(name)
    (file,) = (file for file in files if file.startswith("snapshot.25."))
    files[file] = files[file][:-20]
    heard = Heard()
    db = await load(MemoryDisk(files), heard=heard)
    assert [event.file for event in heard.of(SnapshotSkipped)] == [file]
    assert db.last_zxid == 0x2B


def test_a_snap_of_a_java_leader_is_read_and_written_alike() -> None:
    stream = (IMAGES / "restart-snap.stream").read_bytes()
    signature = b"\0\0\0\x0aBenWasHere"
    body = stream.removesuffix(signature)
    assert body != stream
    tree = DataTree()
    parser = SnapshotParser(tree, body=True)
    parser.feed(body)
    parser.finish()
    assert len(tree.nodes) > 4
    assert tree.sessions
    assert b"".join(body_chunks(tree, 100)) == body


def test_every_directory_is_looked_at() -> None:
    """Guards the list of good ones."""
    folders = {file.name for file in IMAGES.iterdir() if file.is_dir()} - {"damaged"}
    assert folders == GOOD.keys() | {"torn-kill9"}
