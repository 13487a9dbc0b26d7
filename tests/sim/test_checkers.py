"""Every checker refuses a history that is wrong in its way, and says why; all of them pass one that is right.

The histories are made by hand, transaction by transaction and call by call.
"""

import random
from typing import Any

import pytest

from trioquorum.client import OPEN_ACL, State
from trioquorum.errors import Code
from trioquorum.invariants import InvariantViolation
from trioquorum.testing.checkers import answers, check_history, locks, order, sessions, trees
from trioquorum.testing.history import Call, History, SessionRecord, Told, Turned
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads import Bank, Ephemerals, Readers, Register, Watching, Workload
from trioquorum.testing.workloads.bank import ACCOUNTS
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CreateFlag, EventType, Op
from trioquorum.wire.records import (
    ChildrenResponse,
    CreateRequest,
    DataResponse,
    MultiHeader,
    PathRequest,
    PathResponse,
    PathVersionRequest,
    PathWatchRequest,
    SetDataRequest,
    Stat,
    StatResponse,
)
from trioquorum.wire.txn import (
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetDataTxn,
    SubTxn,
    Txn,
    TxnHeader,
)

ACL = list(OPEN_ACL)
TIMEOUT_MS = 10_000
A, B = 0xA, 0xB


class Story:
    """Transactions and calls in the order of telling; the zxid is the number of the transaction, in ms its time."""

    def __init__(self) -> None:
        self.txns: list[tuple[int, Txn]] = []
        self.now = 0.0
        self.history = History(clock=lambda: self.now)
        self.records: dict[int, SessionRecord] = {}
        self._xids: dict[int, int] = {}

    # Transactions

    def txn(self, session: int, xid: int, kind: Op, record: Record, time_ms: int | None = None) -> int:
        zxid = len(self.txns) + 1
        header = TxnHeader(session, xid, zxid, zxid if time_ms is None else time_ms, kind)
        self.txns.append((zxid, Txn(header, record)))
        return zxid

    def opens(self, session: int) -> SessionRecord:
        record = self.records[session] = self.history.session(f"client-{session:x}")
        record.session, record.timeout_ms = session, TIMEOUT_MS
        self.txn(session, 0, Op.CREATE_SESSION, CreateSessionTxn(TIMEOUT_MS))
        return record

    def closes(self, session: int, *, xid: int = 0, paths: list[str] | None = None, time_ms: int | None = None) -> int:
        return self.txn(session, xid, Op.CLOSE_SESSION, CloseSessionTxn(paths), time_ms)

    def turns(self, session: int, state: State) -> None:
        position, now = self.history.step()
        self.records[session].seen.append(Turned(state, position, now))

    # Calls

    def begins(self, session: int, op: Op, request: Record | None, *, watched: bool = False) -> Call:
        xid = self._xids[session] = self._xids.get(session, 0) + 1
        position, now = self.history.step()
        body = b"" if request is None else request.encode()
        record = self.records[session]
        call = Call(record.client, session, xid, op, body, watched, position, now)
        record.calls.append(call)
        return call

    def ends(self, call: Call, zxid: int | None, result: Any = None, error: Code | None = None) -> Call:
        call.ended, call.ended_at = self.history.step()
        call.zxid, call.result, call.error = zxid, result, error
        self.records[call.session].seen.append(call)
        return call

    def creates(self, session: int, path: str, data: bytes = b"", *, ephemeral: bool = False, count: int = 1) -> Call:
        call = self.begins(session, Op.CREATE, CreateRequest(path, data, ACL, int(ephemeral)))
        zxid = self.txn(session, call.xid, Op.CREATE, CreateTxn(path, data, ACL, ephemeral, count))
        return self.ends(call, zxid, PathResponse(path))

    def sets(self, session: int, path: str, data: bytes, version: int, expected: int = -1) -> Call:
        call = self.begins(session, Op.SET_DATA, SetDataRequest(path, data, expected))
        zxid = self.txn(session, call.xid, Op.SET_DATA, SetDataTxn(path, data, version))
        return self.ends(call, zxid, StatResponse(self.stat(path)))

    def told(self, session: int, kind: EventType, path: str, zxid: int) -> None:
        position, now = self.history.step()
        self.records[session].seen.append(Told(kind, path, zxid, position, now))

    def gets(self, session: int, path: str, zxid: int, data: bytes, stat: Stat, *, watched: bool = False) -> Call:
        call = self.begins(session, Op.GET_DATA, PathWatchRequest(path, watched), watched=watched)
        return self.ends(call, zxid, DataResponse(data, stat))

    def fails(self, session: int, op: Op, request: Record, code: Code) -> Call:
        call = self.begins(session, op, request)
        return self.ends(call, self.txn(session, call.xid, Op.ERROR, ErrorTxn(code)), error=code)

    def stat(self, path: str) -> Stat:
        """As the tree that the transactions make shows it."""
        return Stat.decode(self.tree().nodes[path].stat)

    def tree(self) -> DataTree:
        tree = DataTree()
        for _, txn in self.txns:
            tree.apply(txn)
        return tree

    def truth(self) -> Truth:
        return Truth(self.txns, self.tree())

    def check(self) -> None:
        truth = self.truth()
        check_history(self.history, truth)
        trees.check_made(truth)


