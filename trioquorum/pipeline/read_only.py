"""The service of a peer without a leader: reads from its own tree, for clients that asked for no more (§19 there).

Its sessions are its own: no other peer knows them, no transaction makes them, and they end with it. Section numbers
are those of client-protocol.
"""

from trioquorum.errors import Code
from trioquorum.events import Events
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import WRITES, Service, Terms
from trioquorum.pipeline.stats import ServerStats
from trioquorum.storage.database import Database
from trioquorum.tree.prep import WriteRequest
from trioquorum.tree.sessions import SessionIds, SessionTracker
from trioquorum.wire.client import REQUEST_HEADER, reply
from trioquorum.wire.ops import Op
from trioquorum.wire.records import ConnectRequest

REFUSED = WRITES - {Op.CLOSE_SESSION} | {Op.CHECK, Op.SYNC}


class ReadOnlyService(Service):
    """Answers reads and keeps watches; refuses whatever would need a leader with NOTREADONLY."""

    mode = "read-only"
    read_only = True
    opens_local_sessions = True

    def __init__(self, db: Database, terms: Terms, ids: SessionIds, stats: ServerStats, events: Events) -> None:
        super().__init__(db, terms, ids, stats, events)
        self._tracker = SessionTracker(terms.tick_time_ms)

    def _now_ms(self) -> int:
        return int(self.terms.clock() * 1000)

    # Sessions

    def connect(self, client: Client, request: ConnectRequest, read_only: bool | None) -> None:
        """Only who can live with old data is let in (§3.3.2)."""
        if read_only:
            super().connect(client, request, read_only)
        else:
            client.close()

    def submit(self, request: WriteRequest) -> None:
        """A new session needs nobody's consent."""
        client = self.connecting[request.session]
        self._tracker.add(request.session, client.timeout_ms, self._now_ms())
        self.settle(client, valid=True)

    def validate(self, client: Client) -> None:
        """A session of this service goes on. Of any other nobody here can say that it is over: no answer (§19)."""
        if self._tracker.touch(client.session, self._now_ms(), client.timeout_ms):
            self.settle(client, valid=True)
        else:
            client.close()
            self.closed(client)

    def touch(self, sessions: dict[int, int]) -> None:
        """These sessions were heard of."""
        now_ms = self._now_ms()
        for session, timeout_ms in sessions.items():
            self._tracker.touch(session, now_ms, timeout_ms)

    def expire(self) -> None:
        """End the sessions that were not heard of in time."""
        for session in self._tracker.expired(self._now_ms()):
            self._tracker.remove(session)
            client = self.clients.get(session)
            if client is not None:
                client.close()
                self.closed(client)
        self.flush()

    # Requests

    def request(self, client: Client, payload: bytes) -> None:
        """One frame of an open session: reads are answered, writes refused."""
        if len(payload) < REQUEST_HEADER.size:
            client.close()
            return
        xid, op = REQUEST_HEADER.unpack_from(payload)
        if op in REFUSED:
            client.received += 1
            client.last_op, client.last_xid = op, xid
            client.send(reply(xid, self.tree.last_zxid, Code.NOTREADONLY))
        elif op == Op.CLOSE_SESSION:
            client.received += 1
            self._tracker.remove(client.session)
            client.send(reply(xid, self.tree.last_zxid, Code.OK))
            client.close()
        else:
            super().request(client, payload)
