"""The service of a follower or observer: reads here, writes and session questions to the leader."""

from collections import deque
from collections.abc import Callable

from trioquorum.events import Events
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import Service, Terms
from trioquorum.pipeline.stats import ServerStats
from trioquorum.storage.database import Database
from trioquorum.tree.prep import WriteRequest
from trioquorum.tree.sessions import SessionIds, TouchTable
from trioquorum.wire.client import reply
from trioquorum.wire.ops import Op
from trioquorum.wire.quorum import PacketType, QuorumPacket, encode_request, encode_revalidate
from trioquorum.wire.txn import Txn, decode_txn

SendPackets = Callable[[list[QuorumPacket]], None]


class LearnerService(Service):
    """Forwards in one frame per wake-up; applies what the leader committed."""

    syncs_wait = True

    def __init__(
        self,
        db: Database,
        terms: Terms,
        ids: SessionIds,
        stats: ServerStats,
        events: Events,
        *,
        observer: bool,
        send: SendPackets,
    ) -> None:
        super().__init__(db, terms, ids, stats, events)
        self.mode = "observer" if observer else "follower"
        self.touched = TouchTable()
        self._send = send
        self._forward: list[QuorumPacket] = []
        self._syncs: deque[tuple[Client, int, bytes]] = deque()
        self._validating: dict[int, Client] = {}

    def submit(self, request: WriteRequest) -> None:
        data = encode_request(request.session, request.cxid, request.op, request.body)
        auth = None if request.op == Op.CREATE_SESSION else list(request.auth)
        self._forward.append(QuorumPacket(PacketType.REQUEST, -1, data, auth))

    def submit_sync(self, client: Client, xid: int, payload: bytes) -> bool:
        self._syncs.append((client, xid, payload))
        data = encode_request(client.session, xid, Op.SYNC, payload[8:])
        self._forward.append(QuorumPacket(PacketType.REQUEST, -1, data, list(client.auth)))
        return True

    def sync_done(self) -> None:
        """The leader answered the oldest sync of this peer (quorum-protocol §18)."""
        client, xid, payload = self._syncs.popleft()
        if client.waiting and client.waiting[0][1] == xid and client.waiting[0][0] == Op.SYNC:
            client.waiting.popleft()
            client.send(reply(xid, self.tree.last_zxid, 0, payload[8:]))
            self._drain(client)

    def validate(self, client: Client) -> None:
        self._validating[client.session] = client
        data = encode_revalidate(client.session, client.timeout_ms)
        self._forward.append(QuorumPacket(PacketType.REVALIDATE, -1, data))

    def revalidated(self, session: int, *, valid: bool, fence: int) -> None:
        """The leader's answer, and what it had proposed by then; late ones for a lost connection are ignored."""
        client = self._validating.pop(session, None)
        if client is not None and self.connecting.get(session) is client:
            self.settle(client, valid=valid, fence=fence)

    def touch(self, sessions: dict[int, int]) -> None:
        for session, timeout_ms in sessions.items():
            self.touched.touch(session, timeout_ms)

    def commit(self, payloads: list[bytes]) -> None:
        """Apply committed transactions in order."""
        for payload in payloads:
            self.apply(decode_txn(payload), payload)

    def apply(self, txn: Txn, payload: bytes) -> None:
        super().apply(txn, payload)
        if txn.header.type == Op.CREATE_SESSION:
            # Java does so too: the leader then hears of a session that no peer may hold yet.
            self.touched.touch(txn.header.session, self.tree.sessions[txn.header.session])

    def pass_on(self) -> None:
        if self._forward:
            self._send(self._forward)
            self._forward = []
