"""Whatever is lost, repeated or overtaken, a stable net in the end has one leader."""

import random
from collections.abc import Callable

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.election.world import World, members
from trioquorum.wire.election import PeerState
from trioquorum.zab.ballots import Settle
from trioquorum.zab.quorum import QuorumConfig


class Chaos(RuleBasedStateMachine):
    """First anything goes; then, at the end, messages arrive in order and roles that cannot work are given up."""

    @initialize(
        voters=st.integers(1, 5),
        observers=st.integers(0, 1),
        data=st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3)), min_size=6, max_size=6),
    )
    def begin(self, voters: int, observers: int, data: list[tuple[int, int]]) -> None:
        ids = range(1, voters + observers + 1)
        self.world = World(QuorumConfig(members(ids[:voters], ids[voters:])))
        for sid, (epoch, zxid) in zip(ids, data, strict=False):
            # At least a quorum has a history that counts, else nobody may ever be elected.
            self.world.zxids[sid] = max(zxid, 0) if sid <= voters // 2 + 1 else zxid
            self.world.epochs[sid] = epoch if zxid >= 0 else 0

    @rule(index=st.integers(0, 5))
    def look(self, index: int) -> None:
        ids = sorted(self.world.config.members)
        self.world.look(ids[index % len(ids)])

    @precondition(lambda self: self.world.machines)
    @rule(index=st.integers(0, 5))
    def crash(self, index: int) -> None:
        running = sorted(self.world.machines)
        self.world.crash(running[index % len(running)])

    @precondition(lambda self: self.world.machines)
    @rule(index=st.integers(0, 5), other=st.integers(1, 6), up=st.booleans())
    def link_comes_or_goes(self, index: int, other: int, up: bool) -> None:
        running = sorted(self.world.machines)
        sid = running[index % len(running)]
        if up:
            self.world.link_up(sid, other)
        else:
            self.world.link_down(sid, other)

    @precondition(lambda self: self.world.wire)
    @rule(indexes=st.lists(st.integers(0, 50), min_size=1, max_size=20))
    def deliver_in_any_order(self, indexes: list[int]) -> None:
        for index in indexes:
            if self.world.wire:
                self.world.deliver(index % len(self.world.wire))

    @precondition(lambda self: self.world.wire)
    @rule()
    def deliver_all(self) -> None:
        self.world.deliver_all()

    @precondition(lambda self: self.world.wire)
    @rule(index=st.integers(0, 50))
    def repeat(self, index: int) -> None:
        self.world.wire.append(self.world.wire[index % len(self.world.wire)])

    @precondition(lambda self: self.world.wire)
    @rule(keep=st.integers(0, 5))
    def lose(self, keep: int) -> None:
        del self.world.wire[keep:]

    @precondition(lambda self: self.world.timers)
    @rule(index=st.integers(0, 5), queue_idle=st.booleans())
    def timer_ends(self, index: int, queue_idle: bool) -> None:
        armed = sorted(self.world.timers)
        self.world.timer_ends(armed[index % len(armed)], queue_idle=queue_idle)

    @invariant()
    def results_have_a_quorum_behind_them(self) -> None:
        for sid, done in self.world.done.items():
            assert self.world.config.contains_quorum(done.voters)
            assert done.vote.leader in self.world.config.voters
            assert done.vote.zxid >= 0
            assert (done.state is PeerState.LEADING) == (done.vote.leader == sid)
            assert sid in self.world.config.voters or done.state is PeerState.OBSERVING

    @invariant()
    def who_looks_has_a_timer(self) -> None:
        for sid, machine in self.world.machines.items():
            assert (sid in self.world.timers) == (machine.state is PeerState.LOOKING)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for sid in sorted(set(self.world.config.members) - set(self.world.machines)):
            self.world.look(sid)
        self.world.deliver_all()
        for _ in range(30):
            if self.settled():
                return
            for sid in self.disappointed():
                self.world.look(sid)
            self.world.deliver_all()
            # Nothing is under way, so settling is over for all who wait for that before silence is for anybody.
            due = sorted(self.world.timers, key=lambda sid: not isinstance(self.world.timers[sid], Settle))
            for sid in due:
                if sid in self.world.timers:
                    self.world.timer_ends(sid)
            self.world.deliver_all()
        raise AssertionError("no leader that all follow")

    def settled(self) -> bool:
        machines = self.world.machines
        leaders = {sid for sid, machine in machines.items() if machine.state is PeerState.LEADING}
        return not self.world.looking() and all(leaders == {m.current_vote.leader} for m in machines.values())

    def disappointed(self) -> list[int]:
        """Whose role fails in the end: nobody to follow, or no quorum that follows."""
        machines = self.world.machines

        def followers(leader: int) -> list[int]:
            return [
                sid
                for sid, machine in machines.items()
                if machine.state is not PeerState.LOOKING and machine.current_vote.leader == leader
            ]

        fails: dict[PeerState, Callable[[int, int], bool]] = {
            PeerState.LOOKING: lambda sid, leader: False,
            PeerState.LEADING: lambda sid, leader: not self.world.config.contains_quorum(followers(sid)),
            PeerState.FOLLOWING: lambda sid, leader: machines[leader].state is not PeerState.LEADING,
            PeerState.OBSERVING: lambda sid, leader: machines[leader].state is not PeerState.LEADING,
        }
        return [sid for sid, machine in machines.items() if fails[machine.state](sid, machine.current_vote.leader)]


Chaos.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_chaos = Chaos.TestCase


@settings(max_examples=150, deadline=None)
@given(
    histories=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=6),
    chance=st.randoms(use_true_random=False),
)
def test_nothing_lost_nothing_late(histories: list[tuple[int, int]], chance: random.Random) -> None:
    """Peers that start together over links that keep order follow the one with the best history, in the first round."""
    ids = range(1, len(histories) + 1)
    world = World(QuorumConfig(members(ids)))
    for sid, (epoch, zxid) in zip(ids, histories, strict=True):
        world.epochs[sid], world.zxids[sid] = epoch, zxid
    best = max(ids, key=lambda sid: (*histories[sid - 1], sid))

    to_start = chance.sample(ids, len(ids))
    while to_start or world.wire:
        if to_start and (not world.wire or chance.random() < 0.2):
            world.look(to_start.pop())
        else:
            pair = chance.choice(sorted({entry[:2] for entry in world.wire}))
            world.deliver(next(i for i, entry in enumerate(world.wire) if entry[:2] == pair))
    # All votes arrived, so nobody even had to wait.
    assert {sid: (done.vote.leader, done.vote.round) for sid, done in world.done.items()} == dict.fromkeys(
        ids, (best, 1)
    )