def two_sessions() -> Story:
    story = Story()
    story.opens(A)
    story.opens(B)
    return story


def refused(story: Story, *facts: str) -> None:
    with pytest.raises(InvariantViolation) as violation:
        story.check()
    for fact in facts:
        assert fact in str(violation.value)


def test_a_right_history_passes() -> None:
    story = two_sessions()
    made = story.creates(A, "/a", b"1")
    first = story.stat("/a")
    story.sets(A, "/a", b"2", 1)
    story.gets(B, "/a", made.zxid or 0, b"1", first)  # a peer behind: an old value, as it was
    story.gets(B, "/a", 4, b"2", story.stat("/a"))
    story.sets(B, "/a", b"3", 2, expected=1)
    story.fails(A, Op.SET_DATA, SetDataRequest("/a", b"x", 1), Code.BADVERSION)
    story.fails(A, Op.CREATE, CreateRequest("/a", b"", ACL, 0), Code.NODEEXISTS)
    story.fails(B, Op.CREATE, CreateRequest("/b/c", b"", ACL, 0), Code.NONODE)
    story.creates(B, "/e", ephemeral=True, count=2)
    lost = story.begins(A, Op.DELETE, PathVersionRequest("/a", -1))
    story.txn(A, lost.xid, Op.DELETE, DeleteTxn("/a"))
    story.ends(lost, None)
    story.ends(story.begins(A, Op.SET_DATA, SetDataRequest("/a", b"never", -1)), None)
    goodbye = story.begins(B, Op.CLOSE_SESSION, None)
    story.ends(goodbye, story.closes(B, xid=goodbye.xid, paths=["/e"]))
    story.check()


# Writes and their answers


def test_an_acknowledged_write_that_is_not_there() -> None:
    story = two_sessions()
    story.creates(A, "/a")
    story.txns.pop()
    refused(story, "a write that was answered is committed", "told=3", "committed=None")


def test_an_acknowledged_write_with_another_zxid() -> None:
    story = two_sessions()
    story.creates(A, "/a").zxid = 4
    refused(story, "a write that was answered is committed", "told=4", "committed=3")


def test_a_write_that_did_something_else() -> None:
    story = two_sessions()
    story.creates(A, "/a", b"1")
    story.txns[-1][1].record.data = b"2"  # type: ignore[attr-defined]
    refused(story, "what is done was asked for", "b'1'", "b'2'")


def test_a_refused_write_that_happened() -> None:
    story = two_sessions()
    call = story.creates(A, "/a")
    call.error, call.result = Code.NODEEXISTS, None
    refused(story, "a write is answered as it went", "NODEEXISTS", "committed=0")


def test_a_write_that_happened_twice() -> None:
    story = two_sessions()
    story.creates(A, "/a")
    story.sets(A, "/a", b"x", 1)
    story.txn(A, 2, Op.SET_DATA, SetDataTxn("/a", b"x", 2))
    refused(story, "a request is done once", "zxid=5", "first=4")


def test_a_refusal_without_a_reason() -> None:
    story = two_sessions()
    story.fails(A, Op.DELETE, PathVersionRequest("/zookeeper", -1), Code.NONODE)
    refused(story, "a write is refused for a reason", "told='NONODE'", "path='/zookeeper'")


