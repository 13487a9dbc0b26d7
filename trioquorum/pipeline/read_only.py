"""The service of a peer without a leader: reads from its own tree, for clients that asked for no more (§19 there).

Its sessions are its own: no other peer knows them, no transaction makes them, and they end with it. Section numbers
are those of client-protocol.
"""

from trioquorum.errors import Code
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.local_sessions import LocalSessions
from trioquorum.pipeline.service import Service
from trioquorum.wire.client import REQUEST_HEADER, reply
from trioquorum.wire.ops import WRITES, Op
from trioquorum.wire.records import ConnectRequest

REFUSED = WRITES | {Op.CHECK, Op.SYNC}


class ReadOnlyService(Service):
    """Answers reads and keeps watches; refuses whatever would need a leader with NOTREADONLY."""

    mode = "read-only"
    read_only = True

    def _local_sessions(self) -> LocalSessions:
        return LocalSessions(self, upgrading=False)

    # Sessions

    def connect(self, client: Client, request: ConnectRequest, read_only: bool | None) -> None:
        """Only who can live with old data is let in (§3.3.2)."""
        if read_only:
            super().connect(client, request, read_only)
        else:
            client.close()

    def validate(self, client: Client) -> None:
        """A session of this service goes on. Of any other nobody here can say that it is over: no answer (§19)."""
        if self.local is not None and self.local.renew(client):
            self.settle(client, valid=True)
        else:
            client.close()
            self.closed(client)

    def expire(self) -> None:
        """End the sessions that were not heard of in time."""
        if self.local is not None:
            self.local.expire()
        self.flush()

    # Requests

    def request(self, client: Client, payload: bytes) -> None:
        """One frame of an open session: reads are answered, writes refused."""
        if len(payload) < REQUEST_HEADER.size:
            client.close()
            return
        xid, op = REQUEST_HEADER.unpack_from(payload)
        if op in REFUSED:
            client.send(reply(xid, self.tree.last_zxid, Code.NOTREADONLY))
        else:
            super().request(client, payload)
