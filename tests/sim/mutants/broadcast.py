"""Bugs of a leader in broadcast, and of roles that end."""

from contextvars import ContextVar
from typing import Any

import pytest
import trio

from tests.sim.mutants.mutant import mutant
from trioquorum.errors import LinkClosed
from trioquorum.peer.following import Following
from trioquorum.peer.leading import Leading
from trioquorum.peer.learner_handler import LearnerHandler
from trioquorum.pipeline.leader import LeaderService
from trioquorum.storage.log_writer import LogWriter
from trioquorum.wire.quorum import PacketType, QuorumPacket
from trioquorum.zab.leader import Leader
from trioquorum.zab.learner import Learner

COMMIT = "a quorum's disks first, then COMMIT"
NEVER = ("a healed ensemble serves", "every call of a client ends", "ConnectFailed")


@mutant("quorum-protocol §16.4", COMMIT, peers=5, kinds=("slow_disk",), seeds=4)
def commit_with_the_first_ack(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leader, "_reached", lambda self: max(self._acked.values()))


@mutant("quorum-protocol §13", "observers acknowledge no proposal", observers=2, kinds=("slow_disk",), seeds=8)
def observers_acknowledge_and_count(patch: pytest.MonkeyPatch) -> None:
    def acknowledge(self: Learner, zxid: int) -> QuorumPacket | None:
        if not self.serving or zxid <= self._acked:
            return None
        self._acked = zxid
        return QuorumPacket(PacketType.ACK, zxid)

    patch.setattr(Learner, "acknowledge", acknowledge)


@mutant("quorum-protocol §16.4", "observers are informed, followers asked", observers=1, seeds=4)
def observers_are_asked_as_followers(patch: pytest.MonkeyPatch) -> None:
    real = Leading.synchronise

    async def confused(self: Leading, handler: LearnerHandler, learner_zxid: int) -> None:
        handler.participant = True
        await real(self, handler, learner_zxid)

    patch.setattr(Leading, "synchronise", confused)


@mutant("quorum-protocol §20", COMMIT, peers=5, groups=(1, 1, 1, 2, 2), kinds=("slow_disk",), seeds=6)
def commits_of_groups_by_majority(patch: pytest.MonkeyPatch) -> None:
    def reached(self: Leader) -> int:
        acked = sorted((zxid for sid, zxid in self._acked.items() if sid in self.config.voters), reverse=True)
        needed = len(self.config.voters) // 2
        return max(acked[needed] if len(acked) > needed else 0, self.last_committed)

    patch.setattr(Leader, "_reached", reached)


@mutant(
    "quorum-protocol §16.4",
    "commits are applied in the order of the log",
    "the committed log has no hole",
    seeds=4,
    workloads=("register", "bank"),
)
def commits_in_another_order(patch: pytest.MonkeyPatch) -> None:
    real = Leader._commit_up_to
    patch.setattr(Leader, "_commit_up_to", lambda self, zxid: real(self, zxid)[::-1])


@mutant("quorum-protocol §8", *NEVER, seeds=1, safety_s=3.0)
def acknowledgements_of_learners_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leading, "acked", lambda *_: None)


@mutant("quorum-protocol §7.4", *NEVER, kinds=("partition", "cut"), seeds=6)
def leader_stays_without_its_quorum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leader, "keeps_quorum", lambda *_: True)


@mutant("trap 1, ZOOKEEPER-1277", "an epoch ends before its counter", limits={"epoch_txns_max": 40})
def counter_goes_on_behind_its_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaderService, "exhausted", False)


@mutant("design §4", "commits are applied in the order of the log", "a commit is of", "only what", "once", COMMIT)
def applied_when_it_is_proposed(patch: pytest.MonkeyPatch) -> None:
    real = LeaderService.pass_on

    def hasty(self: LeaderService) -> None:
        real(self)
        self._commit(self.machine._commit_up_to(self.last_proposed))

    patch.setattr(LeaderService, "pass_on", hasty)


_IN_HANDSHAKE: ContextVar[bool] = ContextVar("in_handshake", default=False)


@mutant(
    "trap 27, ZOOKEEPER-4541",
    "the log is drained before the next role",
    kinds=("slow_disk", "crash", "stop"),
    seeds=8,
    flush_s=0.1,
)
def next_role_before_the_log_is_drained(patch: pytest.MonkeyPatch) -> None:
    carry_out, drained = Following._carry_out, LogWriter.drained

    async def in_handshake(self: Following, effect: Any, link: Any) -> None:
        token = _IN_HANDSHAKE.set(True)
        try:
            await carry_out(self, effect, link)
        finally:
            _IN_HANDSHAKE.reset(token)

    async def hasty(self: LogWriter) -> None:
        if _IN_HANDSHAKE.get():
            await drained(self)
        else:
            await trio.lowlevel.checkpoint()

    patch.setattr(Following, "_carry_out", in_handshake)
    patch.setattr(LogWriter, "drained", hasty)


@mutant("trap 28, ZOOKEEPER-4409", "LinkClosed", kinds=("crash", "break_links", "slow_disk"), seeds=8)
def ack_without_a_leader_kills_the_log(patch: pytest.MonkeyPatch) -> None:
    run, flushed = Following.run, Following._flushed

    async def noted(self: Any) -> None:
        self.over = False
        try:
            await run(self)
        finally:
            self.over = True

    def strict(self: Any, zxid: int) -> None:
        if self.over:
            raise LinkClosed("there is nobody to tell")
        flushed(self, zxid)

    patch.setattr(Following, "run", noted)
    patch.setattr(Following, "_flushed", strict)