def test_a_compare_and_set_that_did_not_compare() -> None:
    story = two_sessions()
    story.creates(A, "/a")
    story.sets(A, "/a", b"2", 1, expected=7)
    refused(story, "compare-and-set compares", "expected=7", "had=0")


def test_a_version_that_was_left_out() -> None:
    story = two_sessions()
    story.creates(A, "/a")
    story.sets(A, "/a", b"2", 2)
    refused(story, "versions count changes", "had=0", "new=2")


def test_a_reply_with_a_stat_of_another_time() -> None:
    story = two_sessions()
    story.creates(A, "/a")
    old = story.stat("/a")
    story.sets(A, "/a", b"2", 1).result = StatResponse(old)
    refused(story, "a write is told the Stat it made", "version=0", "version=1")


def test_a_create_that_is_told_another_path() -> None:
    story = two_sessions()
    story.creates(A, "/a").result = PathResponse("/b")
    refused(story, "a create is told its path", "told='/b'", "made='/a'")


# Reads


def test_a_read_of_what_never_was() -> None:
    story = two_sessions()
    story.creates(A, "/a", b"1")
    story.gets(B, "/a", 3, b"2", story.stat("/a"))
    refused(story, "a read shows the tree at its zxid", "b'1'", "b'2'", "zxid=3")


def test_a_read_of_what_was_no_more() -> None:
    story = two_sessions()
    story.creates(A, "/a", b"1")
    old = story.stat("/a")
    story.sets(A, "/a", b"2", 1)
    story.gets(A, "/a", 4, b"1", old)
    refused(story, "a read shows the tree at its zxid", "b'1'", "b'2'", "zxid=4")


def test_a_node_that_is_said_not_to_be_there() -> None:
    story = two_sessions()
    story.creates(A, "/a")
    call = story.begins(B, Op.EXISTS, PathWatchRequest("/a", watch=False))
    story.ends(call, 3, error=Code.NONODE)
    refused(story, "a read shows the tree at its zxid", "seen=<Code.NONODE", "czxid=3")


# Order


def test_a_write_that_went_before_one_that_was_done() -> None:
    story = two_sessions()
    early = story.begins(A, Op.CREATE, CreateRequest("/a", b"", ACL, 0))
    late = story.begins(B, Op.CREATE, CreateRequest("/b", b"", ACL, 0))
    story.txn(B, 1, Op.CREATE, CreateTxn("/b", b"", ACL, False, 1))
    story.txn(A, 1, Op.CREATE, CreateTxn("/a", b"", ACL, False, 2))
    story.ends(early, 4, PathResponse("/a"))
    story.ends(late, 3, PathResponse("/b"))
    story.check()  # at the same time: any order will do
    late.began = story.history.step()[0]
    late.ended = late.began + 1
    refused(story, "what was done before comes before", "'client-a', 1, 4", "'client-b', 1, 3")


def test_a_session_that_went_back() -> None:
    story = two_sessions()
    story.creates(A, "/a")
    before = story.stat("/a")
    story.creates(A, "/b", count=2)
    story.gets(A, "/a", 3, b"", before)
    refused(story, "a session never goes back", "zxid=3", "had=4")


def test_replies_out_of_order() -> None:
    story = two_sessions()
    first = story.begins(A, Op.SYNC, PathRequest("/"))
    story.ends(story.begins(A, Op.SYNC, PathRequest("/")), 2)
    story.ends(first, 2)
    refused(story, "replies come in the order of requests", "xid=1", "after=2")


def test_a_sync_that_does_not_see_what_was_done() -> None:
    story = two_sessions()
    early = story.begins(B, Op.SYNC, PathRequest("/"))
    story.creates(A, "/a")
    story.ends(early, 2)
    story.check()  # it was asked for before the create was done
    story.ends(story.begins(B, Op.SYNC, PathRequest("/")), 2)
    refused(story, "a sync sees what was done before", "'client-b', 2, 2", "'client-a', 1, 3")


# Sessions


def test_a_session_that_expired_too_early() -> None:
    story = two_sessions()
    story.creates(A, "/a")
    story.closes(A, time_ms=TIMEOUT_MS - 50)
    refused(story, "a session lives as long as was granted", "last_write_ms=3", "expired_ms=9950")


