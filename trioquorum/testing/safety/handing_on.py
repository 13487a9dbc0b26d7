"""The order of truth where a follower feeds observers: it stands for a leader that others have made one."""

from trioquorum.invariants import invariant
from trioquorum.testing.safety.order import Order


class HandingOn:
    """What ``Order`` is for a leader, for a master: asked when the packet leaves, or the learner's answer does."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def tells_epoch(self, master: int, epoch: int) -> None:
        """LEADERINFO: of the epoch in which it follows."""
        current = self._order.sight.current(master)
        established = self._order.terms.has_begun(epoch)
        invariant(
            current == epoch and established,
            "a master feeds in the epoch it follows in",
            master=master,
            epoch=epoch,
            disk=current,
            established=established,
        )

    def synchronises(self, master: int, epoch: int) -> None:
        """DIFF, TRUNC or SNAP: needs nobody's promise."""

    def takes_back(self, learner: int, last_zxid: int, zxid: int) -> None:
        """The log of an observer is replaced: as with a leader."""
        self._order.takes_back(learner, last_zxid, zxid)

    def begins_epoch(self, master: int, epoch: int) -> None:
        """NEWLEADER: as with a leader."""
        self._order.begins_epoch(master, epoch)

    def serves(self, master: int, epoch: int) -> None:
        """UPTODATE: a quorum took over the history long ago."""

    def proposes(self, master: int, zxid: int) -> None:
        """PROPOSAL or INFORM: as with a leader."""
        self._order.proposes(master, zxid)

    def commits(self, master: int, epoch: int, zxid: int) -> None:
        """COMMIT or INFORM: what the leader said before, which ``Links`` knows."""

    def promises(self, learner: int, master: int, epoch: int, zxid: int, *, counts: bool) -> None:
        """ACKEPOCH: as with a leader; an observer never counts."""
        self._order.promises(learner, master, epoch, zxid, counts=counts)

    def takes_over(self, learner: int, master: int, epoch: int, zxid: int) -> None:
        """ACK of NEWLEADER: on its own disk first."""
        self._order.check_taken_over(learner, epoch, zxid)

    def acknowledges(self, learner: int, zxid: int) -> None:
        """ACK of a proposal: an observer never sends one, which ``Links`` knows."""
