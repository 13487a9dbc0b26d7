"""The checker itself: it must find what it is there for."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from tests.sim.stage import FOLLOWER, LATE, LEADER, START, Stage
from trioquorum.events import (
    Committed,
    DigestMismatch,
    Elected,
    Established,
    Event,
    Events,
    PeerStarted,
    RoundStarted,
    StateChanged,
    SyncReceived,
    VoteChanged,
)
from trioquorum.invariants import InvariantViolation
from trioquorum.limits import Limits
from trioquorum.storage.database import Database
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import Safety
from trioquorum.testing.safety.answers import Replies
from trioquorum.testing.safety.history import History
from trioquorum.testing.safety.roles import Roles
from trioquorum.testing.safety.sessions import COMMITS_PER_LOOK, Sessions
from trioquorum.wire.client import frame, reply
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
            self.db.append([(zxid, payload)])
            self.db.apply(txn)

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


async def test_an_observer_fed_in_an_epoch_that_its_master_never_followed_in() -> None:
    _, (a, b, c) = await make_peers(3)
    a.lead(1)
    b.follow(0, 1)
    fed = Established(role="observer", leader=2, epoch=1, zxid=EPOCH, master=1)
    c.tell(fed)  # it knows the next leader already
    c.lead(2)
    with pytest.raises(InvariantViolation, match="one leads, all follow"):
        a.tell(msgspec.structs.replace(fed, epoch=2))


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


def delivered(*records: tuple[int, bytes]) -> None:
    """Somebody delivers these, whatever a database would say to that."""
    history = History(Sessions().committed)
    db = SimpleNamespace(
        committed_log=SimpleNamespace(records=lambda: records),
        tree=SimpleNamespace(digest=0),
    )
    history.event(1, cast("Database", db), Committed(zxid=records[-1][0]))


def session_payload(zxid: int, kind: Op, session: int = 7) -> bytes:
    return TxnHeader(session, 0, zxid, 1, kind).encode()


async def test_an_older_epoch_that_goes_on_behind_the_new_leader() -> None:
    _, (a, b) = await make_peers()
    a.lead(2)
    with pytest.raises(InvariantViolation, match="a leader has delivered all of earlier epochs"):
        b.commit(*zxids(1))


async def test_an_epoch_with_a_gap() -> None:
    one, three = zxids(1, 3)
    with pytest.raises(InvariantViolation, match="delivered in the order of zxids"):
        delivered((one, session_payload(one, Op.PING)), (three, session_payload(three, Op.PING)))


@pytest.mark.parametrize("again", [Op.CLOSE_SESSION, Op.CREATE_SESSION])
async def test_a_session_that_goes_on_behind_its_end(again: Op) -> None:
    one, two = zxids(1, 2)
    with pytest.raises(InvariantViolation, match="a session ends once"):
        delivered((one, session_payload(one, Op.CLOSE_SESSION)), (two, session_payload(two, again)))


async def test_ephemerals_of_nobody() -> None:
    _, (a, _) = await make_peers()
    a.db.tree.ephemerals[7] = {"/e"}
    with pytest.raises(InvariantViolation, match="ephemerals have a live session"):
        a.lead(1)


async def test_ephemerals_of_nobody_are_found_between_terms() -> None:
    _, (a, _) = await make_peers()
    a.lead(1)
    a.db.tree.ephemerals[7] = {"/e"}
    for counter in range(1, COMMITS_PER_LOOK):
        a.commit(*zxids(counter))
    with pytest.raises(InvariantViolation, match="ephemerals have a live session"):
        a.commit(*zxids(COMMITS_PER_LOOK))


async def test_equal_histories_with_different_sessions() -> None:
    _, (a, b) = await make_peers()
    a.lead(1)
    b.db.tree.sessions[7] = 1000
    with pytest.raises(InvariantViolation, match="equal histories make equal sessions"):
        b.follow(0, 1)


async def test_a_log_that_is_written_between_roles() -> None:
    roles = Roles()
    _, (a, _) = await make_peers()
    looking = StateChanged(old="following", new="looking", reason="")
    following = StateChanged(old="looking", new="following", reason="")
    roles.event(0, a.db, looking)
    a.apply(*zxids(1))
    with pytest.raises(InvariantViolation, match="who looks for a leader logs nothing"):
        roles.event(0, a.db, following)
    _, (a, _) = await make_peers()
    a.apply(*zxids(1))
    with pytest.raises(InvariantViolation, match="the log is drained before the next role"):
        roles.event(1, a.db, looking)


async def test_delivered_and_never_proposed() -> None:
    _, (a, _) = await make_peers()
    stage = Stage()
    stage.join(FOLLOWER)
    stage.propose(1)
    a.apply(START | 1, START | 2)
    with pytest.raises(InvariantViolation, match="only what a leader proposed is delivered"):
        stage.safety.check(LEADER, a.db, Committed(zxid=START | 2))


def test_the_highest_zxid_of_replies_in_any_pieces() -> None:
    replies = [reply(1, 5, 0, b"x" * 100), reply(2, 9, 0), reply(3, -1, -101), reply(4, EPOCH, 0)]
    # Without the byte that says whether there is a leader, with it, and with it set.
    for greeting, highest in ((bytes(36), 9), (bytes(37), 9), (bytes(36) + b"\1", 0)):
        stream = frame(greeting) + b"".join(replies)
        for size in (1, 7, 19, 1000):
            told = Replies()
            told.asked(frame(bytes(44)))
            assert max(told.told(stream[at : at + size]) for at in range(0, len(stream), size)) == highest
    word = Replies()
    word.asked(b"ruok")
    assert word.told(b"imok" * 100) == 0


def look(stage: Stage, peer: int, zxid: int, number: int = 1) -> None:
    stage.disk(peer).logged = zxid
    epoch = stage.disk(peer).current
    stage.tell(peer, RoundStarted(round=number, leader=peer, zxid=zxid, peer_epoch=epoch))


def elected(stage: Stage, *voters: int) -> None:
    stage.tell(LEADER, Elected(leader=LEADER, round=1, voters=voters, duration_ms=0))


def test_electors_know_no_more_than_whom_they_elect() -> None:
    stage = Stage()
    look(stage, LEADER, 7)
    look(stage, FOLLOWER, 7)
    look(stage, LATE, 8)
    elected(stage, LEADER, FOLLOWER)
    with pytest.raises(InvariantViolation, match="whom a quorum elects knows as much as its electors"):
        elected(stage, LEADER, LATE)


def test_an_elector_may_have_learnt_more_since_it_voted() -> None:
    stage = Stage()
    look(stage, LEADER, 7)
    look(stage, FOLLOWER, 7)
    look(stage, FOLLOWER, 9)
    elected(stage, LEADER, FOLLOWER)


def test_a_round_that_was_joined_counts_like_one_begun() -> None:
    stage = Stage()
    look(stage, LEADER, 7)
    look(stage, FOLLOWER, 8, number=0)
    stage.tell(FOLLOWER, VoteChanged(round=1, leader=LEADER, zxid=7, peer_epoch=4, because=""))
    with pytest.raises(InvariantViolation, match="whom a quorum elects"):
        elected(stage, LEADER, FOLLOWER)