def test_a_session_that_is_called_expired_and_lives() -> None:
    story = two_sessions()
    story.turns(A, State.EXPIRED)
    refused(story, "only sessions that ended are called expired", "session=10")


def test_a_session_that_nobody_made() -> None:
    story = two_sessions()
    story.txns.pop()
    refused(story, "a session that was granted exists", "session=11")


def test_a_goodbye_that_nobody_heard() -> None:
    story = two_sessions()
    goodbye = story.begins(A, Op.CLOSE_SESSION, None)
    story.ends(goodbye, story.closes(B, xid=goodbye.xid))
    with pytest.raises(InvariantViolation, match="a goodbye ends the session: session=10, told=3, closed=None"):
        sessions.check(story.history, story.truth())


def test_a_service_after_the_end() -> None:
    story = two_sessions()
    story.closes(A, time_ms=TIMEOUT_MS + 1)
    story.ends(story.begins(A, Op.SYNC, PathRequest("/")), 3)
    refused(story, "nobody is served after the end", "zxid=3", "closed=3")


def test_an_ephemeral_that_outlives_its_session() -> None:
    story = two_sessions()
    story.creates(A, "/e", ephemeral=True)
    story.closes(A, paths=["/other"], time_ms=TIMEOUT_MS * 2)
    refused(story, "a session's end names all its ephemerals", "'/e'", "'/other'")


def test_a_write_of_a_session_that_ended() -> None:
    story = two_sessions()
    story.closes(A, time_ms=TIMEOUT_MS * 2)
    story.creates(A, "/a")
    refused(story, "only sessions that live write", "session=10", "zxid=4")


# Sequential nodes and locks


def queues(story: Story, session: int, number: int, count: int) -> Call:
    """A place in the queue of ``/lock``."""
    prefix = f"/lock/{session:x}-"
    call = story.begins(session, Op.CREATE, CreateRequest(prefix, b"", ACL, int(CreateFlag.EPHEMERAL_SEQUENTIAL)))
    path = f"{prefix}{number:010d}"
    zxid = story.txn(session, call.xid, Op.CREATE, CreateTxn(path, b"", ACL, True, count))
    return story.ends(call, zxid, PathResponse(path))


def test_numbers_that_fall() -> None:
    story = two_sessions()
    story.creates(A, "/lock")
    queues(story, A, 1, 1)
    queues(story, B, 2, 2)
    story.check()
    queues(story, A, 2, 3)
    refused(story, "sequence numbers rise", "parent='/lock', number=2, zxid=6, before=2, before_zxid=5")


def test_two_that_hold_a_lock() -> None:
    story = two_sessions()
    story.creates(A, "/lock")
    story.creates(A, "/fence", count=2)
    queues(story, A, 0, 1)
    queues(story, B, 1, 2)
    story.sets(A, "/fence", b"A", 1)
    locks.check(story.truth(), "/lock", "/fence")
    story.sets(B, "/fence", b"B", 2)
    story.check()
    with pytest.raises(InvariantViolation, match="one holds a lock: lock='/lock', zxid=8, acted=11, held=10"):
        locks.check(story.truth(), "/lock", "/fence")


# Watches


def watched(*, then: int = 1) -> Story:
    """B watches the data of ``/a`` since zxid 3; A changes it at 4, and at 5 and so on."""
    story = two_sessions()
    story.turns(B, State.CONNECTED)
    story.creates(A, "/a", b"0")
    story.gets(B, "/a", 3, b"0", story.stat("/a"), watched=True)
    for version in range(1, then + 1):
        story.sets(A, "/a", b"%d" % version, version)
    return story


def reconnects(story: Story) -> None:
    story.turns(B, State.CONNECTING)
    story.turns(B, State.CONNECTED)


CHANGED, DELETED = EventType.NODE_DATA_CHANGED, EventType.NODE_DELETED
CREATED, CHILDREN = EventType.NODE_CREATED, EventType.NODE_CHILDREN_CHANGED


