"""The database across roles, restarts and crashes."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Self

import pytest
import trio
from hypothesis import given, settings, strategies as st

from tests.storage.kit import Heard, content, create, creates, load
from trioquorum.errors import CorruptLog, DiskFailed, PeerProtocolError, RoleEnded, StorageError
from trioquorum.events import DatabaseLoaded, DigestMismatch, LogTruncated, LogUnusable, SnapshotTaken
from trioquorum.invariants import InvariantViolation
from trioquorum.limits import Limits
from trioquorum.storage.applying import CommittedLog
from trioquorum.storage.database import Database
from trioquorum.storage.log_format import HEADER, encode_records
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.snapshot import body_chunks, snapshot_chunks
from trioquorum.tree.digest_ahead import DigestAhead
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.fields import encode_buffer
from trioquorum.wire.txn import TxnDigest, decode_txn

E1, E2, E3 = 1 << 32, 2 << 32, 3 << 32


def tree_of(*zxids: int, last: int | None = None) -> DataTree:
    """The tree that these creates make."""
    tree = DataTree()
    for _, payload in creates(zxids):
        tree.apply(decode_txn(payload))
    if last is not None:
        tree.last_zxid = last
    return tree


def directory(snapshots: dict[int, DataTree], *logs: list[int]) -> dict[str, bytes]:
    files = {f"snapshot.{zxid:x}": b"".join(snapshot_chunks(tree, zxid, 9999)) for zxid, tree in snapshots.items()}
    for zxids in logs:
        files[f"log.{zxids[0]:x}"] = HEADER + encode_records([payload for _, payload in creates(zxids)])
    return files


def append(db: Database, *zxids: int) -> None:
    for zxid, payload in creates(zxids):
        db.append([(zxid, payload)])


def commit(db: Database, *zxids: int) -> None:
    for _, payload in creates(zxids):
        db.apply(decode_txn(payload))


async def write(disk: MemoryDisk, *zxids: int) -> Database:
    """A loaded database that has logged and applied these."""
    db = await load(disk)
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        append(db, *zxids)
        await db.log.drained()
        commit(db, *zxids)
        nursery.cancel_scope.cancel()
    return await load(disk)


class Stream:
    """A snapshot as it comes from a leader; it may end early."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        try:
            return next(self._chunks)
        except StopIteration:
            raise StopAsyncIteration from None


def stream(tree: DataTree) -> Stream:
    return Stream(body_chunks(tree, 100))


async def test_an_empty_directory_is_an_empty_database_and_says_so() -> None:
    disk, heard = MemoryDisk(), Heard()
    db = await load(disk, heard=heard)
    assert (db.last_zxid, db.last_logged) == (0, 0)
    assert list(disk.files) == ["snapshot.0"]
    assert len(heard.of(SnapshotTaken)) == 1
    again = Heard()
    await load(disk, heard=again)
    assert [event.log_txns for event in again.of(DatabaseLoaded)] == [0]


async def test_what_is_logged_counts_after_a_restart_whether_applied_or_not(nursery: trio.Nursery) -> None:
    disk = MemoryDisk()
    db = await load(disk)
    await nursery.start(db.log.run)
    append(db, *range(1, 8))
    commit(db, 1, 2, 3)
    assert (db.last_zxid, db.last_logged) == (3, 7)
    await db.log.drained()
    restarted = await load(disk.crash())
    assert content(restarted.tree) == content(tree_of(*range(1, 8)))
    assert [zxid for zxid, _ in restarted.committed_log.records()] == list(range(1, 8))
    nursery.cancel_scope.cancel()


async def test_fast_forward_applies_what_is_logged(nursery: trio.Nursery) -> None:
    db = await load(MemoryDisk())
    await nursery.start(db.log.run)
    append(db, *range(1, 6))
    commit(db, 1, 2)
    await db.log.drained()
    db.fast_forward()
    assert content(db.tree) == content(tree_of(*range(1, 6)))
    assert [zxid for zxid, _ in db.committed_log.records()] == list(range(1, 6))
    db.fast_forward()
    assert db.last_zxid == 5
    nursery.cancel_scope.cancel()


async def test_commits_follow_the_log() -> None:
    db = await load(MemoryDisk())
    append(db, 1, 2, 3)
    with pytest.raises(InvariantViolation, match="in the order of the log"):
        commit(db, 2)
    db = await load(MemoryDisk())
    with pytest.raises(InvariantViolation, match="in the order of the log"):
        commit(db, 1)


