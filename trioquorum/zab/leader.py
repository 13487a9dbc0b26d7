"""A leader in broadcast: proposals, acknowledgements, commits in order (quorum-protocol §10, §15, §16, §18).

Everything here is called per frame, not per transaction, except ``propose``. An ACK is cumulative: it says that a log
holds everything up to its zxid, so what is committed is the highest zxid that the logs of a quorum reach.

Every proposal needs a quorum of each configuration in force: the committed one, and a proposed one from its own
proposal on until it is activated (§19.3). What stood behind it needs the new one's alone then: no leader can be elected
any more without that, and the voters that went may be gone. A reconfiguration is committed in two steps. ``decided``
says that quorums of both hold it; when the driver has noted that on disk, ``activate`` commits it and what waits behind
it.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from trioquorum.errors import PeerProtocolError, RoleEnded
from trioquorum.invariants import broken, invariant
from trioquorum.zab.quorum import QuorumConfig
from trioquorum.zab.reconfig import designated_leader

COUNTER_MASK: Final = 0xFFFFFFFF


class Proposal(msgspec.Struct, gc=False):
    """A proposed transaction. ``context`` is the proposer's own; it comes back with the commit."""

    zxid: int
    payload: bytes
    context: object


class _Regime(msgspec.Struct, frozen=True):
    """The configurations that proposals from ``first`` on need quorums of."""

    first: int
    configs: tuple[QuorumConfig, ...]


class _AckTimer(msgspec.Struct):
    """SyncLimitCheck of one follower: only proposals above ``floor`` are timed, one (``zxid``) at a time."""

    floor: int
    zxid: int | None = None
    since: float = 0.0