def test_a_change_that_is_told_in_time() -> None:
    story = watched()
    story.told(B, CHANGED, "/a", 4)
    story.gets(B, "/a", 4, b"1", story.stat("/a"), watched=True)
    reconnects(story)
    story.sets(A, "/a", b"2", 2)
    story.told(B, CHANGED, "/a", -1)
    story.gets(B, "/a", 5, b"2", story.stat("/a"))
    story.check()


def test_a_change_that_is_seen_before_it_is_told() -> None:
    story = watched()
    story.gets(B, "/a", 4, b"1", story.stat("/a"))
    story.told(B, CHANGED, "/a", 4)
    refused(story, "a change is told before it is seen", "path='/a', watched_since=3, changed=4, seen=4, by_xid=2")


def test_a_change_that_is_missed_over_a_reconnect() -> None:
    story = watched()
    reconnects(story)
    story.gets(B, "/a", 4, b"1", story.stat("/a"))
    refused(story, "a change is told before it is seen", "changed=4, seen=4")


def test_an_event_that_is_told_twice() -> None:
    story = watched()
    story.told(B, CHANGED, "/a", 4)
    story.told(B, CHANGED, "/a", 4)
    refused(story, "only what was asked for is told, and once", "'NODE_DATA_CHANGED', zxid=4")


def test_an_event_that_nobody_asked_for() -> None:
    story = watched()
    story.told(B, CHILDREN, "/", 3)
    refused(story, "only what was asked for is told, and once", "path='/', event='NODE_CHILDREN_CHANGED'")


def test_the_second_change_instead_of_the_first() -> None:
    story = watched(then=2)
    story.told(B, CHANGED, "/a", 5)
    refused(story, "a watch tells the first change behind it", "zxid=5", "first=(4, 'NODE_DATA_CHANGED')")


def test_a_change_of_another_kind() -> None:
    story = watched()
    story.told(B, DELETED, "/a", 4)
    refused(story, "a watch tells the first change behind it", "event='NODE_DELETED'")


def test_what_was_seen_already_is_told() -> None:
    story = watched(then=0)
    story.told(B, CREATED, "/a", 3)
    refused(story, "a watch tells the first change behind it", "zxid=3", "first=None")


def test_an_event_made_up_for_without_a_reconnect() -> None:
    story = watched()
    story.told(B, CHANGED, "/a", -1)
    refused(story, "only a reconnect makes up for events", "watched_since=3")


def test_an_event_made_up() -> None:
    story = watched(then=0)
    reconnects(story)
    story.told(B, CHANGED, "/a", -1)
    refused(story, "what is made up for happened", "watched_since=3")


def test_an_end_that_is_made_up_for_each_of_two_watches() -> None:
    story = watched(then=0)
    call = story.begins(B, Op.GET_CHILDREN, PathWatchRequest("/a", watch=True), watched=True)
    story.ends(call, 3, ChildrenResponse([]))
    reconnects(story)
    gone = story.begins(A, Op.DELETE, PathVersionRequest("/a", -1))
    story.ends(gone, story.txn(A, gone.xid, Op.DELETE, DeleteTxn("/a")))
    story.told(B, DELETED, "/a", -1)
    story.told(B, DELETED, "/a", -1)
    story.check()
    story.told(B, DELETED, "/a", -1)
    refused(story, "only what was asked for is told, and once", "'NODE_DELETED', zxid=-1")


def test_a_node_that_came_and_went_while_its_watcher_was_away() -> None:
    story = two_sessions()
    story.turns(B, State.CONNECTED)
    call = story.begins(B, Op.EXISTS, PathWatchRequest("/a", watch=True), watched=True)
    story.ends(call, 2, error=Code.NONODE)
    reconnects(story)
    story.creates(A, "/a")
    gone = story.begins(A, Op.DELETE, PathVersionRequest("/a", -1))
    story.ends(gone, story.txn(A, gone.xid, Op.DELETE, DeleteTxn("/a")))
    story.ends(story.begins(B, Op.SYNC, PathRequest("/")), 4)
    story.check()
    story.creates(A, "/a", count=2)
    story.told(B, CREATED, "/a", 5)
    story.check()
    story.records[B].seen.pop()
    story.ends(story.begins(B, Op.SYNC, PathRequest("/")), 5)
    refused(story, "a change is told before it is seen", "path='/a'", "changed=5, seen=5")


