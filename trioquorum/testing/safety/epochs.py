"""acceptedEpoch and currentEpoch on disks, and what a vote says of them and of the log."""

from typing import Final

from trioquorum.events import Established, Event, PeerStarted, PhaseChanged, RoundStarted, StateChanged, SyncReceived
from trioquorum.invariants import invariant
from trioquorum.testing.safety.sight import Sight

UNTRUSTED: Final = -1
"""What a voter says whose data is gone: it is not counted."""

WATCHED: Final = (PeerStarted, PhaseChanged, StateChanged, Established)


class EpochsOnDisk:
    """What was seen of each peer, over its restarts."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._seen: dict[int, tuple[int, int]] = {}

    def event(self, peer: int, event: Event) -> None:
        """Look at the disk whenever something may have been written."""
        if isinstance(event, WATCHED):
            accepted, current = self._sight.accepted(peer), self._sight.current(peer)
            had = self._seen.get(peer, (-1, -1))
            invariant(
                accepted >= had[0] and current >= had[1],
                "epochs never decrease",
                peer=peer,
                accepted=accepted,
                current=current,
                had=had,
            )
            invariant(
                current <= accepted, "currentEpoch is an accepted one", peer=peer, found=current, accepted=accepted
            )
            self._seen[peer] = accepted, current
        elif isinstance(event, SyncReceived):
            self._check_history(peer, event.zxid)
        elif isinstance(event, RoundStarted) and event.leader == peer and event.zxid != UNTRUSTED:
            logged, current = self._sight.logged(peer), self._sight.current(peer)
            invariant(
                self._sight.holds(peer, event.zxid)
                and (event.zxid >= logged or event.zxid == -1)  # it may not vote
                and event.peer_epoch == current,
                "a vote says what the disk holds",
                peer=peer,
                vote=event.zxid,
                logged=logged,
                epoch=event.peer_epoch,
                current=current,
            )

    def _check_history(self, peer: int, zxid: int) -> None:
        """A learner has written currentEpoch: the history of that epoch's leader must be on disk (ZOOKEEPER-4643)."""
        logged = self._sight.logged(peer)
        holds = self._sight.holds(peer, zxid)
        invariant(holds, "history first, then currentEpoch", peer=peer, zxid=zxid, logged=logged)

    def wiped(self, peer: int) -> None:
        """The disk of ``peer`` is a new one."""
        self._seen.pop(peer, None)
