"""Bugs of how a learner takes over its leader's history."""

from typing import Any, Final

import pytest
import trio

from tests.sim.mutants.mutant import DIGESTS, mutant
from trioquorum.errors import LinkClosed
from trioquorum.peer.following import SnapshotFrames
from trioquorum.peer.learner_handler import LearnerHandler
from trioquorum.storage.database import Database
from trioquorum.storage.log_writer import LogWriter
from trioquorum.storage.snapshot import SnapshotParser
from trioquorum.wire.quorum import PacketType, QuorumPacket, encode_packets
from trioquorum.zab.leader import Leader, Proposal
from trioquorum.zab.learner import Learner, Phase
from trioquorum.zab.learner_effects import SendPacket
from trioquorum.zab.sync_plan import SyncPlan

HISTORY: Final = "history and currentEpoch first, then the ACK of NEWLEADER"
NEXT: Final = "a learner is sent the next proposal"
AWAY: Final = ("crash", "stop")
CUT_WRONG: Final = ("a learner applies what is committed", "history first, then currentEpoch", "equal histories")
CUT_BACK: Final[Any] = {
    "kinds": ("crash_all",),
    "delay_s": 0.1,
    "flush_s": 0.0005,
    "limits": {"committed_log_txns_max": 500},
    "seeds": 10,
}
"""Power goes off while proposals are on the leader's disk alone, and on their way."""


@mutant("quorum-protocol §9", NEXT, "NEWLEADER comes behind the history", "nobody skips a commit", kinds=AWAY, seeds=8)
def sync_leaves_a_transaction_out(patch: pytest.MonkeyPatch) -> None:
    real = LearnerHandler._send_plan

    async def leave_out(self: LearnerHandler, plan: SyncPlan) -> None:
        plan.proposals = plan.proposals[:-2] + plan.proposals[-1:]
        await real(self, plan)

    patch.setattr(LearnerHandler, "_send_plan", leave_out)


@mutant("quorum-protocol §10", NEXT, "a commit is of the next proposals", kinds=AWAY, seeds=6, flush_s=0.02)
def outstanding_proposals_not_forwarded(patch: pytest.MonkeyPatch) -> None:
    real = Leader.start_forwarding

    def forget(self: Leader, sid: int, last_seen_zxid: int, *, participant: bool) -> list[Proposal]:
        real(self, sid, last_seen_zxid, participant=participant)
        return []

    patch.setattr(Leader, "start_forwarding", forget)


@mutant(
    "trap 14, ZOOKEEPER-3104", "NEWLEADER comes behind the history", "nobody skips a commit", NEXT, kinds=AWAY, seeds=8
)
def newleader_overtakes_the_history(patch: pytest.MonkeyPatch) -> None:
    real = LearnerHandler._send_plan

    async def overtaken(self: LearnerHandler, plan: SyncPlan) -> None:
        late, plan.proposals = plan.proposals, []
        await real(self, plan)
        packets = [
            QuorumPacket(kind, zxid, payload if kind == PacketType.PROPOSAL else None)
            for zxid, payload in late
            for kind in (PacketType.PROPOSAL, PacketType.COMMIT)
        ]
        if packets:
            self.outbox.put(encode_packets([QuorumPacket(PacketType.NEWLEADER, self._master.service.db.last_zxid)]))

    patch.setattr(LearnerHandler, "_send_plan", overtaken)


@mutant("trap 9, ZOOKEEPER-2355", HISTORY, "history first", "PrefixConsistency", kinds=AWAY, seeds=8)
def diff_taken_as_processed(patch: pytest.MonkeyPatch) -> None:
    real = Learner._choose

    def believe(self: Learner, mode: PacketType, zxid: int, effects: list[Any]) -> None:
        real(self, mode, zxid, effects)
        self._floor = self._last_queued = self._last_committed = zxid

    patch.setattr(Learner, "_choose", believe)


