"""The client's core: matching, watches over reconnects, the ends of requests, hostile bytes."""

from struct import Struct
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.client.kit import PASSWORD, SESSION, reply_frame, stat
from trioquorum.client.core import REQUEST_BYTES_MAX, Core, Fired, Request, State, StateChanged, nothing
from trioquorum.client.watches import SET_WATCHES_BYTES_MAX, Table, Watches, WatchEvent
from trioquorum.errors import Code, LocalProtocolError, PeerProtocolError, RequestFailed
from trioquorum.wire.client import event_frame, frame
from trioquorum.wire.ops import EventType, Op, Xid
from trioquorum.wire.records import (
    ConnectRequest,
    ConnectResponse,
    RequestHeader,
    SetWatches,
    SetWatches2,
    StatResponse,
)

_LENGTH = Struct(">i")


def welcome(timeout_ms: int = 9_000) -> bytes:
    return frame(ConnectResponse(0, timeout_ms, SESSION, PASSWORD).encode())


def connected() -> Core:
    core = Core(10_000)
    core.hello()
    assert list(core.feed(welcome())) == [StateChanged(State.CONNECTED)]
    return core


def sent(core: Core) -> list[tuple[int, int, bytes]]:
    """xid, op and body of what the core wants to send."""
    frames, output, at = [], core.take_output(), 0
    while at < len(output):
        end = at + 4 + _LENGTH.unpack_from(output, at)[0]
        header, body_at = RequestHeader.decode_from(output, at + 4)
        frames.append((header.xid, header.op, output[body_at:end]))
        at = end
    return frames


def read(path: str, watcher: Any = None, op: Op = Op.GET_DATA) -> Request[None]:
    table = Table.CHILD if op is Op.GET_CHILDREN else Table.DATA
    return Request(op, b"", nothing, None if watcher is None else (table, path, watcher))


def fired(kind: EventType | None, path: str, *watchers: Any) -> Fired:
    return Fired(WatchEvent(kind, path), [*watchers])


def submitted(core: Core, *requests: Request[Any]) -> None:
    for request in requests:
        core.submit(request)
    core.take_output()


def test_replies_match_in_order_and_a_stranger_breaks_the_connection() -> None:
    core = connected()
    first, second = read("/a"), read("/b")
    submitted(core, first, second)
    assert list(core.feed(reply_frame(1, zxid=5))) == [first]
    with pytest.raises(PeerProtocolError, match="xid 3, expected 2"):
        list(core.feed(reply_frame(3)))
    assert core.lost() == [second, StateChanged(State.CONNECTING)]
    assert (first.error, second.error) == (None, Code.CONNECTIONLOSS)


def test_effects_in_front_of_a_broken_frame_stand() -> None:
    core = connected()
    first, second = read("/a"), Request(Op.EXISTS, b"", StatResponse.decode_from)
    submitted(core, first, second)
    effects = core.feed(reply_frame(1) + reply_frame(2, b"too short"))
    assert next(effects) is first
    with pytest.raises(PeerProtocolError):
        next(effects)
    assert core.lost()[0] is second


