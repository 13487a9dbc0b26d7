"""The leader in broadcast: scripts of its stories, and what no order of acknowledgements may break."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.scripts.runner import Command, run_script, scripts
from tests.zab.kit import config, member, payload, show, show_all, zx
from trioquorum.errors import PeerProtocolError, RoleEnded
from trioquorum.invariants import InvariantViolation
from trioquorum.zab.leader import Leader
from trioquorum.zab.quorum import QuorumConfig


class Stage:
    """Commands of the leader's scripts; zxids are counters of the epoch unless written ``epoch.counter``."""

    def __init__(self) -> None:
        self.leader = Leader(1, config(1, 2, 3), epoch=1)

    def run(self, command: Command) -> str:
        try:
            answer: str = getattr(self, command.name)(*command.words, **command.options)
        except (PeerProtocolError, RoleEnded, InvariantViolation) as error:
            return f"{type(error).__name__}: {error}"
        return answer

    def ensemble(self, *sids: str, observers: str = "", epoch: str = "1", proposed: str = "") -> str:
        """Start over as leader 1; ``proposed`` is a configuration that is not committed yet."""
        last_seen = config(*map(int, proposed.split(",")), version=9) if proposed else None
        voters = config(*map(int, sids), observers=map(int, filter(None, observers.split(","))))
        self.leader = Leader(1, voters, last_seen, epoch=int(epoch))
        return ""

    def _zxid(self, text: str) -> int:
        return zx(text) if "." in text else (self.leader.last_proposed >> 32 << 32) + int(text, 0)

    def propose(self, *zxids: str) -> str:
        for text in zxids:
            self.leader.propose(self._zxid(text), b"", text)
        return ""

    def ack(self, sid: str, zxid: str) -> str:
        committed = self.leader.ack(int(sid), self._zxid(zxid))
        assert [proposal.context for proposal in committed] == [str(p.zxid & 0xFFFFFFFF) for p in committed]
        released = [learner for _, learner in self.leader.released_syncs()]
        answer = f"{sid}: commits {show_all(proposal.zxid for proposal in committed)}"
        return answer + (f", syncs of {released} done" if released else "")

    def forward(self, sid: str, behind: str, role: str = "participant") -> str:
        queued = self.leader.start_forwarding(int(sid), self._zxid(behind), participant=role == "participant")
        return f"{sid}: queue {show_all(proposal.zxid for proposal in queued)}"

    def forget(self, sid: str) -> str:
        self.leader.forget_learner(int(sid))
        return ""

    def sync(self, sid: str) -> str:
        return f"{sid}: {'answer' if self.leader.sync(int(sid)) else 'wait'}"

    def synced(self, sid: str) -> str:
        self.leader.start_timing(int(sid))
        return ""

    def ping(self, sid: str, now: str) -> str:
        return f"{sid} at {now}: {'overdue' if self.leader.overdue(int(sid), int(now), 5) else 'fine'}"

    def alive(self, *sids: str) -> str:
        return "goes on" if self.leader.keeps_quorum(map(int, sids)) else "lost its quorum"

    def state(self) -> str:
        leader = self.leader
        waiting = show_all(proposal.zxid for proposal in leader.outstanding)
        return f"committed {show(leader.last_committed)}, proposed {show(leader.last_proposed)}, outstanding {waiting}"


@pytest.mark.parametrize("path", scripts("leader"), ids=lambda path: path.stem)
def test_script(path: Path, request: pytest.FixtureRequest) -> None:
    run_script(path, Stage().run, rewrite=request.config.getoption("--rewrite"))


def test_a_proposal_comes_back_as_it_went_in() -> None:
    leader = Leader(1, config(1), epoch=3)
    context = object()
    leader.propose(zx("3.1"), payload(zx("3.1")), context)
    (proposal,) = leader.ack(1, zx("3.1"))
    assert (proposal.zxid, proposal.payload) == (zx("3.1"), payload(zx("3.1")))
    assert proposal.context is context


def test_a_hierarchical_quorum_commits() -> None:
    groups = QuorumConfig(member(sid, group=(sid - 1) // 3) for sid in range(1, 10))
    leader = Leader(1, groups, epoch=1)
    leader.propose(zx("1.1"), b"", None)
    for sid in (1, 4, 7, 2):
        assert not leader.ack(sid, zx("1.1"))
    assert leader.ack(5, zx("1.1"))


@given(
    voters=st.integers(1, 7),
    steps=st.lists(st.tuples(st.integers(1, 7), st.integers(0, 6)), max_size=60),
)
def test_committed_is_what_a_quorum_holds(voters: int, steps: list[tuple[int, int]]) -> None:
    """Against the definition: sid 0 steps propose, others acknowledge some prefix of what was proposed."""
    leader = Leader(1, config(*range(1, voters + 1)), epoch=1)
    reached = dict.fromkeys(range(1, voters + 1), 0)
    proposed, committed = 0, []
    for sid, ahead in steps:
        if sid > voters:
            for _ in range(ahead):
                proposed += 1
                leader.propose((1 << 32) + proposed, b"", None)
            continue
        upto = min(proposed, reached[sid] + ahead - 1)  # −1: old acknowledgements come again
        news = leader.ack(sid, (1 << 32) + max(upto, 0))
        reached[sid] = max(reached[sid], upto)
        committed += [proposal.zxid & 0xFFFFFFFF for proposal in news]
        nth = sorted(reached.values(), reverse=True)[voters // 2]
        assert committed == list(range(1, nth + 1))
        assert leader.last_committed == (1 << 32) + nth
        assert [p.zxid & 0xFFFFFFFF for p in leader.outstanding] == list(range(nth + 1, proposed + 1))