def test_a_node_that_came_and_went_in_one_transaction() -> None:
    story = two_sessions()
    story.turns(B, State.CONNECTED)
    call = story.begins(B, Op.EXISTS, PathWatchRequest("/a", watch=True), watched=True)
    story.ends(call, 2, error=Code.NONODE)
    reconnects(story)
    made = SubTxn(Op.CREATE, CreateTxn("/a", b"", [], False, 1).encode())
    story.txn(A, 99, Op.MULTI, MultiTxn([made, SubTxn(Op.DELETE, DeleteTxn("/a").encode())]))
    story.ends(story.begins(B, Op.SYNC, PathRequest("/")), 3)
    story.check()


# Multis and what workloads know


def transfers(story: Story, amount: int, *, done: int | None = None) -> Call:
    """``amount`` from account a to b, and how much of it arrived."""
    first, second = b"%d" % -amount, b"%d" % (amount if done is None else done)
    parts = [SetDataRequest("/bank/a", first, 0), SetDataRequest("/bank/b", second, 0)]
    body = b"".join(MultiHeader(Op.SET_DATA, False, -1).encode() + part.encode() for part in parts)
    call = story.begins(A, Op.MULTI, None)
    call.body = body + MultiHeader(-1, True, -1).encode()
    txns = [SubTxn(Op.SET_DATA, SetDataTxn(part.path or "", part.data, 1).encode()) for part in parts]
    zxid = story.txn(A, call.xid, Op.MULTI, MultiTxn(txns))
    return story.ends(call, zxid, [story.stat("/bank/a"), story.stat("/bank/b")])


def bank() -> Story:
    story = two_sessions()
    story.creates(A, "/bank")
    for count, account in enumerate(ACCOUNTS, 1):
        story.creates(A, account, count=count)
    return story


class NoScene:
    def __init__(self) -> None:
        self.rng = random.Random(0)
        self.history = History(lambda: 0.0)
        self.pause_s = 1.0
        self.over = True


def workload(kind: type[Workload]) -> Any:
    return kind(NoScene())  # type: ignore[arg-type]


def test_half_a_multi() -> None:
    story = bank()
    transfers(story, 5)
    story.check()
    workload(Bank).check(story.truth())
    multi: Any = story.txns[-1][1].record
    multi.txns.pop()
    refused(story, "all of a multi or nothing", "asked=2, done=1")


def test_a_failed_multi_that_changed_something() -> None:
    story = bank()
    transfers(story, 5).result = [Code.OK, Code.BADVERSION]
    refused(story, "a multi that failed changed nothing", "BADVERSION", "done=2")


def test_money_that_was_made() -> None:
    story = bank()
    transfers(story, 5, done=6)
    with pytest.raises(InvariantViolation, match="money is not made: zxid=8, total=1"):
        workload(Bank).check(story.truth())


def test_an_ephemeral_that_somebody_removed() -> None:
    story = two_sessions()
    story.creates(A, "/ephemerals")
    story.creates(A, "/ephemerals/a", ephemeral=True)
    workload(Ephemerals).check(story.truth())
    story.txn(B, 1, Op.DELETE, DeleteTxn("/ephemerals/a"))
    with pytest.raises(InvariantViolation, match=r"ephemerals are their session's: .*owner=10, removed_by=11"):
        workload(Ephemerals).check(story.truth())


def test_a_compare_and_set_that_somebody_else_won() -> None:
    story = two_sessions()
    story.creates(A, "/register")
    story.creates(A, "/register/a")
    story.sets(A, "/register/a", b"mine", 1)
    register = workload(Register)
    register.won[4, "/register/a", 1] = b"mine"
    register.check(story.truth())
    register.won[4, "/register/a", 1] = b"other"
    with pytest.raises(InvariantViolation, match=r"one wins each version: .*winner=b'other', there=b'mine', zxid=5"):
        register.check(story.truth())


def test_a_watcher_that_is_told_twice() -> None:
    watching = workload(Watching)
    watching.told = [1, 0, 2]
    with pytest.raises(InvariantViolation, match="a watcher is told once: watcher=2, times=2"):
        watching.check(two_sessions().truth())
    watching.told.clear()
    watching.lasting[DELETED] = 1
    with pytest.raises(InvariantViolation, match="an event is told once: event='NODE_DELETED', times=1, events=0"):
        watching.check(two_sessions().truth())


