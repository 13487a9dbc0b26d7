"""How a new leader and a quorum agree on an epoch and on its history (quorum-protocol §7.1–§7.2, rules E, A and N).

Three questions, each answered once and then the same for everybody: which epoch, may this leader lead it (nobody of
the quorum knows more), do a quorum hold its history. Only voters count, and a quorum without the leader itself decides
nothing about the epoch.

While a configuration is pending, each answer takes a quorum of it too. The reference asks for that in the last question
alone; then somebody who knows that the pending one is committed could be promised the same epoch by its quorum.
"""

from typing import Final

from trioquorum.errors import PeerProtocolError
from trioquorum.invariants import invariant
from trioquorum.zab.quorum import QuorumConfig

EPOCH_MAX: Final = 0x7FFFFFFE
"""Epochs stay below 2^31, so that a zxid is never negative; there must be room for one more."""


class EpochAgreement:
    """One candidate leader's term, from election to a formed quorum. A new term needs a new object.

    ``last_seen`` is a proposed configuration that is newer than ``config``, or the same. ``electors`` are the voters
    that elected this leader.
    """

    def __init__(
        self,
        my_id: int,
        config: QuorumConfig,
        my_accepted_epoch: int,
        last_seen: QuorumConfig | None = None,
        *,
        electors: frozenset[int] = frozenset(),
    ) -> None:
        self.epoch: int | None = None
        self.alone = False  # an oracle says that the other one of two voters is gone
        self._electors = electors
        self._my_id = my_id
        self._my_accepted_epoch = my_accepted_epoch
        self._configs = [config]
        if last_seen is not None and last_seen.version > config.version:
            self._configs.append(last_seen)
        self._candidate = -1
        self._summary = (-1, -1)
        self._proposers: set[int] = set()
        self._ackers: set[int] = set()
        self._acked = False
        self._synced: set[int] = set()
        self._formed = False

    def set_leader_summary(self, current_epoch: int, last_zxid: int) -> None:
        """What the leader itself knows; set before the first ``ack_epoch``."""
        self._summary = (current_epoch, last_zxid)

    def propose_epoch(self, sid: int, last_accepted_epoch: int) -> int | None:
        """Rule E: ``sid`` has come, and accepted this epoch last. The new epoch once it is decided, else ``None``.

        The call that decides and every later one return the same epoch; the leader writes it to its acceptedEpoch
        before anybody else hears of it.

        Raises:
            PeerProtocolError: no epoch can follow the one that ``sid`` claims.
        """
        if self.epoch is not None:
            return self.epoch
        if not -1 <= last_accepted_epoch < EPOCH_MAX:
            raise PeerProtocolError(f"peer {sid} accepted epoch {last_accepted_epoch}, which is out of range")
        # An observer raises the epoch too: it could not follow a leader below what it accepted.
        self._candidate = max(self._candidate, last_accepted_epoch + 1)
        self._proposers.add(sid)
        if self._my_id in self._proposers and self._decide(self._proposers):
            invariant(
                self._candidate > self._my_accepted_epoch,
                "a new epoch is above every accepted one",
                epoch=self._candidate,
                accepted=self._my_accepted_epoch,
            )
            self.epoch = self._candidate
        return self.epoch

    def deserted(self, sid: int, waited_ms: float, patience_ms: int) -> bool:
        """Rule Q: ``sid`` looks for a leader, ``waited_ms`` after this one began to wait for a quorum.

        Whether to give up: an elector that looks again that late will not come. Negative ``patience_ms``: never.
        """
        return self.epoch is None and sid in self._electors and 0 <= patience_ms < waited_ms

    def ack_epoch(self, sid: int, current_epoch: int, last_zxid: int) -> bool:
        """Rule A: ``sid`` promised to follow no older leader. Whether a quorum has.

        ``current_epoch`` −1 says "do not count me", ``last_zxid`` −1 that its data is not to be trusted.

        Raises:
            PeerProtocolError: the quorum is still open and ``sid`` knows more than the leader, who would truncate it.
        """
        invariant(self.epoch is not None, "an epoch is acknowledged after it was decided", sid=sid)
        if self._acked or current_epoch == -1:
            return self._acked
        if (current_epoch, last_zxid) > self._summary:
            mine_epoch, mine_zxid = self._summary
            raise PeerProtocolError(
                f"peer {sid} knows more than this leader: epoch {current_epoch}, zxid {last_zxid:#x} "
                f"against epoch {mine_epoch}, zxid {mine_zxid:#x}"
            )
        if last_zxid != -1:
            self._ackers.add(sid)
        self._acked = self._my_id in self._ackers and self._decide(self._ackers)
        return self._acked

    def ack_new_leader(self, sid: int, zxid: int) -> bool:
        """Rule N: ``sid`` acknowledged NEWLEADER. Whether a quorum holds the history.

        An acknowledgement of another epoch changes nothing.
        """
        invariant(self.epoch is not None, "history is acknowledged after the epoch was decided", sid=sid)
        if not self._formed and self.epoch is not None and zxid == self.epoch << 32:
            self._synced.add(sid)
            self._formed = self._decide(self._synced)
        return self._formed

    def _decide(self, sids: set[int]) -> bool:
        return all(self._decides(config, sids) for config in self._configs)

    def _decides(self, config: QuorumConfig, sids: set[int]) -> bool:
        alone = self.alone and config.oracle_may_decide and self._my_id in sids
        return alone or config.contains_quorum(sids)
