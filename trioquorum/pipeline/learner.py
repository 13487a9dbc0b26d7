"""The service of a follower or observer: reads here, writes and session questions to the leader."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from trioquorum.errors import PeerProtocolError
from trioquorum.events import Events
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.feeding import Feed
from trioquorum.pipeline.service import Service
from trioquorum.pipeline.stats import ServerStats
from trioquorum.pipeline.terms import Terms
from trioquorum.storage.database import Database
from trioquorum.tree.acl import Identity
from trioquorum.tree.prep import WriteRequest
from trioquorum.tree.sessions import LOCAL_SESSION, SessionIds, TouchTable
from trioquorum.wire.ops import Op
from trioquorum.wire.quorum import OF_LOCAL_SESSION, PacketType, QuorumPacket, encode_request, encode_revalidate
from trioquorum.wire.txn import decode_txn

_REQUEST = PacketType.REQUEST
_CREATE_SESSION: Final = int(Op.CREATE_SESSION)

SendPackets = Callable[[list[QuorumPacket]], None]


class Validated(Protocol):
    """Told whether a session lives, and what the leader had proposed by then."""

    def __call__(self, *, valid: bool, fence: int) -> None:
        """The leader's answer."""


class LearnerService(Service):
    """Forwards in one frame per wake-up; applies what the leader committed.

    ``master`` is who feeds this peer, ``feed`` what it does for observers of its own, if it has a port for them. The
    leader answers syncs in the order they were asked in, and questions about sessions as well, whoever asked.
    """

    syncs_wait = True

    def __init__(
        self,
        db: Database,
        terms: Terms,
        ids: SessionIds,
        stats: ServerStats,
        events: Events,
        *,
        master: int,
        observer: bool,
        send: SendPackets,
    ) -> None:
        super().__init__(db, terms, ids, stats, events)
        self.mode = "observer" if observer else "follower"
        self.touched = TouchTable()
        self.feed: Feed | None = None
        self._master = master
        self._send = send
        self._forward: list[QuorumPacket] = []
        self._syncs: deque[Callable[[], None]] = deque()
        self._validating: deque[tuple[int, Validated]] = deque()

    def submit(self, request: WriteRequest) -> None:
        data = encode_request(request.session, request.cxid, request.op, request.body)
        auth = None if request.op == _CREATE_SESSION else list(request.auth)
        zxid = OF_LOCAL_SESSION if request.owner is LOCAL_SESSION else -1
        self._forward.append(QuorumPacket(_REQUEST, zxid, data, auth))

    def submit_sync(self, client: Client, xid: int, payload: bytes) -> bool:
        self.ask_sync(client.session, xid, payload[8:], partial(self._synced, client, xid, payload), client.auth)
        return True

    def ask_sync(
        self, session: int, cxid: int, body: bytes, done: Callable[[], None], auth: Sequence[Identity] = ()
    ) -> None:
        """Ask the leader for a sync; ``done`` is called when everything it had proposed by then is applied here."""
        self._syncs.append(done)
        data = encode_request(session, cxid, Op.SYNC, body)
        self._forward.append(QuorumPacket(PacketType.REQUEST, -1, data, list(auth)))

    def sync_done(self) -> None:
        """The leader answered the oldest sync of this peer (quorum-protocol §18).

        Raises:
            PeerProtocolError: there is none.
        """
        if not self._syncs:
            raise PeerProtocolError("the leader answered a sync that nobody asked for")
        self._syncs.popleft()()

    def _synced(self, client: Client, xid: int, payload: bytes) -> None:
        if client.waiting and client.waiting[0][1] == xid and client.waiting[0][0] == Op.SYNC:
            self.answered(client)
            self._answer(client, Op.SYNC, xid, payload)
            self._drain(client)

    def validate(self, client: Client) -> None:
        if self.feed is not None:
            self.feed.taken_back(client.session)
        self.ask_validity(client.session, client.timeout_ms, partial(self._validated, client))

    def ask_validity(self, session: int, timeout_ms: int, answered: Validated) -> None:
        """Ask the leader whether a session lives that a client brought to this peer, or to an observer of it."""
        self._validating.append((session, answered))
        self._forward.append(QuorumPacket(PacketType.REVALIDATE, -1, encode_revalidate(session, timeout_ms)))

    def revalidated(self, session: int, *, valid: bool, fence: int) -> None:
        """The leader's answer to the oldest question about a session, and what it had proposed by then.

        Raises:
            PeerProtocolError: that question was about another session.
        """
        asked, answered = self._validating.popleft() if self._validating else (None, None)
        if asked != session or answered is None:
            raise PeerProtocolError(f"the leader answered for session {session:#x}, asked for was {asked}")
        answered(valid=valid, fence=fence)

    def _validated(self, client: Client, *, valid: bool, fence: int) -> None:
        if self.feed is not None and not valid:
            self.feed.closed(client.session)
        # The leader does not know such a session. It was asked all the same, for the fence.
        valid = valid or (self.local is not None and self.local.renew(client))
        # The connection may be lost meanwhile, or the session on another one.
        if self.connecting.get(client.session) is client:
            self.settle(client, valid=valid, fence=fence)

    def expire_local(self) -> None:
        """End this peer's own sessions that were not heard of in time; called once a tick."""
        if self.local is not None:
            self.local.expire()
            self.flush()

    def touch(self, sessions: dict[int, int]) -> None:
        for session, timeout_ms in sessions.items():
            self.touched.touch(session, timeout_ms)

    def commit(self, records: list[tuple[int, bytes]], designated: int | None = None) -> None:
        """Apply committed (zxid, payload) in order; one alone with a leader ``designated`` reconfigures."""
        self.stats.learner_commits += len(records)
        for _, payload in records:
            self.apply(decode_txn(payload))
        if self.feed is not None:
            self.feed.committed(records, designated)

    def _session_created(self, session: int) -> None:
        super()._session_created(session)
        # Java does so too: the leader then hears of a session that no peer may hold yet.
        self.touched.touch(session, self.tree.sessions[session])

    def _session_closed(self, session: int) -> None:
        super()._session_closed(session)
        if self.feed is not None:
            self.feed.closed(session)

    def pass_on(self) -> None:
        if self._forward:
            self._send(self._forward)
            self._forward = []

    def monitor(self) -> dict[str, object]:
        """A learner's lines of ``mntr``."""
        if self.mode == "observer":
            return {"observer_master_id": self._master}
        return {"synced_observers": len(self.feed.observers) if self.feed is not None else 0}