# Histories


def test_a_history_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(clock=lambda: 0.0)
    monkeypatch.setattr("trioquorum.testing.history.CALLS_MAX", 10_001)
    assert not history.full
    history.calls = 1
    assert history.full
    history.calls = 10_001
    with pytest.raises(InvariantViolation, match="a history has a bound: calls=10001"):
        history.step()


# Trees


def test_trees_that_differ() -> None:
    story = two_sessions()
    one = story.tree()
    story.creates(A, "/a")
    two = story.tree()
    trees.check_equal({"peer_1": two, "peer_2": story.tree()})
    with pytest.raises(InvariantViolation, match=r"all peers hold the same: peer_1=.*'/a': None.*peer_2=.*'/a': \("):
        trees.check_equal({"peer_1": one, "peer_2": two})


def test_a_tree_that_its_history_did_not_make() -> None:
    story = two_sessions()
    story.creates(A, "/a", b"1")
    tree = story.tree()
    truth = Truth(story.txns, tree)
    trees.check_made(truth)
    tree.set_data("/a", b"2", 0, 3, 3)
    with pytest.raises(InvariantViolation, match=r"a node is what its history made: path='/a', tree=.*b'2'.*b'1'"):
        trees.check_made(truth)


def test_each_checker_stands_alone() -> None:
    story = two_sessions()
    story.creates(A, "/a")
    truth = story.truth()
    order.check(story.history)
    answers.check(story.history, truth)
    sessions.check(story.history, truth)


# Peers without a leader


def asks_without_a_leader(story: Story, op: Op, zxid: int, error: Code | None = None, result: Any = None) -> Call:
    writes = op is Op.SET_DATA
    call = story.begins(B, op, SetDataRequest("/a", b"1", -1) if writes else PathWatchRequest("/a", watch=False))
    call.read_only = True
    return story.ends(call, zxid, result, error)


def test_old_data_of_a_peer_without_a_leader() -> None:
    story = two_sessions()
    story.creates(A, "/a", b"0")
    stat = story.stat("/a")
    story.sets(A, "/a", b"1", 1)
    asks_without_a_leader(story, Op.GET_DATA, 3, result=DataResponse(b"0", stat))
    asks_without_a_leader(story, Op.SET_DATA, 3, Code.NOTREADONLY)
    asks_without_a_leader(story, Op.SYNC, 3, Code.NOTREADONLY)
    # Its log ends in what was never committed: nobody can know that.
    asks_without_a_leader(story, Op.GET_DATA, 77, result=DataResponse(b"?", stat))
    story.check()


def test_a_peer_without_a_leader_shows_what_never_was() -> None:
    story = two_sessions()
    story.creates(A, "/a", b"0")
    asks_without_a_leader(story, Op.GET_DATA, 3, result=DataResponse(b"1", story.stat("/a")))
    refused(story, "a read shows the tree at its zxid", "zxid=3")


def test_a_peer_without_a_leader_goes_back() -> None:
    story = two_sessions()
    story.creates(A, "/a", b"0")
    asks_without_a_leader(story, Op.GET_DATA, 3, result=DataResponse(b"0", story.stat("/a")))
    asks_without_a_leader(story, Op.GET_DATA, 2, Code.NONODE)
    refused(story, "a session never goes back", "zxid=2, had=3")


@pytest.mark.parametrize("op", [Op.SET_DATA, Op.SYNC])
def test_a_peer_without_a_leader_that_takes_a_write(op: Op) -> None:
    story = two_sessions()
    asks_without_a_leader(story, op, 2)
    refused(story, "who has no leader refuses writes", f"op='{op.name}', told=None")


def test_a_reader_that_is_left_behind() -> None:
    readers = workload(Readers)
    record = readers.scene.history.session("reader-0")
    for state in (State.CONNECTED_READ_ONLY, State.CONNECTING, State.CONNECTED, State.CLOSED):
        record.seen.append(Turned(state, 1, 0.0))
    readers.check(two_sessions().truth())
    del record.seen[1:3]
    with pytest.raises(InvariantViolation, match="sessions become proper ones: client='reader-0'"):
        readers.check(two_sessions().truth())
