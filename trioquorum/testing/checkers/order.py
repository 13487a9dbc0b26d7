"""Linearizability, with zxids as witnesses, and the order inside each session.

Every write has a place in one total order, its zxid; what is left to check is that real time fits into it, and that
each session moves forward in it. That takes a sort instead of a search.
"""

from typing import Final

from trioquorum.errors import Code
from trioquorum.invariants import invariant
from trioquorum.testing.checkers.requests import WRITES
from trioquorum.testing.history import Call, History, SessionRecord
from trioquorum.wire.ops import Op

_EPOCH: Final = 32


def check(history: History) -> None:
    """All of it.

    Raises:
        InvariantViolation: a server broke the protocol, a write has a lower zxid than one that was done before it
            began, a read behind a sync is older than that, a session went back, or its replies came out of order.
    """
    for record in history.sessions:
        _check_session(record)
    _check_writes(history)
    _check_syncs(history)


def _check_session(record: SessionRecord) -> None:
    invariant(not record.distrust, "servers keep to the protocol", client=record.client, broken=record.distrust[:3])
    zxid = xid = 0
    for call in record.seen:
        if not isinstance(call, Call) or call.zxid is None:
            continue
        client, session = record.client, record.session
        invariant(call.xid > xid, "replies come in the order of requests", client=client, xid=call.xid, after=xid)
        invariant(
            call.zxid >= zxid,
            "a session never goes back",
            client=client,
            session=session,
            xid=call.xid,
            zxid=call.zxid,
            had=zxid,
        )
        if _has_a_place(call):
            invariant(
                call.zxid > zxid, "each write is a new change", client=client, xid=call.xid, zxid=call.zxid, had=zxid
            )
        zxid, xid = call.zxid, call.xid


def _has_a_place(call: Call) -> bool:
    """Whether this is a write that takes part in the order: not one that a peer refused for want of room."""
    return call.op in WRITES and not call.read_only and call.error != Code.SYSTEMERROR


def _acknowledged(history: History) -> list[Call]:
    """Writes with an answer, in the order of their ends."""
    writes = (call for call in history.all_calls() if _has_a_place(call))
    done = [call for call in writes if call.zxid is not None]
    done.sort(key=lambda call: call.ended)
    return done


def _check_writes(history: History) -> None:
    done = _acknowledged(history)
    newest: Call | None = None
    at = 0
    for call in sorted(done, key=lambda call: call.began):
        while at < len(done) and done[at].ended < call.began:
            if newest is None or (done[at].zxid or 0) > (newest.zxid or 0):
                newest = done[at]
            at += 1
        if newest is not None:
            invariant(
                (newest.zxid or 0) < (call.zxid or 0),
                "what was done before comes before",
                earlier=(newest.client, newest.xid, newest.zxid, newest.ended_at),
                later=(call.client, call.xid, call.zxid, call.began_at),
            )


def _check_syncs(history: History) -> None:
    """A sync brings the session as far as anybody was told before it was asked for.

    Except by a leader that was deposed and has not noticed (client-protocol §20.4): it knows its own epoch alone.
    """
    done = _acknowledged(history)
    newest: dict[int, Call] = {}  # by epoch: few
    at = 0
    syncs = [call for call in history.all_calls() if call.op == Op.SYNC and call.succeeded]
    for sync in sorted(syncs, key=lambda call: call.began):
        while at < len(done) and done[at].ended < sync.began:
            known = done[at]
            epoch = (known.zxid or 0) >> _EPOCH
            if epoch not in newest or (known.zxid or 0) > (newest[epoch].zxid or 0):
                newest[epoch] = known
            at += 1
        shown = sync.zxid or 0
        for epoch, known in newest.items():
            if epoch <= shown >> _EPOCH:
                invariant(
                    shown >= (known.zxid or 0),
                    "a sync sees what was done before",
                    sync=(sync.client, sync.xid, shown, sync.began_at),
                    done=(known.client, known.xid, known.zxid, known.ended_at),
                )