class Leader:
    """One term in broadcast; a new term needs a new object.

    ``config`` is committed. ``last_seen`` is a proposed configuration that is newer than ``config``, or the same: then
    commits need quorums of both. ``epoch`` is that of every zxid proposed here. ``designated`` is who is to lead what
    is decided; when that is activated and it is another peer, ``allowed_to_commit`` ends.
    """

    def __init__(self, my_id: int, config: QuorumConfig, last_seen: QuorumConfig | None = None, *, epoch: int) -> None:
        self.my_id = my_id
        self.config = config
        self.last_seen = last_seen if last_seen is not None and last_seen.version > config.version else config
        self.last_proposed = epoch << 32
        self.last_committed = epoch << 32
        self.outstanding: deque[Proposal] = deque()
        self.allowed_to_commit = True
        self.decided: QuorumConfig | None = None
        self.designated = my_id
        self._epoch = epoch
        self._regimes = deque([_Regime(epoch << 32, self._in_force())])
        self._reconfig: int | None = None  # the zxid that proposes ``last_seen``
        self._acked: dict[int, int] = {}
        self._timers: dict[int, _AckTimer] = {}
        self._syncs: deque[tuple[int, int]] = deque()

    def _in_force(self) -> tuple[QuorumConfig, ...]:
        return (self.config,) if self.last_seen is self.config else (self.config, self.last_seen)

    # Proposals and acknowledgements

    def propose(self, zxid: int, payload: bytes, context: object, config: QuorumConfig | None = None) -> None:
        """Add the next proposal. The caller sends and logs it; its own log acknowledges like every other.

        ``config`` is the configuration that it proposes: one at a time, and its version is ``zxid``.

        Raises:
            RoleEnded: the counter is used up; only a new epoch has zxids again (ZOOKEEPER-1277).
        """
        if zxid & COUNTER_MASK == COUNTER_MASK:
            raise RoleEnded(f"epoch {self._epoch} has no transaction ids left: a new epoch must begin")
        last = self.last_proposed
        # A standalone server goes on counting where it stopped, so its first proposal may have any counter.
        follows = zxid == last + 1 or (last & COUNTER_MASK == 0 and zxid > last)
        if not follows or zxid >> 32 != self._epoch:
            raise broken("a leader proposes in its epoch without gaps", zxid=zxid, last=last)
        if config is not None:
            invariant(
                self._reconfig is None and self.last_seen is self.config and config.version == zxid,
                "one reconfiguration at a time",
                zxid=zxid,
                version=config.version,
                pending=self._reconfig,
            )
            self.last_seen = config
            self._reconfig = zxid
            self._regimes.append(_Regime(zxid, self._in_force()))
        self.last_proposed = zxid
        self.outstanding.append(Proposal(zxid, payload, context))

    def ack(self, sid: int, zxid: int) -> list[Proposal]:
        """The log of ``sid`` holds everything up to ``zxid``. What is committed by that, in order.

        Acknowledgements of (epoch, 0), of older history and of what is committed change nothing. A reconfiguration is
        never among the result: it waits for ``activate`` with everything behind it.

        Raises:
            PeerProtocolError: ``zxid`` was never proposed.
        """
        if zxid & COUNTER_MASK == 0:
            # The learner's second ACK of NEWLEADER, after UPTODATE.
            return []
        if zxid > self.last_proposed:
            raise PeerProtocolError(f"peer {sid} acknowledged {zxid:#x}, the last proposal is {self.last_proposed:#x}")
        if zxid <= self._acked.get(sid, -1):
            return []
        self._acked[sid] = zxid
        return self._advance() if zxid > self.last_committed else []

    def _advance(self) -> list[Proposal]:
        """Commit what quorums hold, up to in front of a reconfiguration."""
        if not self.allowed_to_commit:
            return []
        reached = self._reached()
        if self._reconfig is not None and reached >= self._reconfig:
            if self.decided is None:
                self.decided = self.last_seen
                self.designated = designated_leader(self.my_id, self.config, self.decided, self._acked, self._reconfig)
            reached = self._reconfig - 1
        return self._commit_up_to(reached)

    def _reached(self) -> int:
        """The highest zxid that the logs of a quorum of every configuration of its time hold, as all before it."""
        regimes = self._regimes
        while len(regimes) > 1 and regimes[1].first <= self.last_committed + 1:
            regimes.popleft()
        reached = self.last_committed
        for number, regime in enumerate(regimes):
            end = regimes[number + 1].first - 1 if number + 1 < len(regimes) else self.last_proposed
            reached = max(reached, self._held(regime.configs, end))
            if reached < end:
                break
        return reached

    def _held(self, configs: tuple[QuorumConfig, ...], end: int) -> int:
        """The highest zxid up to ``end`` that the logs of a quorum of every one of ``configs`` hold."""
        acked = self._acked
        for zxid in sorted({min(reached, end) for reached in acked.values()}, reverse=True):
            if zxid <= self.last_committed:
                break
            holders = [sid for sid, reached in acked.items() if reached >= zxid]
            if all(config.contains_quorum(holders) for config in configs):
                return zxid
        return self.last_committed

    def activate(self) -> list[Proposal]:
        """The ``decided`` configuration is on disk: commit its proposal, first of the result, and what waits behind it.

        If another leader is ``designated`` nothing else is committed.

        Raises:
            ValueError: none is decided.
        """
        zxid, config = self._reconfig, self.decided
        if zxid is None or config is None:
            raise ValueError("no reconfiguration is decided")
        self.allowed_to_commit = self.designated == self.my_id
        self.config = config
        self._reconfig = self.decided = None
        self._regimes = deque([_Regime(zxid + 1, self._in_force())])
        committed = self._commit_up_to(zxid)
        return committed + self._advance()

    def complete(self) -> None:
        """The configuration that was pending before this term is on disk, and quorums of both hold this history."""
        invariant(not self.outstanding, "a pending reconfiguration is completed first", outstanding=self.last_proposed)
        self.config = self.last_seen
        self._regimes.append(_Regime(self.last_proposed + 1, self._in_force()))

    def _commit_up_to(self, zxid: int) -> list[Proposal]:
        committed: list[Proposal] = []
        outstanding = self.outstanding
        while outstanding and outstanding[0].zxid <= zxid:
            committed.append(outstanding.popleft())
        if committed:
            invariant(
                self.last_committed < committed[0].zxid and committed[-1].zxid == zxid,
                "a leader commits what it proposed, in order",
                commits=zxid,
                first=committed[0].zxid,
                committed=self.last_committed,
            )
            self.last_committed = zxid
        return committed

    # Learners

    def start_forwarding(self, sid: int, last_seen_zxid: int, *, participant: bool) -> list[Proposal]:
        """A learner was sent everything up to ``last_seen_zxid``. What it must be sent now, as PROPOSAL each (§10).

        From here on it gets every proposal and commit (participant), or every committed transaction. The caller does
        not wait between planning the sync, this call and queueing the result, so nothing is missed or sent twice.
        Committed transactions are never among the result: callers apply what ``ack`` returns before they wait, hence
        whatever is committed was in the view that the sync was planned on.
        """
        invariant(sid != self.my_id, "a leader does not follow itself", sid=sid)
        invariant(
            last_seen_zxid >= self.last_committed or self.last_committed == self._epoch << 32,
            "what is committed is part of every sync",
            learner=sid,
            last_seen=last_seen_zxid,
            committed=self.last_committed,
        )
        self.forget_learner(sid)
        # The sync may cut from its log what it acknowledged on an earlier link: such a promise is void until it is
        # given again. What was committed by it stays committed, and is part of the sync.
        self._acked[sid] = min(self._acked.get(sid, -1), last_seen_zxid)
        if not participant:
            return []
        return [proposal for proposal in self.outstanding if proposal.zxid > last_seen_zxid]

    def forget_learner(self, sid: int) -> None:
        """A learner's link ended. What it acknowledged is still in its log and counts."""
        self._timers.pop(sid, None)
        if self._syncs:
            self._syncs = deque(entry for entry in self._syncs if entry[1] != sid)

    # Liveness

    def start_timing(self, sid: int) -> None:
        """A follower acknowledged NEWLEADER: from now on it must acknowledge what is proposed."""
        self._timers[sid] = _AckTimer(floor=self.last_proposed)

    def keeps_quorum(self, synced: Iterable[int]) -> bool:
        """Whether this leader and the ``synced`` learners are a quorum of every configuration (§7.4)."""
        alive = {self.my_id, *synced}
        return all(config.contains_quorum(alive) for config in self._in_force())

    @property
    def oracle_may_decide(self) -> bool:
        """Whether an oracle's word may stand for the other voter (§20.3): there are two, and no change under way."""
        settled = not self.outstanding or self.outstanding[0].zxid >= self._regimes[-1].first
        return settled and self.allowed_to_commit and len(self._in_force()) == 1 and self.config.oracle_may_decide

    def commit_alone(self) -> list[Proposal]:
        """An oracle says that the other voter is gone: what our own log holds is committed by that, in order."""
        invariant(self.oracle_may_decide, "only one of two voters may be a quorum", config=self.config)
        return self._commit_up_to(self._acked.get(self.my_id, self.last_committed))

    def overdue(self, sid: int, now: float, limit: float) -> bool:
        """Whether a follower leaves a proposal without ACK for ``limit`` or longer (SyncLimitCheck, §15).

        Ask at every ping; ``now`` and ``limit`` are in one unit. A proposal's time begins at the first question after
        it. Always false for who has no ``start_timing``.
        """
        timer = self._timers.get(sid)
        if timer is None:
            return False
        acked = self._acked.get(sid, -1)
        if timer.zxid is None or acked >= timer.zxid:
            late = self.last_proposed > max(acked, timer.floor)
            timer.zxid, timer.since = (self.last_proposed, now) if late else (None, now)
            return False
        return now - timer.since >= limit

    # Sync

    def sync(self, sid: int) -> bool:
        """A learner asks to be told when everything proposed so far is committed (§18): true if that is so now.

        Otherwise ``released_syncs`` names it once the last proposal of this moment is committed.
        """
        if not self.outstanding:
            return True
        self._syncs.append((self.last_proposed, sid))
        return False

    @property
    def pending_syncs(self) -> int:
        """How many syncs wait for a commit."""
        return len(self._syncs)

    def released_syncs(self) -> list[tuple[int, int]]:
        """(zxid, learner) of each waiting sync that is complete, oldest first. Ask after ``ack``.

        The learner must be told right behind the commit of ``zxid``: what it asked for later must not overtake it.
        """
        released: list[tuple[int, int]] = []
        while self._syncs and self._syncs[0][0] <= self.last_committed:
            released.append(self._syncs.popleft())
        return released
