"""What an election is made of: votes, and what the machine of ``zab.election`` asks its driver to do."""

from typing import Final

import msgspec

from trioquorum.events import Event
from trioquorum.wire.election import Notification, PeerState

NO_VOTE: Final = -(1 << 63)
"""Leader, zxid and epoch in the vote of a peer that is no voter."""

UNTRUSTED_ZXID: Final = -1
"""Last zxid of an empty database that nobody vouched for: such a peer neither votes nor counts votes."""


class Vote(msgspec.Struct, frozen=True, gc=False):
    """Who should lead, as cast by a peer in ``state``; ``version`` is that of the notification it came in."""

    leader: int
    zxid: int
    round: int
    peer_epoch: int
    state: PeerState = PeerState.LOOKING
    version: int = 0

    def agrees(self, other: "Vote") -> bool:
        """Whether both count for the same outcome (§5.2.9)."""
        if self.leader != other.leader:
            return False
        if PeerState.LOOKING in (self.state, other.state):
            mine, theirs = (self.zxid, self.round, self.peer_epoch), (other.zxid, other.round, other.peer_epoch)
            return mine == theirs
        # Settled peers met their leader at different zxids and rounds, so those fields say nothing (ZOOKEEPER-1732).
        return self.peer_epoch == other.peer_epoch or (self.version == 0) != (other.version == 0)


class Send(msgspec.Struct, frozen=True):
    """Send to one peer."""

    sid: int
    note: Notification


class SendAll(msgspec.Struct, frozen=True):
    """Send to each of ``sids``, never ourselves."""

    sids: tuple[int, ...]
    note: Notification


class SendAgain(msgspec.Struct, frozen=True):
    """Send once more to each of ``sids``: nothing decided the round so far. Who stays silent may have a dead link."""

    sids: tuple[int, ...]
    note: Notification


class ConnectAll(msgspec.Struct, frozen=True):
    """Nothing gets through to anybody: dial every peer without a link now."""


class Wait(msgspec.Struct, frozen=True):
    """Set the timer: ``silence`` is due then."""

    ms: int


class Settle(msgspec.Struct, frozen=True):
    """Set the timer: ``settle_over`` is due then."""

    ms: int


class Done(msgspec.Struct, frozen=True):
    """The round is over. ``voters`` are those that agreed; a leader watches for them looking again (rule Q)."""

    vote: Vote
    state: PeerState
    voters: frozenset[int]


class ReportLooking(msgspec.Struct, frozen=True):
    """We lead, and this voter looks for a leader."""

    sid: int


class ConfigHeard(msgspec.Struct, frozen=True):
    """We look, and a peer knows a newer configuration than our committed one."""

    sid: int
    version: int
    text: str


class AskOracle(msgspec.Struct, frozen=True):
    """Ask whether we may lead without the other one of two voters, and tell ``oracle_says``."""


class Observe(msgspec.Struct, frozen=True):
    """Tell the event stream."""

    event: Event


Effect = (
    Send | SendAll | SendAgain | ConnectAll | Wait | Settle | Done | ReportLooking | ConfigHeard | AskOracle | Observe
)