async def test_an_epoch_begins_behind_everything(nursery: trio.Nursery) -> None:
    disk = MemoryDisk()
    db = await load(disk)
    await nursery.start(db.log.run)
    append(db, E1 + 1)
    with pytest.raises(InvariantViolation, match="has applied all"):
        db.begin_epoch(E2)
    db.fast_forward()
    db.begin_epoch(E2)
    assert db.last_zxid == E2
    with pytest.raises(InvariantViolation, match="epochs grow"):
        db.begin_epoch(E2)
    append(db, E2 + 1)
    commit(db, E2 + 1)
    await db.log.drained()
    assert (await load(disk)).last_zxid == E2 + 1
    nursery.cancel_scope.cancel()


def test_the_committed_log_is_bounded_and_has_no_hole() -> None:
    log = CommittedLog(3)
    for zxid in (E1 + 1, E1 + 2, E1 + 3, E2 + 1, E2 + 2):
        log.add((zxid, b"%d" % zxid))
    assert [zxid for zxid, _ in log.records()] == [E1 + 3, E2 + 1, E2 + 2]
    for zxid in (E2 + 2, E2 + 4, E1 + 4):
        with pytest.raises(InvariantViolation, match="no hole"):
            log.add((zxid, b""))


async def test_the_newest_committed_are_kept_from_the_log() -> None:
    disk = MemoryDisk(directory({0: DataTree()}, list(range(1, 21))))
    db = await load(disk, limits=Limits(committed_log_txns_max=5))
    assert [zxid for zxid, _ in db.committed_log.records()] == [16, 17, 18, 19, 20]


async def test_directories_must_not_be_mixed_up() -> None:
    files = directory({0: DataTree()}, [1, 2])
    logs = {name: data for name, data in files.items() if name.startswith("log")}
    snapshots = {name: data for name, data in files.items() if name.startswith("snapshot")}
    assert (await load(MemoryDisk(snapshots), MemoryDisk(logs))).last_zxid == 2
    with pytest.raises(StorageError, match=r"log\.1 lies in data_dir"):
        await load(MemoryDisk(files), MemoryDisk(logs))
    with pytest.raises(StorageError, match=r"snapshot\.0 lies in data_log_dir"):
        await load(MemoryDisk(snapshots), MemoryDisk(files))


async def test_what_a_crash_left_of_a_snapshot_is_removed() -> None:
    disk = MemoryDisk(directory({0: DataTree()}) | {"tmp.snapshot.5": b"half", "tmp.other": b"", "myid": b"1"})
    await load(disk)
    assert sorted(disk.files) == ["myid", "snapshot.0", "tmp.other"]


@pytest.mark.parametrize(
    "files",
    [
        directory({0: DataTree()}, [2, 3]),
        directory({0: DataTree()}, [E1 + 1], [E2 + 2]),
        directory({E1 + 3: tree_of(E1 + 1, E1 + 2, E1 + 3)}, [E1 + 1], [E1 + 5]),
        directory({E1: DataTree()}, [E1 + 2]),
    ],
)
async def test_a_log_that_does_not_lead_on_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(CorruptLog, match="nothing between"):
        await load(MemoryDisk(files))


async def test_a_hole_that_a_snapshot_covers_is_fine() -> None:
    """As SNAP leaves it: the log goes on behind the snapshot."""
    tree = tree_of(*range(1, 10))
    disk = MemoryDisk(directory({0: DataTree(), 9: tree}, [1, 2, 3], [10, 11]))
    db = await load(disk)
    assert content(db.tree) == content(tree_of(*range(1, 12)))
    assert [zxid for zxid, _ in db.committed_log.records()] == [10, 11]


@pytest.mark.parametrize("logs", [([1, 2, 3],), ([1, 2, 3], [10, 11]), ([1, 2, 3], [E1 + 1])])
async def test_a_snapshot_that_nothing_can_stand_for_is_missed(logs: tuple[list[int], ...]) -> None:
    """It is damaged, and the older ones lead to less than it held: acknowledged transactions would be gone."""
    files = directory({0: DataTree(), 9: tree_of(*range(1, 10))}, *logs)
    files["snapshot.9"] = files["snapshot.9"][:-1]
    with pytest.raises(CorruptLog):
        await load(MemoryDisk(files))


