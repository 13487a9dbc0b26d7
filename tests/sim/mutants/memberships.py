"""Bugs of a changing membership (quorum-protocol §19), and of who is counted."""

from collections.abc import Collection
from typing import Any, Final

import pytest
import trio

from tests.sim.mutants.mutant import mutant
from trioquorum.peer import members, reconfiguring
from trioquorum.storage.membership import Membership
from trioquorum.zab import leader
from trioquorum.zab.election import Election
from trioquorum.zab.leader import Leader, Proposal
from trioquorum.zab.quorum import QuorumConfig
from trioquorum.zab.reconfig import Outcome, outcome

BOTH: Final = "quorums of both, then a new membership"
NO_VOTE: Final = "who has no vote any more commits nothing"
COMMIT: Final = "a quorum's disks first, then COMMIT"
STORM: Final[Any] = {"workloads": ("register", "storm"), "seeds": 6, "joiners": 3}
SLOW: Final[Any] = {**STORM, "kinds": ("slow_disk",)}


@mutant("quorum-protocol §19.3", BOTH, COMMIT, **SLOW)
def old_quorum_alone_commits_a_reconfiguration(patch: pytest.MonkeyPatch) -> None:
    real = Leader._held
    patch.setattr(Leader, "_held", lambda self, configs, end: real(self, configs[:1], end))


@mutant("quorum-protocol §19.3", BOTH, COMMIT, "who has no vote any more commits nothing", **SLOW)
def activated_when_it_is_proposed(patch: pytest.MonkeyPatch) -> None:
    real = Leader.propose

    def propose(self: Leader, zxid: int, payload: bytes, context: object, config: QuorumConfig | None = None) -> None:
        real(self, zxid, payload, context, config)
        if config is not None:
            self.decided = config

    patch.setattr(Leader, "propose", propose)


@mutant("quorum-protocol §19.3", BOTH, **STORM)
def proposed_membership_in_force_at_learners(patch: pytest.MonkeyPatch) -> None:
    real = members.Members.propose

    async def propose(self: members.Members, config: QuorumConfig) -> None:
        await real(self, config)
        await self.activate(config, self._my_id, None)

    patch.setattr(members.Members, "propose", propose)


@mutant("quorum-protocol §19.4", NO_VOTE, **STORM)
def leader_goes_on_without_a_vote(patch: pytest.MonkeyPatch) -> None:
    def stays(my_id: int, of: int, old: QuorumConfig, new: QuorumConfig, designated: int | None) -> Outcome:
        return outcome(my_id, of, old, new, designated) if designated is None else Outcome(ends_role=False)

    patch.setattr(leader, "designated_leader", lambda my_id, *_: my_id)
    patch.setattr(members, "outcome", stays)
    patch.setattr(reconfiguring, "keeps_address", lambda *_: True)


@mutant("quorum-protocol §19.6", "a membership is on disk before it counts", **STORM, kinds=("crash", "crash_at"))
def proposed_membership_forgotten_in_a_crash(patch: pytest.MonkeyPatch) -> None:
    real = Membership.load.__func__  # type: ignore[attr-defined]

    async def load(cls: Any, disk: Any, written: QuorumConfig) -> Membership:
        found: Membership = await real(cls, disk, written)
        found.last_seen = found.committed
        return found

    patch.setattr(Membership, "load", classmethod(load))


@mutant("quorum-protocol §19.6", "a membership is on disk before it counts", **STORM)
def proposed_membership_only_in_memory(patch: pytest.MonkeyPatch) -> None:
    async def see(self: Membership, config: QuorumConfig) -> None:
        self.last_seen = config if config.version > self.committed.version else self.committed
        await trio.lowlevel.checkpoint()

    patch.setattr(Membership, "_see", see)


def _reaches(self: Leader, configs: tuple[QuorumConfig, ...], end: int, acked: Collection[tuple[int, int]]) -> int:
    """As many acknowledgements as a majority of ``configs`` has voters, whoever gave them."""
    for zxid in sorted({min(reached, end) for _, reached in acked}, reverse=True):
        count = sum(reached >= zxid for _, reached in acked)
        if zxid > self.last_committed and all(count > len(config.voters) // 2 for config in configs):
            return zxid
    return self.last_committed


@mutant("quorum-protocol §19.7", COMMIT, BOTH, NO_VOTE, **SLOW)
def acknowledgements_of_removed_members_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leader, "_held", lambda self, configs, end: _reaches(self, configs, end, self._acked.items()))


@mutant("quorum-protocol §16.4", COMMIT, peers=5, kinds=("slow_disk", "break_links"), seeds=8, flush_s=0.02)
def learner_counted_once_for_each_link(patch: pytest.MonkeyPatch) -> None:
    real = Leader.start_forwarding

    def forwards(self: Any, sid: int, last_seen_zxid: int, *, participant: bool) -> list[Proposal]:
        if participant and sid in self._acked:
            self.again = {*getattr(self, "again", ()), sid}
        return real(self, sid, last_seen_zxid, participant=participant)

    def held(self: Any, configs: tuple[QuorumConfig, ...], end: int) -> int:
        acked = [(sid, zxid) for sid, zxid in self._acked.items() if sid in configs[0].voters]
        again = [(sid, zxid) for sid, zxid in acked if sid in getattr(self, "again", ())]
        return _reaches(self, configs, end, acked + again)

    patch.setattr(Leader, "start_forwarding", forwards)
    patch.setattr(Leader, "_held", held)


@mutant("quorum-protocol §19.7", "a quorum elects", **STORM, kinds=("crash", "stop"))
def votes_of_removed_members_count(patch: pytest.MonkeyPatch) -> None:
    """Whoever was a voter once still is one to the election."""
    real = Election.set_configs

    def remembers(self: Any, committed: QuorumConfig, last_seen: QuorumConfig) -> None:
        self.ever = getattr(self, "ever", frozenset()) | committed.voters
        real(self, committed, last_seen)
        self._voters |= self.ever
        self._others = tuple(sorted(self._voters - {self._my_id}))

    def enough(self: Any, sids: Collection[int]) -> bool:
        return len(set(sids)) > len(self._committed.voters) // 2

    patch.setattr(Election, "set_configs", remembers)
    patch.setattr(Election, "_has_all_quorums", enough)