@mutant("trap 23, ZOOKEEPER-4685", "packets come in their phase", "acknowledgements", kinds=AWAY, seeds=6, flush_s=0.02)
def uncommitted_acknowledged_before_newleader(patch: pytest.MonkeyPatch) -> None:
    real = Learner._step

    def step(self: Learner, packet: QuorumPacket, effects: list[Any]) -> None:
        if packet.type == PacketType.NEWLEADER:
            effects += [SendPacket(QuorumPacket(PacketType.ACK, zxid)) for zxid, _ in self._pending]
        real(self, packet, effects)

    patch.setattr(Learner, "_step", step)


@mutant(
    "trap 24, ZOOKEEPER-4394",
    "the committed log has no hole",
    "the log has nothing between",
    "equal histories make equal trees",
    "nobody skips",
    DIGESTS,
    kinds=AWAY,
    seeds=6,
    flush_s=0.02,
)
def commit_before_uptodate_lost(patch: pytest.MonkeyPatch) -> None:
    real = Learner._step

    def step(self: Learner, packet: QuorumPacket, effects: list[Any]) -> None:
        if self.phase is Phase.ACKING and packet.type == PacketType.COMMIT:
            while self._pending and self._pending[0][0] <= packet.zxid:
                self._last_committed = self._pending.popleft()[0]
            return
        real(self, packet, effects)

    patch.setattr(Learner, "_step", step)


@mutant(
    "trap 18, ZOOKEEPER-3642",
    "equal histories make equal trees",
    DIGESTS,
    "all peers hold the same",
    kinds=("crash", "narrow_link", "break_links"),
    seeds=8,
    limits={"committed_log_txns_max": 2, "snapshot_chunk_bytes": 256},
    settings={"snapshot_size_factor": -1.0},
)
def part_of_a_snapshot_taken_over(patch: pytest.MonkeyPatch) -> None:
    real = SnapshotFrames.__anext__

    async def until_it_ends(self: SnapshotFrames) -> bytes:
        try:
            return await real(self)
        except LinkClosed:
            raise StopAsyncIteration from None

    patch.setattr(SnapshotFrames, "__anext__", until_it_ends)
    patch.setattr(SnapshotParser, "finish", lambda self: None)


@mutant("trap 19, ZOOKEEPER-3701", *CUT_WRONG, **CUT_BACK)
def truncation_that_failed_ignored(patch: pytest.MonkeyPatch) -> None:
    async def fail(self: Database, zxid: int) -> None:
        await trio.lowlevel.checkpoint()

    patch.setattr(Database, "truncate", fail)


@mutant("quorum-protocol §22.2", *CUT_WRONG, **CUT_BACK)
def truncation_in_memory_only(patch: pytest.MonkeyPatch) -> None:
    async def keep(self: LogWriter, zxid: int) -> None:
        await self.drained()
        self.last_appended = self.last_flushed = zxid

    patch.setattr(LogWriter, "truncate", keep)


@mutant("quorum-protocol §9", *CUT_WRONG, **CUT_BACK)
def truncation_of_one_too_many(patch: pytest.MonkeyPatch) -> None:
    real = Database.truncate

    async def truncate(self: Database, zxid: int) -> None:
        await real(self, zxid - 1)

    patch.setattr(Database, "truncate", truncate)


@mutant(
    "trap 2, ZOOKEEPER-1549", "a learner applies what is committed", kinds=AWAY, seeds=8, flush_s=0.02, delay_s=0.03
)
def uncommitted_applied_at_newleader(patch: pytest.MonkeyPatch) -> None:
    take_over, commit = Learner._take_over, Learner._commit

    def early(self: Learner, packet: QuorumPacket, effects: list[Any]) -> None:
        if self._pending:
            commit(self, self._pending[-1][0], self._committed)
        take_over(self, packet, effects)

    def unless_applied(self: Learner, zxid: int, committed: list[tuple[int, bytes]]) -> None:
        if zxid > self._last_committed:
            commit(self, zxid, committed)

    patch.setattr(Learner, "_take_over", early)
    patch.setattr(Learner, "_commit", unless_applied)