def with_digests(*zxids: int, wrong_from: int = 0) -> bytes:
    """A log of creates as a leader writes it that keeps digests; they are off by one from some zxid on."""
    tree = DataTree()
    payloads = []
    for zxid in zxids:
        txn = decode_txn(create(zxid, f"/n{zxid:x}", b"", zxid))
        tree.apply(txn)
        digest = tree.digest + (wrong_from > 0 and zxid >= wrong_from)
        txn.digest = TxnDigest(2, digest - 2**64 if digest >= 2**63 else digest)
        payloads.append(txn.encode())
    return HEADER + encode_records(payloads)


async def test_digests_of_the_log_are_compared() -> None:
    heard = Heard()
    files = directory({0: DataTree()}) | {"log.1": with_digests(1, 2, 3, 4, wrong_from=3)}
    db = await load(MemoryDisk(files), heard=heard)
    assert db.digests.mismatches == 2
    assert [event.zxid for event in heard.of(DigestMismatch)] == [3]


@pytest.mark.parametrize("keeps_digest", [True, False])
async def test_a_fuzzy_snapshot_is_not_compared_before_its_end(keeps_digest: bool) -> None:
    """It holds the fourth transaction already, so after the third the tree is not what the leader's was."""
    tree = tree_of(1, 2, 3, 4)
    tree.keeps_digest = keeps_digest
    files = {"snapshot.2": b"".join(snapshot_chunks(tree, 2, 9999)), "log.1": with_digests(1, 2, 3, 4)}
    heard = Heard()
    db = await load(MemoryDisk(files), heard=heard)
    assert db.last_zxid == 4
    assert db.digests.mismatches == 0
    assert not heard.of(DigestMismatch)


def leaders(*zxids: int) -> tuple[DataTree, list[tuple[int, bytes]]]:
    """What a leader has after these creates, and what it logged of them, with digests."""
    tree, payloads = DataTree(), []
    ahead = DigestAhead(tree)
    for number, zxid in enumerate(zxids, 1):
        txn = decode_txn(create(zxid, f"/n{zxid:x}", b"data", number))
        ahead.stamp(txn)
        tree.apply(txn)
        payloads.append((zxid, txn.encode()))
    return tree, payloads


def follow(db: Database, payloads: Iterable[tuple[int, bytes]]) -> None:
    """As a follower does."""
    for zxid, payload in payloads:
        db.append([(zxid, payload)])
        db.apply(decode_txn(payload))


async def test_each_row_of_differences_is_told_of_once() -> None:
    """All are counted. A digest that agrees ends the row."""
    heard = Heard()
    db = await load(MemoryDisk(), heard=heard)
    _, payloads = leaders(*range(1, 10))
    follow(db, payloads[:2])
    db.tree.digest += 1
    follow(db, payloads[2:5])
    db.tree.digest -= 1
    follow(db, payloads[5:6])
    db.tree.digest += 1
    follow(db, payloads[6:])
    assert db.digests.mismatches == 6
    assert [event.zxid for event in heard.of(DigestMismatch)] == [3, 7]


async def test_a_node_that_is_not_what_was_written_is_noticed() -> None:
    """When its digest is made again, and from a snapshot, which holds what the memory held."""
    heard = Heard()
    disk = MemoryDisk()
    db = await load(disk, heard=heard)
    _, payloads = leaders(1, 2, 3)
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        follow(db, payloads)
        flipped = db.tree.nodes["/n2"]
        flipped.record = encode_buffer(b"dat`") + flipped.stat
        await db.take_snapshot()
        assert not heard.of(DigestMismatch)
        under = decode_txn(create(4, "/n2/below", b"", 1))
        true = DataTree()
        for _, payload in payloads:
            true.apply(decode_txn(payload))
        DigestAhead(true).stamp(under)
        follow(db, [(4, under.encode())])
        assert [event.zxid for event in heard.of(DigestMismatch)] == [4]
        await db.log.drained()
        nursery.cancel_scope.cancel()
    again = Heard()
    await load(disk, heard=again)
    assert [event.zxid for event in again.of(DigestMismatch)] == [3]


async def test_a_leaders_fuzzy_snapshot_is_compared_from_where_it_is_exact() -> None:
    """It holds two transactions already that come behind it; until then, over a restart too, nothing can agree."""
    leader, payloads = leaders(*range(1, 8))
    ahead, _ = leaders(*range(1, 6))
    disk, heard = MemoryDisk(), Heard()
    db = await load(disk, heard=heard)
    await db.replace(stream(ahead), 3)
    assert not db.digests.exact
    db = await load(disk, heard=heard)
    follow(db, payloads[3:4])
    assert not db.digests.exact
    follow(db, payloads[4:6])
    assert db.digests.exact
    flipped = db.tree.nodes["/n2"]
    flipped.record = encode_buffer(b"flipped") + flipped.stat
    db.tree.set_data("/n2", b"other", 1, 6, 0)
    follow(db, payloads[6:])
    assert [event.zxid for event in heard.of(DigestMismatch)] == [7]
    assert leader.last_zxid == db.last_zxid


