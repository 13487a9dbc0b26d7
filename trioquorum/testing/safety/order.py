"""The order of truth on disk and on the wire (design §4): what disks hold when a packet leaves."""

from bisect import bisect_right
from collections.abc import Sequence

from trioquorum.invariants import invariant
from trioquorum.testing.safety.memberships import Memberships
from trioquorum.testing.safety.sight import COUNTER_MASK, Sight
from trioquorum.testing.safety.terms import Terms


class Order:
    """Asked when the packet leaves; ``history`` is what was committed by then."""

    def __init__(self, sight: Sight, terms: Terms, memberships: Memberships, history: Sequence[int]) -> None:
        self.sight = sight
        self.terms = terms
        self._memberships = memberships
        self._history = history
        self._durable = -1  # up to here a quorum held everything when it was committed

    # The leader

    def tells_epoch(self, leader: int, epoch: int) -> None:
        """LEADERINFO."""
        accepted = self.sight.accepted(leader)
        invariant(accepted >= epoch, "acceptedEpoch first, then LEADERINFO", leader=leader, epoch=epoch, disk=accepted)
        self.terms.proposes_epoch(epoch, leader)

    def synchronises(self, leader: int, epoch: int) -> None:
        """DIFF, TRUNC or SNAP."""
        self.terms.check_promised(epoch, leader)

    def takes_back(self, learner: int, last_zxid: int, zxid: int) -> None:
        """The log of a learner, up to ``last_zxid``, is replaced by one that goes to ``zxid``."""
        at = bisect_right(self._history, zxid)
        lost = self._history[at] if at < len(self._history) else None
        invariant(
            lost is None or lost > last_zxid,
            "no sync cuts what is committed",
            learner=learner,
            last=last_zxid,
            to=zxid,
            lost=lost,
        )

    def begins_epoch(self, leader: int, epoch: int) -> None:
        """NEWLEADER."""
        current = self.sight.current(leader)
        invariant(current == epoch, "currentEpoch first, then NEWLEADER", leader=leader, epoch=epoch, disk=current)

    def serves(self, leader: int, epoch: int) -> None:
        """UPTODATE."""
        self.terms.check_synced(epoch, leader)

    def proposes(self, leader: int, zxid: int) -> None:
        """PROPOSAL or INFORM of the leader's own epoch."""
        proposed = self.terms.proposed.get(zxid >> 32, -1)
        invariant(zxid <= proposed, "only what a leader proposed is sent", leader=leader, zxid=zxid, proposed=proposed)

    def commits(self, leader: int, epoch: int, zxid: int) -> None:
        """COMMIT or INFORM. What a new leader hands on of its history is committed by NEWLEADER's quorum later."""
        term = self.terms.of(epoch, leader)
        if zxid <= self._durable or not term.established:
            return
        for last in self._memberships.steps(self._durable, zxid):
            holders = self.sight.holders(last)
            # What was pending when it was proposed may be in force since: a new leader's history is decided by its own.
            old = last >> 32 < epoch and term.configs
            deciding = term.configs if old else self._memberships.deciding(leader, last)
            invariant(
                self.sight.is_quorum(leader, holders, deciding),
                "a quorum's disks first, then COMMIT",
                leader=leader,
                zxid=last,
                on_disk_of=sorted(holders),
                deciding=deciding,
            )
        self._durable = zxid

    # The learner

    def promises(self, learner: int, leader: int, epoch: int, zxid: int, *, counts: bool) -> None:
        """ACKEPOCH."""
        accepted, logged = self.sight.accepted(learner), self.sight.logged(learner)
        invariant(
            accepted >= epoch and self.sight.holds(learner, zxid),
            "acceptedEpoch first, then ACKEPOCH",
            learner=learner,
            epoch=epoch,
            disk=accepted,
            zxid=zxid,
            logged=logged,
        )
        if counts:
            self.terms.promised(epoch, leader, learner)

    def takes_over(self, learner: int, leader: int, epoch: int, zxid: int) -> None:
        """ACK of NEWLEADER, behind a history that ends with ``zxid``."""
        self.check_taken_over(learner, epoch, zxid)
        self.terms.synced(epoch, leader, learner)

    def check_taken_over(self, learner: int, epoch: int, zxid: int) -> None:
        """The history and its epoch are on disk."""
        current, logged = self.sight.current(learner), self.sight.logged(learner)
        if zxid & COUNTER_MASK == 0:
            at = bisect_right(self._history, zxid)
            zxid = self._history[at - 1] if at else 0
        invariant(
            current == epoch and logged >= zxid,
            "history and currentEpoch first, then the ACK of NEWLEADER",
            learner=learner,
            epoch=epoch,
            disk=current,
            history=zxid,
            logged=logged,
        )

    def acknowledges(self, learner: int, zxid: int) -> None:
        """ACK of a proposal."""
        logged = self.sight.logged(learner)
        invariant(logged >= zxid, "the log first, then ACK", learner=learner, zxid=zxid, logged=logged)
