"""What a follower keeps for observers that catch up: scripts, and the definition."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.scripts.runner import Command, run_script, scripts
from tests.zab.kit import show_all, zx
from trioquorum.events import Events
from trioquorum.invariants import InvariantViolation
from trioquorum.limits import Limits
from trioquorum.peer.history import plan_history
from trioquorum.storage.database import Database
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.wire.quorum import PacketType, QuorumPacket
from trioquorum.zab.observer_master import RetainedCommits


class Stage:
    """``limit`` starts over; ``commit ZXID BYTES xN`` are N of that size, with zxids from there on."""

    def __init__(self) -> None:
        self.retained = RetainedCommits(100)

    def run(self, command: Command) -> str:
        try:
            answer: str = getattr(self, command.name)(*command.words)
        except InvariantViolation as error:
            return f"InvariantViolation: {error}"
        return answer

    def limit(self, size: str) -> str:
        self.retained = RetainedCommits(int(size))
        return ""

    def begin(self, last_committed: str) -> str:
        self.retained.begin(zx(last_committed))
        return ""

    def clear(self) -> str:
        self.retained.clear()
        return ""

    def commit(self, first: str, size: str, times: str = "x1") -> str:
        for zxid in range(zx(first), zx(first) + int(times[1:])):
            self.retained.add(QuorumPacket(PacketType.INFORM, zxid, bytes(int(size))))
        return ""

    def forward(self, last_seen: str) -> str:
        packets = self.retained.start_forwarding(zx(last_seen))
        return f"{last_seen}: " + ("too far behind" if packets is None else show_all(p.zxid for p in packets))


@pytest.mark.parametrize("path", scripts("observer_master"), ids=lambda path: path.stem)
def test_script(path: Path, request: pytest.FixtureRequest) -> None:
    run_script(path, Stage().run, rewrite=request.config.getoption("--rewrite"))


@given(limit=st.integers(1, 60), sizes=st.lists(st.integers(0, 30), max_size=40), seen=st.integers(0, 45))
def test_an_observer_gets_all_it_lacks_or_nothing(limit: int, sizes: list[int], seen: int) -> None:
    """Never a part; and what is kept stays within the limit, but is not given up while there is plenty of room."""
    retained = RetainedCommits(limit)
    retained.begin(0)
    for zxid, size in enumerate(sizes, 1):
        retained.add(QuorumPacket(PacketType.INFORM, zxid, bytes(size)))
    told = retained.start_forwarding(seen)
    if told is not None:
        assert [packet.zxid for packet in told] == list(range(seen + 1, len(sizes) + 1))
        assert sum(len(packet.data or b"") for packet in told) <= limit
    else:
        assert sum(sizes[seen:]) > 0.8 * limit or sum(sizes) > 0.8 * limit


async def test_an_observer_that_saw_the_epoch_begin_has_all_its_master_has() -> None:
    """The leader's snapshot gave it (epoch, 0); a follower keeps the last transaction before, until the next one."""
    disk = MemoryDisk()
    db = await Database.load(disk, disk, Limits(), Events(), slow_flush_ms=0)
    begun = zx("1.0")
    plan = plan_history(db, begun, None, begun)
    assert (plan.mode, plan.zxid, plan.current, plan.proposals) == ("DIFF", begun, begun, [])
    assert plan_history(db, begun, None).mode == "SNAP"