async def test_a_snapshot_that_never_agrees_is_told_of_once_the_history_has_come() -> None:
    _, payloads = leaders(*range(1, 8))
    wrong, _ = leaders(*range(1, 4))
    wrong.set_data("/n1", b"not what was written", 0, 1, 0)
    heard = Heard()
    db = await load(MemoryDisk(), heard=heard)
    await db.replace(stream(wrong), 3)
    follow(db, payloads[3:5])
    assert not heard.of(DigestMismatch)
    db.settled()
    follow(db, payloads[5:])
    assert [event.zxid for event in heard.of(DigestMismatch)] == [6]


async def test_a_tree_without_digests_compares_nothing() -> None:
    heard = Heard()
    _, payloads = leaders(1, 2, 3)
    disk = MemoryDisk()
    off = partial(DataTree, keeps_digest=False)
    db = await Database.load(disk, disk, Limits(), heard.events, slow_flush_ms=1000, new_tree=off)
    follow(db, payloads)
    assert (db.digests.mismatches, db.tree.digest) == (0, 0)
    assert not heard.of(DigestMismatch)


# TRUNC


@pytest.mark.parametrize("to", [E1 + 2, E1 + 3, E1 + 4, E2 + 1, E2 + 3])
async def test_truncate_forgets_in_memory_and_on_disk(to: int) -> None:
    zxids = [E1 + 1, E1 + 2, E1 + 3, E1 + 4, E2 + 1, E2 + 2, E2 + 3]
    kept = [zxid for zxid in zxids if zxid <= to]
    disk = MemoryDisk(directory({E1 + 1: tree_of(E1 + 1), E2 + 1: tree_of(*zxids[:5])}, zxids[:3], zxids[3:]))
    heard = Heard()
    db = await load(disk, heard=heard)
    await db.truncate(to)
    assert content(db.tree) == content(tree_of(*kept))
    assert (db.last_zxid, db.last_logged) == (to, to)
    assert [zxid for zxid, _ in db.committed_log.records()] == kept[
        kept.index(max(E1 + 1, E2 + 1 if to > E2 else 0)) + 1 :
    ]
    assert heard.of(LogTruncated) == [LogTruncated(zxid=to)]
    assert ("snapshot.200000001" in disk.files) == (to > E2)
    db = await write(disk, E3 + 1)
    assert content(db.tree) == content(tree_of(*kept, E3 + 1))


async def test_truncate_to_where_an_epoch_begins() -> None:
    disk = MemoryDisk(directory({0: DataTree()}, [E1 + 1, E1 + 2, E2 + 1]))
    db = await load(disk)
    await db.truncate(E2)
    assert content(db.tree) == content(tree_of(E1 + 1, E1 + 2, last=E2))


@pytest.mark.parametrize(
    ("files", "to"),
    [
        # The log has a hole that a snapshot of an unestablished leader covers; the next leader does not know all of it.
        (
            directory({0: DataTree(), E1 + 9: tree_of(*range(E1 + 1, E1 + 10))}, [E1 + 1, E1 + 2], [E1 + 10]),
            E1 + 5,
        ),
        # History here begins behind it.
        (directory({E1 + 3: tree_of(E1 + 1, E1 + 2, E1 + 3)}, [E1 + 1, E1 + 2, E1 + 3, E1 + 4]), E1 + 2),
    ],
)
async def test_truncate_to_what_was_never_here_changes_nothing(files: dict[str, bytes], to: int) -> None:
    """Less history under the same currentEpoch could win an election that it must lose."""
    disk = MemoryDisk(files)
    db = await load(disk)
    before = content(db.tree)
    last = db.last_zxid
    with pytest.raises(RoleEnded, match="cannot be cut back"):
        await db.truncate(to)
    assert {name: bytes(data) for name, data in disk.files.items()} == files
    assert content(db.tree) == before
    # The vote is as before; the next leader is asked for a snapshot, and after that all is well again.
    assert (db.last_zxid, db.joinable_zxid) == (last, -1)
    await db.replace(stream(tree_of(E1 + 1)), E1 + 1)
    assert db.joinable_zxid == E1 + 1


