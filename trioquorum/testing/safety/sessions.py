"""Sessions end once, and their ephemerals with them."""

from struct import Struct
from typing import Final

from trioquorum.events import Established, Event, SessionExpired
from trioquorum.invariants import invariant
from trioquorum.testing.safety.roles import LEADS, Roles
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.ops import Op

COMMITS_PER_LOOK: Final = 64
_HEADER: Final = Struct(">qiqqi")  # TxnHeader, of which session and type are wanted


class Sessions:
    """What is known of the sessions of an ensemble."""

    def __init__(self) -> None:
        self._closed: dict[int, int] = {}
        self._at: dict[int, dict[int, int]] = {}
        self._commits: dict[int, int] = {}

    def committed(self, zxid: int, payload: bytes) -> None:
        """A transaction was committed that nobody had applied before."""
        session, cxid, _, _, kind = _HEADER.unpack_from(payload)
        # A goodbye that crosses the expiry is a transaction too, and changes nothing; the leader's own have no cxid.
        if kind == Op.CREATE_SESSION or (kind == Op.CLOSE_SESSION and not (cxid and session in self._closed)):
            before = self._closed.get(session)
            # Who applied more at once than the committed log holds does not tell the first of it: another peer does,
            # later.
            late = before is not None and zxid < before
            invariant(before is None or late, "a session ends once", session=session, closed=before, again=zxid)
            if kind == Op.CLOSE_SESSION:
                self._closed[session] = zxid

    def expired(self, peer: int, event: Event, roles: Roles) -> None:
        """Somebody let a session expire."""
        if isinstance(event, SessionExpired):
            state = roles.of(peer).state
            invariant(
                state in LEADS, "only a leader lets sessions expire", peer=peer, state=state, session=event.session
            )

    def look(self, peer: int, tree: DataTree, event: Event, zxid: int) -> None:
        """What ``peer`` has after ``event``, which told of commits up to ``zxid``; looks closely only now and then."""
        if isinstance(event, Established):
            self._compare(peer, tree, zxid)
        else:
            self._commits[peer] = count = self._commits.get(peer, 0) + 1
            if count % COMMITS_PER_LOOK:
                return
        for session in tree.ephemerals:
            invariant(
                session in tree.sessions,
                "ephemerals have a live session",
                peer=peer,
                session=session,
                zxid=zxid,
            )

    def _compare(self, peer: int, tree: DataTree, zxid: int) -> None:
        if not zxid and tree.last_zxid:
            return  # It begins with a snapshot of who knows when, after its disk was damaged.
        known = self._at.setdefault(zxid, dict(tree.sessions))
        invariant(
            known == tree.sessions,
            "equal histories make equal sessions",
            peer=peer,
            zxid=zxid,
            differ=known.items() ^ tree.sessions.items(),
        )
        for session, paths in tree.ephemerals.items():
            gone = [path for path in sorted(paths) if path not in tree.nodes or tree.nodes[path].owner != session]
            invariant(not gone, "ephemerals have a live session", peer=peer, session=session, gone=gone)
