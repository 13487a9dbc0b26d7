"""What a learner forwards for its clients (quorum-protocol §12): most of what a leader is sent."""

from collections.abc import Callable
from typing import Final

from trioquorum.tree.prep import WriteRequest
from trioquorum.tree.sessions import LOCAL_SESSION
from trioquorum.wire.ops import Op
from trioquorum.wire.quorum import OF_LOCAL_SESSION, PacketType, QuorumPacket, decode_request

_REQUEST: Final = int(PacketType.REQUEST)
_SYNC: Final = int(Op.SYNC)


class Forwarded:
    """Takes one learner's packets apart. ``owner`` is whose the sessions are that it speaks for.

    ``submit`` takes writes, ``sync`` is told session, cxid and body of a sync, ``other`` takes all other packets.
    """

    def __init__(
        self,
        owner: object,
        submit: Callable[[WriteRequest], None],
        sync: Callable[[int, int, bytes], None],
        other: Callable[[QuorumPacket], None],
    ) -> None:
        self._owner = owner
        self._submit = submit
        self._sync = sync
        self._other = other

    def take(self, packets: list[QuorumPacket]) -> None:
        """One frame.

        Raises:
            PeerProtocolError: something in it makes no sense; what stands in front was taken.
        """
        for packet in packets:
            if packet.type != _REQUEST:
                self._other(packet)
                continue
            session, cxid, op, body = decode_request(packet.data or b"")
            if op == _SYNC:
                self._sync(session, cxid, body)
            else:
                owner = LOCAL_SESSION if packet.zxid == OF_LOCAL_SESSION else self._owner
                self._submit(WriteRequest(session, cxid, op, body, packet.auth or [], owner))