# SNAP


@pytest.mark.parametrize(
    ("zxid", "tree", "left"),
    [
        (E2 + 5, tree_of(E1 + 1, E2 + 5), "log.100000001 snapshot.0 snapshot.100000002 snapshot.200000005"),
        (E1 + 1, tree_of(E1 + 1), "log.100000001 snapshot.0 snapshot.100000001"),
        (E2, tree_of(E1 + 1, last=E2), "log.100000001 snapshot.0 snapshot.100000002 snapshot.200000000"),
    ],
)
async def test_replace_takes_over_a_snapshot(zxid: int, tree: DataTree, left: str) -> None:
    mine = tree_of(E1 + 1, E1 + 2)
    disk = MemoryDisk(directory({0: DataTree(), E1 + 2: mine}, [E1 + 1, E1 + 2, E1 + 3]))
    db = await load(disk)
    watches = db.tree.watches
    await db.replace(stream(tree), zxid)
    assert content(db.tree) == content(tree)
    assert db.tree.watches is watches
    assert (db.last_zxid, db.last_logged) == (zxid, zxid)
    assert not db.committed_log.records()
    assert " ".join(sorted(disk.files)) == left
    assert content((await load(disk)).tree) == content(tree)
    db = await write(disk, zxid + 1)
    tree.apply(decode_txn(creates([zxid + 1])[0][1]))
    assert content(db.tree) == content(tree)


async def test_after_replace_the_log_goes_on_in_a_new_file() -> None:
    """What lies in the old file need not be the history that the snapshot continues."""
    disk = MemoryDisk(directory({0: DataTree()}, [E1 + 1, E1 + 2]))
    heard = Heard()
    db = await load(disk, heard=heard)
    await db.replace(stream(tree_of(E1 + 1, E2 + 1)), E2 + 1)
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        append(db, E2 + 2)
        await db.log.drained()
        commit(db, E2 + 2)
        assert "log.200000002" in disk.files
        # And the hole between both is not served to others.
        assert await db.read_log(E1 + 1) == []
        assert [event.zxid for event in heard.of(LogUnusable)] == [E1 + 1]
        assert [zxid for zxid, _ in await db.read_log(E2 + 2)] == [E2 + 2]
        nursery.cancel_scope.cancel()


async def test_a_hole_where_an_epoch_begins_is_not_served_either() -> None:
    """Zxids alone do not show it, to whoever stands at the last record of the old file least of all."""
    disk = MemoryDisk(directory({0: DataTree()}, [E1 + 1, E1 + 2]))
    db = await load(disk)
    await db.replace(stream(tree_of(*range(E1 + 1, E1 + 6))), E1 + 5)
    async with trio.open_nursery() as nursery:
        await nursery.start(db.log.run)
        append(db, E2 + 1)
        await db.log.drained()
        commit(db, E2 + 1)
        assert await db.read_log(E1 + 2) == []
        assert await db.read_log(E1 + 1) == []
        assert [zxid for zxid, _ in await db.read_log(E2 + 1)] == [E2 + 1]
        nursery.cancel_scope.cancel()


async def test_half_a_snapshot_changes_nothing() -> None:
    files = directory({0: DataTree()}, [E1 + 1, E1 + 2])
    disk = MemoryDisk(files)
    db = await load(disk)
    before = content(db.tree)

    whole = list(body_chunks(tree_of(E1 + 1, E2 + 1), 100))
    for chunks in (whole[:-1], [bytes(100)], [], [*whole, b"x"]):
        with pytest.raises(PeerProtocolError, match="snapshot is damaged"):
            await db.replace(Stream(chunks), E2 + 1)
    assert content(db.tree) == before
    assert {name: bytes(data) for name, data in disk.files.items()} == files


# Crashes


class Crashing(MemoryDisk):
    """Fails at the n-th change."""

    left = -1

    async def flush(self, name: str, size: int) -> None:
        if self.left == 0:
            raise DiskFailed(f"{name}: the machine crashed")
        self.left -= 1
        await super().flush(name, size)


async def crash_at_every_change(
    files: dict[str, bytes], work: Callable[[Database], Awaitable[None]], allowed: list[DataTree], done: DataTree
) -> None:
    """``work`` on a database of ``files`` leaves one of ``allowed`` wherever it is interrupted, ``done`` at its end."""
    for left in range(100):
        disk = Crashing(files)
        db = await load(disk)
        disk.left = left
        try:
            await work(db)
        except DiskFailed:
            found = content((await load(disk.crash())).tree)
            assert any(found == content(tree) for tree in allowed), f"crash before change {left}"
        else:
            assert left > 0
            assert content(db.tree) == content((await load(disk.crash())).tree) == content(done)
            return


