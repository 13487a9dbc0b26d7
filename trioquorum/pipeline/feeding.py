"""What a follower's service does for the observers that it feeds (quorum-protocol §14, §18).

They are told what is committed here. What their clients ask of the leader leaves among what this peer's own clients
ask, and the answers come back in the order of the questions.
"""

from functools import partial
from typing import TYPE_CHECKING

from trioquorum.pipeline.sending import Outbox, send_packets
from trioquorum.tree.prep import WriteRequest
from trioquorum.wire.quorum import PacketType, QuorumPacket, encode_packets, encode_revalidate_reply
from trioquorum.zab.observer_master import RetainedCommits

if TYPE_CHECKING:
    from trioquorum.pipeline.learner import LearnerService


class Feed:
    """The observers of one follower's term; ``bytes_max`` bounds what is retained for those that catch up.

    Without observers nothing is kept or sent. ``home`` is an object that stands for the link of one of them.
    """

    def __init__(self, service: "LearnerService", bytes_max: int) -> None:
        self.observers: dict[int, Outbox] = {}
        self._service = service
        self._behind: set[int] = set()
        self._retained = RetainedCommits(bytes_max)
        # Where sessions are that were brought to one of us. To the leader we are all one peer: it cannot tell.
        self._homes: dict[int, object] = {}

    # Commits

    def expect(self, sid: int) -> None:
        """An observer's history is planned in this moment: from now on retain what is committed."""
        self._behind.add(sid)
        self._retained.begin(self._service.tree.last_zxid)

    def forward_to(self, sid: int, outbox: Outbox, last_seen_zxid: int) -> bool:
        """Tell an observer what it has not seen, and whatever follows; false if that is not retained any more."""
        missed = self._retained.start_forwarding(last_seen_zxid)
        if missed is None:
            return False
        send_packets(missed, [outbox])
        self.observers[sid] = outbox
        self._caught_up(sid)
        return True

    def forget(self, sid: int) -> None:
        """An observer left."""
        self.observers.pop(sid, None)
        self._caught_up(sid)

    def _caught_up(self, sid: int) -> None:
        self._behind.discard(sid)
        if not self._behind:
            self._retained.clear()

    def committed(self, records: list[tuple[int, bytes]], designated: int | None) -> None:
        """These transactions were committed, and applied here; one alone with a leader ``designated`` reconfigures."""
        if not (self.observers or self._behind):
            return
        if designated is not None:
            zxid, payload = records[0]
            data = designated.to_bytes(8, signed=True) + payload
            self._tell([QuorumPacket(PacketType.INFORMANDACTIVATE, zxid, data)])
        else:
            self._tell([QuorumPacket(PacketType.INFORM, zxid, payload) for zxid, payload in records])

    def _tell(self, packets: list[QuorumPacket]) -> None:
        if self._behind:
            for packet in packets:
                self._retained.add(packet)
        if self.observers:
            send_packets(packets, self.observers.values())

    # Questions to the leader

    def submit(self, request: WriteRequest) -> None:
        """An observer's client writes. Who lost its session to another connection of ours is not heard any more."""
        if self._homes.get(request.session, request.owner) is request.owner:
            self._service.submit(request)

    def sync(self, outbox: Outbox, session: int, cxid: int, body: bytes) -> None:
        """An observer's client asks for a sync."""
        answer = encode_packets([QuorumPacket(PacketType.SYNC, 0)])
        self._service.ask_sync(session, cxid, body, partial(outbox.put, answer))

    def revalidate(self, outbox: Outbox, home: object, session: int, timeout_ms: int) -> None:
        """A client brought a session to an observer, so it has left every connection here."""

        def answered(*, valid: bool, fence: int) -> None:
            if not valid:
                self.closed(session)
            reply = encode_revalidate_reply(session, valid=valid)
            outbox.put(encode_packets([QuorumPacket(PacketType.REVALIDATE, fence, reply)]))

        self._service.supersede(session)
        self._homes[session] = home
        self._service.ask_validity(session, timeout_ms, answered)

    def taken_back(self, session: int) -> None:
        """A client brought a session to this peer itself."""
        if self.observers or self._behind:
            self._homes[session] = self

    def closed(self, session: int) -> None:
        """A session is gone."""
        self._homes.pop(session, None)
