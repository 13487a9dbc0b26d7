"""What a follower keeps for the observers that it feeds (quorum-protocol §14).

What was proposed waits for its commit in the follower's ``Learner``; observers are told of what is committed only. That
is retained here while some observer still takes over its history: once for all of them, however long each takes, and
bounded by bytes; the oldest give way.
"""

from collections import deque
from typing import Final

from trioquorum.invariants import invariant
from trioquorum.wire.quorum import QuorumPacket

NEARLY_FULL: Final = 0.8
"""Above this part of the limit room is made ahead of need, so that no single commit has to make much of it."""

EVICTIONS_PER_ADD_MAX: Final = 5


class RetainedCommits:
    """The newest commits without a gap, as the packets observers get, with at most ``bytes_max`` bytes of data.

    ``begin`` when the first history is planned, ``clear`` when nobody takes over any more.
    """

    def __init__(self, bytes_max: int) -> None:
        self._retaining = False
        self._bytes_max = bytes_max
        self._packets: deque[QuorumPacket] = deque()
        self._bytes = 0
        self._floor = -1  # everything above it is here

    def begin(self, last_committed: int) -> None:
        """Retain what is committed behind ``last_committed``; no effect while that goes on already."""
        if not self._retaining:
            self._retaining = True
            self._floor = last_committed

    def clear(self) -> None:
        """Nobody needs any of it."""
        self._retaining = False
        self._packets.clear()
        self._bytes = 0

    def add(self, packet: QuorumPacket) -> None:
        """The next commit. Close to the limit a few of the oldest go, at the limit as many as must."""
        last = self._packets[-1].zxid if self._packets else self._floor
        invariant(packet.zxid > last, "commits are retained in their order", zxid=packet.zxid, last=last)
        self._packets.append(packet)
        self._bytes += _size(packet)
        for _ in range(EVICTIONS_PER_ADD_MAX):
            if self._bytes <= NEARLY_FULL * self._bytes_max:
                break
            self._evict()
        while self._bytes > self._bytes_max:
            self._evict()

    def _evict(self) -> None:
        oldest = self._packets.popleft()
        self._bytes -= _size(oldest)
        self._floor = oldest.zxid

    def start_forwarding(self, last_seen_zxid: int) -> list[QuorumPacket] | None:
        """What to tell an observer that has everything up to ``last_seen_zxid``, before it is told what comes next.

        ``None`` if some of that is not here any more: it fell too far behind and must take over its history afresh.
        """
        invariant(self._retaining, "commits are retained while an observer takes over its history")
        if last_seen_zxid < self._floor:
            return None
        return [packet for packet in self._packets if packet.zxid > last_seen_zxid]


def _size(packet: QuorumPacket) -> int:
    return len(packet.data or b"")