async def test_a_crash_while_truncating() -> None:
    zxids = [E1 + 1, E1 + 2, E1 + 3, E1 + 4, E1 + 5, E1 + 6]
    files = directory({0: DataTree(), E1 + 4: tree_of(*zxids[:4])}, zxids[:3], zxids[3:5], zxids[5:])
    allowed = [tree_of(*zxids[:count]) for count in range(2, 7)]
    await crash_at_every_change(files, lambda db: db.truncate(E1 + 2), allowed, tree_of(*zxids[:2]))


async def test_a_crash_while_replacing() -> None:
    zxids = [E1 + 1, E1 + 2, E1 + 3, E1 + 4]
    files = directory({0: DataTree(), E1 + 4: tree_of(*zxids)}, zxids[:3], zxids[3:])
    ahead = tree_of(E1 + 1, E2 + 7)
    await crash_at_every_change(files, lambda db: db.replace(stream(ahead), E2 + 7), [tree_of(*zxids), ahead], ahead)
    behind = tree_of(E1 + 1, E1 + 2)
    allowed = [tree_of(*zxids[:count]) for count in (2, 3, 4)]
    await crash_at_every_change(files, lambda db: db.replace(stream(behind), E1 + 2), allowed, behind)


async def test_a_crash_while_a_snapshot_is_taken_or_files_are_purged() -> None:
    zxids = list(range(1, 9))
    files = directory({0: DataTree(), 3: tree_of(1, 2, 3)}, zxids[:2], zxids[2:5], zxids[5:])
    tree = tree_of(*zxids)

    async def work(db: Database) -> None:
        await db.take_snapshot()
        await db.purge(1)

    await crash_at_every_change(files, work, [tree], tree)


STEPS = ["append", "append and crash", "commit", "fast forward", "snapshot", "purge", "restart"]


@given(st.lists(st.sampled_from(STEPS), max_size=25))
@settings(deadline=None)
def test_nothing_durable_is_ever_lost(steps: list[str]) -> None:
    async def live(disk: MemoryDisk, rest: list[str], logged: int) -> tuple[MemoryDisk, int]:
        """One life of a peer: until the next restart or crash."""
        db = await load(disk)
        assert content(db.tree) == content(tree_of(*range(1, logged + 1)))
        async with trio.open_nursery() as nursery:
            await nursery.start(db.log.run)
            while rest:
                step = rest.pop(0)
                if step.startswith("append"):
                    append(db, logged + 1, logged + 2)
                    if step == "append and crash":
                        disk = disk.crash()
                        break
                    await db.log.drained()
                    logged += 2
                elif step == "commit" and db.last_zxid < logged:
                    commit(db, db.last_zxid + 1)
                elif step == "fast forward":
                    db.fast_forward()
                    assert db.last_zxid == logged
                elif step == "snapshot":
                    await db.take_snapshot()
                elif step == "purge":
                    await db.purge(1)
                elif step == "restart":
                    break
            nursery.cancel_scope.cancel()
        return disk, logged

    async def run() -> None:
        disk, logged = MemoryDisk(), 0
        rest = list(steps)
        while rest:
            disk, logged = await live(disk, rest, logged)
        await live(disk, [], logged)

    trio.run(run)


async def test_sizes_and_records_for_a_learner() -> None:
    disk = MemoryDisk(directory({0: DataTree(), 3: tree_of(1, 2, 3)}, [1, 2, 3], [4, 5], [6]))
    db = await load(disk)
    assert [zxid for zxid, _ in await db.read_log(2)] == [2, 3, 4, 5, 6]
    assert [zxid for zxid, _ in await db.read_log(5)] == [5, 6]
    assert await db.log_sizes(4) == (
        len(disk.files["log.4"]) + len(disk.files["log.6"]),
        len(disk.files["snapshot.3"]),
    )


async def test_a_database_of_five_thousand_loads(nursery: trio.Nursery) -> None:
    """Loading yields to others all the time."""
    disk = MemoryDisk(directory({0: DataTree()}, list(range(1, 5001))))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    nursery.start_soon(others)
    db = await load(disk)
    assert db.last_zxid == 5000
    assert turns > 30
    nursery.cancel_scope.cancel()
