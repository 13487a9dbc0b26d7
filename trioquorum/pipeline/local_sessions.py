"""Sessions that only this peer knows (client-protocol §17.9, §19): no transaction makes, renews or ends them.

They are quick to make, and their clients may do everything but own ephemerals. They end with the role that granted
them, and no other peer takes them up. Where the operator allows it, the first ephemeral makes a session global.
"""

from typing import TYPE_CHECKING

from trioquorum.errors import Code, PeerProtocolError
from trioquorum.events import LocalSessionChanged
from trioquorum.pipeline.client import Client
from trioquorum.tree.prep import WriteRequest
from trioquorum.tree.sessions import LOCAL_SESSION, SessionTracker
from trioquorum.wire.client import REQUEST_HEADER, decode_multi, reply
from trioquorum.wire.ops import CreateFlag, Op
from trioquorum.wire.records import CreateRequest

if TYPE_CHECKING:
    from trioquorum.pipeline.service import Service

GOODBYE = (1 << 32) + 1
"""Stands for the opcode of a closeSession that waits for its turn; no client can send it."""

EPHEMERAL = frozenset({CreateFlag.EPHEMERAL, CreateFlag.EPHEMERAL_SEQUENTIAL})


class LocalSessions:
    """Of one service. Its clients' requests come through ``take``."""

    def __init__(self, service: "Service", *, upgrading: bool) -> None:
        self._service = service
        self._upgrading = upgrading
        self._tracker = SessionTracker(service.terms.tick_time_ms)
        self._tracker.begin(self._now_ms())

    def __contains__(self, session: int) -> bool:
        return session in self._tracker

    def __len__(self) -> int:
        return len(self._tracker)

    def deadlines(self) -> dict[int, list[int]]:
        """Deadline → sessions, for ``dump``."""
        return self._tracker.deadlines()

    def _now_ms(self) -> int:
        return int(self._service.terms.clock() * 1000)

    def open(self, client: Client) -> None:
        """A client gets a new session."""
        self._tracker.add(client.session, client.timeout_ms, self._now_ms())
        self._tell(client.session, "began")

    def renew(self, client: Client) -> bool:
        """A client brings a session: whether it is one of these, and lives."""
        return self._tracker.touch(client.session, self._now_ms(), client.timeout_ms)

    def touch(self, sessions: dict[int, int]) -> None:
        """Sessions (id → timeout in ms) were heard of; those of others are left in ``sessions``."""
        now_ms = self._now_ms()
        for session in [session for session in sessions if session in self._tracker]:
            self._tracker.touch(session, now_ms, sessions.pop(session))

    def expire(self) -> None:
        """End what was not heard of in time; called once a tick."""
        service = self._service
        for session in self._tracker.look(self._now_ms()):
            self._tracker.remove(session)
            self._tell(session, "expired")
            client = service.clients.get(session) or service.connecting.get(session)
            if client is not None:
                client.close()
                service.closed(client)

    def take(self, client: Client, payload: bytes) -> None:
        """One frame of an open session, local or not."""
        if client.owner is LOCAL_SESSION and len(payload) >= REQUEST_HEADER.size:
            xid, op = REQUEST_HEADER.unpack_from(payload)
            if op == Op.CLOSE_SESSION:
                client.received += 1
                client.last_op, client.last_xid = op, xid
                self._service.in_turn(client, GOODBYE, xid, payload)
                return
            if self._upgrading and _makes_ephemeral(op, payload):
                self._upgrade(client)
        self._service.request(client, payload)

    def end(self, client: Client, xid: int) -> None:
        """A client's closeSession has its turn."""
        self._tracker.remove(client.session)
        self._tell(client.session, "closed")
        client.send(reply(xid, self._service.tree.last_zxid, Code.OK))
        self._service.refuse_rest(client)
        client.close()
        self._service.closed(client)

    def _tell(self, session: int, what: str) -> None:
        self._service.events.emit(LocalSessionChanged(session=session, what=what))

    def _upgrade(self, client: Client) -> None:
        """Make the session known to all, in front of the request that needs it; from now on it is like any other."""
        service = self._service
        self._tracker.remove(client.session)
        client.owner = service.terms.server_id
        body = client.timeout_ms.to_bytes(4, "big")
        service.submit(WriteRequest(client.session, 0, Op.CREATE_SESSION, body, client.auth, client.owner))
        self._tell(client.session, "upgraded")


def _makes_ephemeral(op: int, payload: bytes) -> bool:
    """Whether a request would create an ephemeral, if it is well formed."""
    at = REQUEST_HEADER.size
    try:
        if op in (Op.CREATE, Op.CREATE2):
            return CreateRequest.decode_from(payload, at)[0].flags in EPHEMERAL
        if op == Op.MULTI:
            bodies = [body for _, body in decode_multi(payload, at)]
            return any(isinstance(body, CreateRequest) and body.flags in EPHEMERAL for body in bodies)
    except PeerProtocolError:
        return False
    return False
