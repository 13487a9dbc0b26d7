"""An oracle that is right: of two voters it lets one lead alone, while the other cannot and has nothing of its own.

What it knows no failure detector does: disks. Who was let lead alone has transactions that the other one never heard
of, so the other one must not be let lead without it (quorum-protocol §20.3).
"""

from collections.abc import Collection

import trio

from trioquorum.peer.oracle import Ask
from trioquorum.storage.epochs import ACCEPTED
from trioquorum.testing.peer import MemoryPeer


class RightOracle:
    """For ``one`` and ``other``; ``frozen`` are the peers that stand still at present."""

    def __init__(self, one: MemoryPeer, other: MemoryPeer, frozen: Collection[int]) -> None:
        self._frozen = frozen
        self._let: int | None = None  # until it is told no, or dies
        one.oracle, other.oracle = self._for(one, other), self._for(other, one)

    def _for(self, asks: MemoryPeer, other: MemoryPeer) -> Ask:
        async def ask() -> bool:
            await trio.lowlevel.checkpoint()
            may = self._gone(other) and _holds_all_of(asks, other)
            if may:
                self._let = asks.id
            elif self._let == asks.id:
                self._let = None
            return may

        return ask

    def _gone(self, other: MemoryPeer) -> bool:
        if not other.running:
            # Dead machines take a few more steps.
            return not other.ever_began or other.life.ended.is_set()
        return other.id in self._frozen and self._let != other.id


def _holds_all_of(peer: MemoryPeer, other: MemoryPeer) -> bool:
    return peer.disk.logged_zxid() >= other.disk.logged_zxid() and _accepted(peer) >= _accepted(other)


def _accepted(peer: MemoryPeer) -> int:
    return peer.disk.epoch(ACCEPTED) or 0
