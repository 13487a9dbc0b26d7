"""The checker itself: it must find what it is there for."""

from collections.abc import Sequence

import pytest

from trioquorum.events import Committed, DigestMismatch, Established, Event, Events, PeerStarted, SyncReceived
from trioquorum.invariants import InvariantViolation
from trioquorum.limits import Limits
from trioquorum.storage.database import Database
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import Safety
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl
from trioquorum.wire.txn import CreateTxn, Txn, TxnHeader

EPOCH = 1 << 32


class Peer:
    """A database that applies what a test tells it."""

    def __init__(self, number: int, db: Database, safety: Safety) -> None:
        self.number = number
        self.db = db
        self._safety = safety

    def tell(self, event: Event) -> None:
        self._safety.check(self.number, self.db, event)

    def lead(self, epoch: int) -> None:
        self.tell(Established(role="leader", leader=self.number, epoch=epoch, zxid=epoch << 32))

    def follow(self, leader: int, epoch: int) -> None:
        self.tell(Established(role="follower", leader=leader, epoch=epoch, zxid=self.db.last_zxid))

    def apply(self, *zxids: int, data: bytes = b"") -> None:
        for zxid in zxids:
            record = CreateTxn(f"/{zxid:x}", data, [Acl(31, "world", "anyone")], False, 1)
            txn = Txn(TxnHeader(1, 1, zxid, 1, Op.CREATE), record)
            payload = txn.encode()
            self.db.append(zxid, payload)
            self.db.apply(txn, payload)

    def commit(self, *zxids: int, data: bytes = b"") -> None:
        self.apply(*zxids, data=data)
        self.tell(Committed(zxid=zxids[-1]))


async def make_peers(count: int = 2, committed_log: int = 500) -> tuple[Safety, Sequence[Peer]]:
    safety = Safety()
    peers = []
    for number in range(count):
        disk = MemoryDisk()
        limits = Limits(committed_log_txns_max=committed_log)
        db = await Database.load(disk, disk, limits, Events(), slow_flush_ms=0)
        peers.append(Peer(number, db, safety))
    return safety, peers


def zxids(*counters: int, epoch: int = 1) -> list[int]:
    return [epoch << 32 | counter for counter in counters]


async def test_one_history_is_fine_in_any_pieces() -> None:
    safety, (a, b) = await make_peers()
    a.lead(1)
    b.follow(0, 1)
    a.commit(*zxids(1, 2))
    b.commit(*zxids(1))
    b.commit(*zxids(2, 3))
    a.commit(*zxids(3))
    b.lead(2)
    a.follow(1, 2)
    b.commit(*zxids(1, epoch=2))
    a.commit(*zxids(1, epoch=2))
    assert safety.history == zxids(1, 2, 3) + zxids(1, epoch=2)
    assert safety.leaders == {1: 0, 2: 1}


async def test_two_leaders_of_one_epoch() -> None:
    _, (a, b) = await make_peers()
    a.lead(1)
    with pytest.raises(InvariantViolation, match="each term has an epoch of its own"):
        b.lead(1)


async def test_a_second_term_in_one_epoch() -> None:
    _, (a, _) = await make_peers()
    a.lead(1)
    with pytest.raises(InvariantViolation, match="each term has an epoch of its own"):
        a.lead(1)


async def test_a_follower_of_somebody_else() -> None:
    _, (a, b, c) = await make_peers(3)
    a.lead(1)
    with pytest.raises(InvariantViolation, match="one leads, all follow"):
        b.follow(c.number, 1)


async def test_another_transaction_in_the_same_place() -> None:
    _, (a, b) = await make_peers()
    a.commit(*zxids(1, 2))
    with pytest.raises(InvariantViolation, match="all commit the same"):
        b.commit(*zxids(1, 2), data=b"other")


async def test_a_transaction_that_others_skipped() -> None:
    _, (a, b) = await make_peers()
    a.commit(*zxids(1), *zxids(1, epoch=2))
    b.commit(*zxids(1))
    with pytest.raises(InvariantViolation, match="all commit the same"):
        b.commit(*zxids(2))


async def test_a_transaction_that_this_peer_skipped() -> None:
    _, (a, b) = await make_peers()
    a.commit(*zxids(1, 2), *zxids(1, epoch=2))
    b.commit(*zxids(1))
    with pytest.raises(InvariantViolation, match="nobody skips a commit"):
        b.commit(*zxids(1, epoch=2))


async def test_more_at_once_than_a_committed_log_holds() -> None:
    """Then the checker does not know what was between, and learns it from the next peer."""
    safety, (a, b, c) = await make_peers(3, committed_log=3)
    a.commit(*zxids(*range(1, 11)))
    assert safety.history == zxids(8, 9, 10)
    for counter in range(1, 11):
        b.commit(*zxids(counter))
    assert safety.history == zxids(*range(1, 11))
    c.commit(*zxids(1, 2, 3))
    with pytest.raises(InvariantViolation, match="all commit the same"):
        c.commit(*zxids(4), data=b"other")


async def test_a_leader_that_lacks_the_last_commit() -> None:
    _, (a, b) = await make_peers()
    a.lead(1)
    a.commit(*zxids(1, 2))
    b.apply(*zxids(1))
    with pytest.raises(InvariantViolation, match="a leader begins with all that is committed"):
        b.lead(2)


async def test_a_sync_that_takes_a_commit_back() -> None:
    _, (a, _) = await make_peers()
    a.commit(*zxids(1, 2))
    with pytest.raises(InvariantViolation, match="a sync takes nothing back"):
        a.tell(SyncReceived(mode="TRUNC", zxid=EPOCH | 1, proposals=0))


async def test_what_only_one_learner_applied_may_be_lost_in_its_crash() -> None:
    _, (a, _) = await make_peers()
    a.commit(*zxids(1, 2))
    a.tell(PeerStarted(peer=0, last_zxid=EPOCH | 1, accepted_epoch=1, current_epoch=1))
    a.tell(SyncReceived(mode="DIFF", zxid=EPOCH | 1, proposals=0))


async def test_equal_histories_with_different_trees() -> None:
    _, (a, b) = await make_peers()
    a.commit(*zxids(1))
    b.db.tree.digest += 1
    with pytest.raises(InvariantViolation, match="equal histories make equal trees"):
        b.commit(*zxids(1))


async def test_a_digest_that_is_wrong_while_a_peer_loads() -> None:
    safety = Safety()
    with pytest.raises(InvariantViolation, match="trees are what their digests say"):
        safety.check(1, None, DigestMismatch(zxid=1, expected=1, found=2))