def test_a_reply_must_not_read_into_the_next_frame() -> None:
    core = connected()
    submitted(core, Request(Op.EXISTS, b"", StatResponse.decode_from), read("/b"))
    body = StatResponse(stat()).encode()
    with pytest.raises(PeerProtocolError, match="truncated Stat"):
        list(core.feed(reply_frame(1, body[:-20]) + reply_frame(2)))


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(_LENGTH.pack(-1), id="negative length"),
        pytest.param(_LENGTH.pack(1 << 30), id="too long"),
        pytest.param(frame(b""), id="empty"),
        pytest.param(frame(bytes(5)), id="shorter than a header"),
        pytest.param(reply_frame(-9), id="unknown xid"),
        pytest.param(reply_frame(Xid.AUTH), id="auth never asked"),
        pytest.param(reply_frame(1), id="reply never asked"),
        pytest.param(reply_frame(Xid.NOTIFICATION, bytes(4)), id="event cut short"),
        pytest.param(event_frame(9, "/a", -1), id="unknown event"),
    ],
)
def test_what_no_server_may_send(frame: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        list(connected().feed(frame))


@given(st.binary(max_size=200))
def test_hostile_bytes_never_do_anything_else(data: bytes) -> None:
    core = connected()
    submitted(core, read("/a", print), Request(Op.EXISTS, b"", StatResponse.decode_from))
    try:
        list(core.feed(data))
        list(core.feed(reply_frame(1) + data))
    except PeerProtocolError:
        pass
    assert len(core.lost()) <= 3


def test_handshake_answer_of_a_read_only_server_is_no_session() -> None:
    core = Core(10_000)
    core.hello()
    with pytest.raises(PeerProtocolError):
        list(core.feed(reply_frame(0, err=Code.NOTREADONLY)))
    assert core.state is State.CONNECTING


def test_nothing_of_a_connection_survives_it() -> None:
    core = connected()
    core.submit(read("/a"))
    list(core.feed(reply_frame(1)[:7]))
    core.lost()
    core.hello()
    assert core.take_output() == b""
    assert list(core.feed(welcome())) == [StateChanged(State.CONNECTED)]


def test_each_watch_is_told_once_by_the_event_of_its_table() -> None:
    core = connected()
    submitted(
        core,
        read("/d", "data"),
        read("/d", "exists", Op.EXISTS),
        read("/d", "child", Op.GET_CHILDREN),
        read("/new", "creation", Op.EXISTS),
        read("/gone", "never", Op.GET_DATA),
    )
    list(core.feed(b"".join(reply_frame(xid) for xid in (1, 2, 3))))
    list(core.feed(reply_frame(4, err=Code.NONODE) + reply_frame(5, err=Code.NONODE)))

    def told(kind: EventType, path: str) -> list[Any]:
        return list(core.feed(event_frame(kind, path, -1)))

    changed, child = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED
    created, deleted = EventType.NODE_CREATED, EventType.NODE_DELETED
    assert told(child, "/d") == [fired(child, "/d", "child")]
    assert told(child, "/d") == [fired(child, "/d")]
    assert told(changed, "/d") == [fired(changed, "/d", "data", "exists")]
    assert told(deleted, "/d") == [fired(deleted, "/d")]
    assert told(created, "/new") == [fired(created, "/new", "creation")]
    assert told(created, "/gone") == [fired(created, "/gone")]


def test_a_deletion_tells_a_watcher_of_several_tables_once() -> None:
    core = connected()
    submitted(core, read("/d", "w"), read("/d", "w", Op.GET_CHILDREN), read("/d", "w", Op.EXISTS))
    list(core.feed(b"".join(reply_frame(xid) for xid in (1, 2, 3))))
    deleted = EventType.NODE_DELETED
    assert list(core.feed(event_frame(deleted, "/d", -1))) == [fired(deleted, "/d", "w")]


def test_an_abandoned_request_sets_no_watch() -> None:
    core = connected()
    request = read("/d", "w")
    submitted(core, request)
    request.abandoned = True
    assert list(core.feed(reply_frame(1))) == [request]
    assert list(core.feed(event_frame(EventType.NODE_DELETED, "/d", -1))) == [fired(EventType.NODE_DELETED, "/d")]


def test_reconnect_shows_the_session_identities_and_watches_in_this_order() -> None:
    core = connected()
    auth = Request(Op.AUTH, b"who", nothing)
    submitted(core, auth, auth, read("/d", "w"), read("/e", "w", Op.EXISTS), read("/c", "w", Op.GET_CHILDREN))
    list(core.feed(reply_frame(Xid.AUTH) * 2 + reply_frame(1, zxid=7) + reply_frame(2, zxid=8, err=Code.NONODE)))
    list(core.feed(event_frame(EventType.NODE_CHILDREN_CHANGED, "/nobody", -1) + reply_frame(3, zxid=9)))
    assert core.lost() == [StateChanged(State.CONNECTING)]
    asked = ConnectRequest.decode(core.hello()[4:])
    assert (asked.session, asked.password, asked.last_zxid_seen, asked.timeout_ms) == (SESSION, PASSWORD, 9, 10_000)
    list(core.feed(welcome()))
    assert sent(core) == [
        (Xid.AUTH, Op.AUTH, b"who"),
        (Xid.SET_WATCHES, Op.SET_WATCHES, SetWatches(9, ["/d"], ["/e"], ["/c"]).encode()),
    ]
    # Catch-up events come in front of the reply, and the next request goes on counting.
    created = EventType.NODE_CREATED
    caught_up = core.feed(reply_frame(Xid.AUTH) + event_frame(created, "/e", -1) + reply_frame(-8, zxid=12))
    assert list(caught_up) == [fired(created, "/e", "w")]
    core.submit(read("/d"))
    assert [xid for xid, _, _ in sent(core)] == [4]
    assert core.last_zxid == 12


def test_events_do_not_move_the_zxid_that_watches_are_set_again_from() -> None:
    """A second event of the same transaction may still be on its way when the connection breaks."""
    core = connected()
    submitted(core, read("/d", "w"))
    list(core.feed(reply_frame(1, zxid=7)))
    event = event_frame(EventType.NODE_DATA_CHANGED, "/d", -1)
    list(core.feed(event[:8] + (99).to_bytes(8, "big") + event[16:]))
    assert core.last_zxid == 7


@given(st.lists(st.integers(1, 40_000) | st.just(SET_WATCHES_BYTES_MAX + 1), max_size=12))
def test_many_watches_are_set_again_in_pieces(lengths: list[int]) -> None:
    watches = Watches()
    paths = {f"/{i}".ljust(length, "x") for i, length in enumerate(lengths)}
    for path in paths:
        watches.add(Table.CHILD, path, print)
        watches.add(Table.EXIST, path, print)
    batches = list(watches.registrations(3))
    for kind in ("child", "exist"):
        again = [path for batch in batches for path in getattr(batch, kind)]
        assert sorted(again) == sorted(paths)
    for batch in batches:
        text = sum(map(len, [*(batch.data or []), *(batch.exist or []), *(batch.child or [])]))
        alone = len(batch.data or []) + len(batch.exist or []) + len(batch.child or []) == 1
        assert 0 < text <= SET_WATCHES_BYTES_MAX or alone
        assert batch.relative_zxid == 3


def lasting(path: str, watcher: Any, *, recursive: bool = False) -> Request[None]:
    return Request(Op.ADD_WATCH, b"", nothing, (Table.RECURSIVE if recursive else Table.PERSISTENT, path, watcher))


def test_lasting_watches_are_told_again_and_again() -> None:
    core = connected()
    submitted(core, lasting("/a", "p"), lasting("/", "r", recursive=True), read("/a", "once"))
    list(core.feed(b"".join(reply_frame(xid) for xid in (1, 2, 3))))
    changed, child = EventType.NODE_DATA_CHANGED, EventType.NODE_CHILDREN_CHANGED
    for kind, path, told in (
        (changed, "/a", ["once", "p", "r"]),
        (changed, "/a", ["p", "r"]),
        (child, "/a", ["p"]),
        (EventType.NODE_CREATED, "/a/b", ["r"]),
        (EventType.NODE_DELETED, "/a", ["p", "r"]),
        (changed, "/", ["r"]),
    ):
        assert list(core.feed(event_frame(kind, path, -1))) == [fired(kind, path, *told)]


@pytest.mark.parametrize("waited_for", [True, False])
def test_a_removed_watch_is_forgotten_when_its_server_says_so(waited_for: bool) -> None:
    core = connected()
    removing = Request(Op.REMOVE_WATCHES, b"", nothing, (Table.PERSISTENT, "/a", lambda _: None))
    removing.abandoned = not waited_for
    submitted(core, lasting("/a", "p"), removing)
    list(core.feed(reply_frame(1)))
    changed = EventType.NODE_DATA_CHANGED
    assert list(core.feed(event_frame(changed, "/a", -1))) == [fired(changed, "/a", "p")]
    list(core.feed(reply_frame(2)))
    assert list(core.feed(event_frame(changed, "/a", -1))) == [fired(changed, "/a")]
    core.lost()
    core.hello()
    list(core.feed(welcome()))
    assert sent(core) == []


def test_lasting_watches_are_set_again_by_a_request_of_their_own() -> None:
    core = connected()
    submitted(core, lasting("/p", "p"), lasting("/r", "r", recursive=True), read("/d", "w"))
    list(core.feed(b"".join(reply_frame(xid, zxid=5) for xid in (1, 2, 3))))
    core.lost()
    core.hello()
    list(core.feed(welcome()))
    again = SetWatches2(5, ["/d"], [], [], ["/p"], ["/r"]).encode()
    assert sent(core) == [(Xid.SET_WATCHES, Op.SET_WATCHES2, again)]


def test_a_lost_session_ends_requests_and_tells_every_watcher() -> None:
    core = connected()
    submitted(core, read("/d", "w"), read("/d", "v", Op.GET_CHILDREN), read("/x"))
    list(core.feed(reply_frame(1) + reply_frame(2)))
    core.lost()
    core.hello()
    assert list(core.feed(welcome(timeout_ms=0))) == [
        StateChanged(State.EXPIRED),
        fired(None, "/d", "w", "v"),
    ]
    with pytest.raises(RequestFailed) as failed:
        core.submit(read("/d"))
    assert failed.value.code is Code.SESSIONEXPIRED
    assert core.lost() == core.end(State.CLOSED) == []
    assert core.state is State.EXPIRED


def test_refused_authentication_ends_everything() -> None:
    core = connected()
    auth, get = Request(Op.AUTH, b"who", nothing), read("/a")
    submitted(core, auth, get)
    effects = list(core.feed(reply_frame(Xid.AUTH, err=Code.AUTHFAILED) + reply_frame(1)))
    assert effects == [get, auth, StateChanged(State.AUTH_FAILED)]
    assert auth.error is get.error is Code.AUTHFAILED
    with pytest.raises(RequestFailed) as failed:
        core.submit(read("/a"))
    assert failed.value.code is Code.AUTHFAILED


def test_expired_requests_still_take_their_reply() -> None:
    core = connected()
    early, late = read("/a", "w"), read("/b")
    early.deadline, late.deadline = 1.0, 2.0
    submitted(core, early, late)
    assert core.next_deadline() == 1.0
    assert core.expire(0.9) == []
    assert core.expire(1.0) == [early]
    assert core.expire(1.0) == []
    assert core.next_deadline() == 2.0
    assert list(core.feed(reply_frame(1) + reply_frame(2))) == [early, late]
    assert (early.error, late.error) == (Code.REQUESTTIMEOUT, None)
    assert core.next_deadline() is None
    assert list(core.feed(event_frame(EventType.NODE_DELETED, "/a", -1))) == [fired(EventType.NODE_DELETED, "/a")]


def test_xids_wrap_and_unknown_codes_are_system_errors() -> None:
    core = connected()
    core._xid = 2**31 - 2
    requests = [read("/a"), read("/b")]
    for request in requests:
        core.submit(request)
    assert [xid for xid, _, _ in sent(core)] == [2**31 - 1, 1]
    list(core.feed(reply_frame(2**31 - 1, err=-126)))
    assert requests[0].error is Code.SYSTEMERROR


def test_what_cannot_be_sent_is_not_queued() -> None:
    core = connected()
    core.submit(Request(Op.SET_DATA, bytes(REQUEST_BYTES_MAX - 8), nothing))
    assert len(core.take_output()) == REQUEST_BYTES_MAX + 4
    with pytest.raises(LocalProtocolError, match="1048576 bytes"):
        core.submit(Request(Op.SET_DATA, bytes(REQUEST_BYTES_MAX - 7), nothing))
    core.lost()
    with pytest.raises(RequestFailed) as failed:
        core.submit(read("/a"))
    assert failed.value.code is Code.CONNECTIONLOSS
    assert core.take_output() == b""
