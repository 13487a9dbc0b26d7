"""What every role does for clients: sessions, per-session order, reads, and replies to committed writes.

One ``Service`` lives as long as one role. Drivers feed it (``request``), the role commits through it (``apply``), and
``flush`` ends every wake-up: it sends what the whole batch produced.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from librt.strings import read_i32_be

from trioquorum.errors import Code, PeerProtocolError, RequestFailed
from trioquorum.events import Events, SessionClosed, SessionCreated
from trioquorum.pipeline import local
from trioquorum.pipeline.auth import PROVING
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.early_acl import refusal
from trioquorum.pipeline.local_sessions import GOODBYE, LocalSessions
from trioquorum.pipeline.replies import reply_body
from trioquorum.pipeline.request_throttle import RequestThrottle
from trioquorum.pipeline.stats import ServerStats
from trioquorum.pipeline.terms import Terms
from trioquorum.storage.applying import Applier
from trioquorum.storage.database import Database
from trioquorum.storage.log_queue import LogQueue
from trioquorum.tree.prep import WriteRequest
from trioquorum.tree.reads import NO_ZXID
from trioquorum.tree.sessions import LOCAL_SESSION, SessionIds
from trioquorum.wire.client import REQUEST_HEADER, encode_connect_response, frame, reply, session_password
from trioquorum.wire.ops import REFUSED_WITHOUT_ROOM, WRITES, Op, Xid
from trioquorum.wire.records import ConnectRequest, ConnectResponse
from trioquorum.wire.txn import CloseSessionTxn, ErrorTxn, Txn

# A member of an enumeration takes three times as long to find as a constant.
_SYNC: Final = int(Op.SYNC)
_PING: Final = int(Op.PING)
_CREATE_SESSION: Final = int(Op.CREATE_SESSION)
_CLOSE_SESSION: Final = int(Op.CLOSE_SESSION)

NO_PASSWORD = bytes(16)

SETTLED = 1 << 32
"""Stands for the opcode of a request whose answer is known but has to wait for its turn; no client can send it."""


class Service:
    """Base of the leader's and the learner's service."""

    mode = "standalone"
    read_only = False
    """Whether it serves without a leader, only clients that ask for that."""

    def __init__(self, db: Database, terms: Terms, ids: SessionIds, stats: ServerStats, events: Events) -> None:
        self.db = db
        self._applier: Applier = db
        self._log: LogQueue = db.log
        self.tree = db.tree
        self.terms = terms
        self.refuses_writes = False
        """Whether disks have so little room that the leader takes no writes."""
        self._judges = terms.checks_acls_early
        self.stats = stats
        self.events = events
        self.clients: dict[int, Client] = {}
        self.connecting: dict[int, Client] = {}
        self.outputs: list[Callable[[], None]] = []
        self.inflight = 0
        """Requests that wait for an answer, those of special xids aside."""
        self.inflight_max = terms.limits.client_requests_inflight_max
        self.now = terms.clock()
        self.local = self._local_sessions()
        # Where nothing is demanded nothing is looked at: this is called for every request.
        self.take: Callable[[Client, bytes], None] = self.request if self.local is None else self.local.take
        if terms.auth.required:
            self.take = partial(terms.auth.guard, self.take)
        self.throttle: RequestThrottle | None = None
        if RequestThrottle.wanted(terms.throttles):
            self.throttle = RequestThrottle(terms.throttles, self, self.take)
            self.take = self.throttle.take
        self._ids = ids
        self._held: dict[Client, None] = {}
        self._touched: dict[int, int] = {}

    def _local_sessions(self) -> LocalSessions | None:
        """The sessions that only this peer knows; without them every session is everybody's."""
        terms = self.terms
        return LocalSessions(self, upgrading=terms.local_sessions_upgrading) if terms.local_sessions else None

    # What a role adds

    def submit(self, request: WriteRequest) -> None:
        """Put a local write on its way to the leader's prep stage."""
        raise TypeError(f"{type(self).__name__} takes no writes")

    def submit_sync(self, client: Client, xid: int, payload: bytes) -> bool:
        """Start a sync; false if it may be answered like a read."""
        del client, xid, payload
        return False

    def validate(self, client: Client) -> None:
        """Find out whether the session of a reconnecting client lives; ends in ``settle``."""
        raise TypeError(f"{type(self).__name__} validates no sessions")

    def touch(self, sessions: dict[int, int]) -> None:
        """These sessions (id → timeout in ms) were heard of in this wake-up."""

    def monitor(self) -> dict[str, object]:
        """The role's own lines of ``mntr``."""
        return {}

    def session_deadlines(self) -> dict[int, list[int]] | None:
        """Which sessions expire at which millisecond of the clock; ``None`` if only the leader knows."""
        return None

    def pass_on(self) -> None:
        """Send this wake-up's batch of writes on its way."""

    def flush(self) -> None:
        """End of a wake-up: let go of what was held back, pass the batch on, send the replies."""
        if self._touched:
            if self.local is not None:
                self.local.touch(self._touched)
            self.touch(self._touched)
            self._touched.clear()
        if self.throttle is not None:
            self.throttle.look()
        while self._held and not self._full():
            client = next(iter(self._held))
            del self._held[client]
            client.release()
        self.pass_on()
        for send in self.outputs:
            send()

    def share_inflight(self, voters: int) -> None:
        """What may be under way is meant for the ensemble: a voter takes its part (client-protocol §18)."""
        limit = self.terms.limits.client_requests_inflight_max
        self.inflight_max = max(limit // (voters - 1), 1) if voters > 2 else limit

    def _full(self) -> bool:
        """Whether so much is under way that clients must wait: requests, or bytes for a log that cannot keep up."""
        queued = 0 if self.throttle is None else self.throttle.queued
        return self.inflight + queued > self.inflight_max or not self._log.has_room

    def hold_if_full(self, client: Client) -> None:
        """Read no further request of a client that just sent one, if there are too many."""
        if self._full() and not client.held:
            self._hold(client)

    def _hold(self, client: Client) -> None:
        client.hold()
        self._held[client] = None

    # Connections

    def heard(self, client: Client) -> None:
        """A client sent something: its session lives. Called once per wake-up and client."""
        self.now = client.heard = self.terms.clock()
        if client.session:
            self._touched[client.session] = client.timeout_ms

    def connect(self, client: Client, request: ConnectRequest, read_only: bool | None) -> None:
        """First frame of a connection (client-protocol §3.3); the answer comes when the session is settled."""
        self.stats.sessions_asked += 1
        if request.last_zxid_seen > self.tree.last_zxid:
            client.close()  # the client is ahead of this peer: it must ask another one
            return
        client.hold()
        client.read_only = read_only
        client.timeout_ms = min(
            max(request.timeout_ms, self.terms.session_timeout_ms_min), self.terms.session_timeout_ms_max
        )
        if request.session == 0:
            client.session = self._ids.next()
            client.owner = self.terms.server_id
            self.connecting[client.session] = client
            if self.local is not None:
                self.local.open(client)
                self.settle(client, valid=True)
                return
            body = client.timeout_ms.to_bytes(4, "big")
            self.submit(WriteRequest(client.session, 0, Op.CREATE_SESSION, body, client.auth, client.owner))
            return
        self.stats.sessions_brought += 1
        self.supersede(request.session)
        client.session = request.session
        if request.password == session_password(request.session):
            self.connecting[client.session] = client
            self.validate(client)
        else:
            self.settle(client, valid=False)

    def supersede(self, session: int) -> None:
        """A session is brought elsewhere: its earlier connection here is over."""
        for older in (self.clients.get(session), self.connecting.get(session)):
            if older is not None:
                older.close()
                self.closed(older)

    def settle(self, client: Client, *, valid: bool, fence: int = -1) -> None:
        """Answer a ConnectRequest. ``fence``: the last zxid proposed before a session came back here."""
        self.connecting.pop(client.session, None)
        client.fence = fence
        if valid:
            answer = ConnectResponse(0, client.timeout_ms, client.session, session_password(client.session))
            self.clients[client.session] = client
            local = self.local is not None and client.session in self.local
            client.owner = LOCAL_SESSION if local else self.terms.server_id
            self._touched[client.session] = client.timeout_ms
        else:
            answer = ConnectResponse(0, 0, 0, NO_PASSWORD)
        client.send(frame(encode_connect_response(answer, None if client.read_only is None else self.read_only)))
        if valid:
            client.release()
        else:
            client.session = 0
            client.close()

    def closed(self, client: Client) -> None:
        """A connection is gone; its session lives on."""
        if self.clients.get(client.session) is client:
            del self.clients[client.session]
        if self.connecting.get(client.session) is client:
            del self.connecting[client.session]
        self.tree.watches.remove_watcher(client)
        self.inflight -= sum(xid > 0 for _, xid, _, _ in client.waiting)
        client.waiting.clear()
        self._held.pop(client, None)

    # Requests

    def request(self, client: Client, payload: bytes) -> None:
        """One frame of an open session: answered at once, or when its turn comes."""
        if len(payload) < REQUEST_HEADER.size:
            client.close()
            return
        xid: int = read_i32_be(payload, 0)
        op: int = read_i32_be(payload, 4)
        waiting = client.waiting
        if op in WRITES:
            if self._judges and self._refused_here(client, op, xid, payload):
                return
            self._wait(client, op, xid, payload)
            self.submit(WriteRequest(client.session, xid, op, payload[8:], client.auth, client.owner))
        elif op in PROVING:
            self.terms.auth.prove(client, op, xid, payload)
        elif (op == _SYNC and self.submit_sync(client, xid, payload)) or waiting:
            self._wait(client, op, xid, payload)
        else:
            client.at_once += 1
            self._answer(client, op, xid, payload)

    def _refused_here(self, client: Client, op: int, xid: int, payload: bytes) -> bool:
        """Whether a write is refused without asking the leader, and answered."""
        if self.refuses_writes and op in REFUSED_WITHOUT_ROOM:
            self.stats.writes_refused += 1
            self.answer_in_turn(client, xid, Code.SYSTEMERROR)
            return True
        if client.waiting or not self.terms.checks_acls_early:
            return False  # What is under way could change the answer.
        code = refusal(self.tree, client, op, payload, self.terms.auth.acl_rules)
        if code:
            client.send(reply(xid, 0, code))
        return bool(code)

    def refuse_writes(self, refuses: bool) -> None:
        """From now on: new writes of clients fail with SYSTEMERROR, or are taken again."""
        self.refuses_writes = refuses
        self._judges = refuses or self.terms.checks_acls_early

    def submit_for_gone(self, client: Client, xid: int, op: int, payload: bytes) -> None:
        """Execute a write that nobody waits for any more."""
        if op in WRITES:
            self.submit(WriteRequest(client.session, xid, op, payload[8:], client.auth, client.owner))

    def answer_in_turn(self, client: Client, xid: int, err: int, body: bytes = b"") -> None:
        """Answer a request that is decided, behind what waits in front of it."""
        self.in_turn(client, SETTLED, xid, err.to_bytes(4, "big", signed=True) + body)

    def in_turn(self, client: Client, op: int, xid: int, payload: bytes) -> None:
        """Answer a request that needs no leader, behind what waits in front of it."""
        if client.waiting:
            self._wait(client, op, xid, payload)
        else:
            self._answer(client, op, xid, payload)

    def _wait(self, client: Client, op: int, xid: int, payload: bytes) -> None:
        client.waiting.append((op, xid, payload, self.now))
        if xid > 0:
            self.inflight += 1
            self.hold_if_full(client)
        elif len(client.waiting) > self.inflight_max:
            client.hold()

    def answered(self, client: Client) -> None:
        """The oldest request that waited, no write, has its answer."""
        _, xid, _, since = client.waiting.popleft()
        self.inflight -= xid > 0
        client.reads.add((self.now - since) * 1000)

    def _answer(self, client: Client, op: int, xid: int, payload: bytes) -> None:
        """Answer a request that needs only this peer's tree."""
        answer = local.ANSWERS.get(op)
        if answer is None:
            self._answer_otherwise(client, op, xid, payload)
            return
        try:
            body = answer(self.tree, client, payload)
        except RequestFailed as failure:
            client.send(reply(xid, self.tree.last_zxid, failure.code))
        except PeerProtocolError:
            client.send(reply(xid, self.tree.last_zxid, Code.MARSHALLINGERROR))
        else:
            client.send(reply(Xid.PING if op == _PING else xid, self.tree.last_zxid, 0, body))

    def _answer_otherwise(self, client: Client, op: int, xid: int, payload: bytes) -> None:
        """Answer what is no question to the tree."""
        if op == SETTLED:
            err = int.from_bytes(payload[:4], "big", signed=True)
            client.send(reply(xid, self.tree.last_zxid, err, payload[4:]))
        elif op == GOODBYE and self.local is not None:
            self.local.end(client, xid)
        else:
            client.send(reply(xid, NO_ZXID, Code.UNIMPLEMENTED))
            client.close()

    def _drain(self, client: Client) -> None:
        """Answer what stood behind a write that is done, up to the next write or sync under way.

        Who has nothing under way any more is read from again, however much others have.
        """
        waiting = client.waiting
        while waiting and not client.closing:
            op, xid, payload, _ = waiting[0]
            if op in WRITES or (op == _SYNC and self.syncs_wait):
                return
            self.answered(client)
            self._answer(client, op, xid, payload)
        if client.held:
            self._held[client] = None
            if self._log.has_room:
                del self._held[client]
                client.release()

    def refuse_rest(self, client: Client) -> None:
        """What a client sent behind its closeSession is told so."""
        for _, xid, _, _ in client.waiting:
            client.send(reply(xid, self.tree.last_zxid, Code.SESSIONEXPIRED))

    syncs_wait = False
    """Whether a waiting sync is completed by the leader (learners) or by its turn alone (leader)."""

    # Commits

    def apply(self, txn: Txn) -> None:
        """Apply the next committed transaction and answer whoever asked for it on this peer."""
        applied = self._applier.apply(txn)
        header = txn.header
        session, kind = header.session, header.type
        if kind == _CREATE_SESSION:
            self._session_created(session)
            return
        client = self.clients.get(session)
        if client is not None and client.waiting and header.zxid > client.fence:
            op, xid, asked, since = client.waiting[0]
            if xid == header.cxid and op in WRITES:
                client.waiting.popleft()
                self.inflight -= xid > 0
                client.updates.add((self.now - since) * 1000)
                if self.terms.audit is not None:
                    self.terms.audit.applied(client, op, asked, applied)
                if type(txn.record) is ErrorTxn and txn.record.err == Code.SESSIONMOVED:
                    client.close()
                elif not client.closing:
                    err, body = reply_body(op, applied)
                    client.send(reply(xid, header.zxid, err, body))
                    if op == _CLOSE_SESSION:
                        self.refuse_rest(client)
                    elif client.waiting or client.held:
                        self._drain(client)
        if kind == _CLOSE_SESSION:
            if self.terms.audit is not None and isinstance(txn.record, CloseSessionTxn):
                self.terms.audit.session_ended(session, txn.record.paths or ())
            self._session_closed(session)

    def _session_created(self, session: int) -> None:
        self.events.emit(SessionCreated(session=session, timeout_ms=self.tree.sessions[session]))
        client = self.connecting.get(session)
        # Who has no owner yet brings a session that became everybody's meanwhile, and is told by the leader.
        if client is not None and client.owner is not None:
            self.settle(client, valid=True)

    def _session_closed(self, session: int) -> None:
        self.events.emit(SessionClosed(session=session))
        client = self.clients.get(session) or self.connecting.get(session)
        if client is not None:
            client.close()
            self.closed(client)
