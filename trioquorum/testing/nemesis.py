"""Who carries out the faults of a plan, each by its function of ``trioquorum.testing.strikes``, and takes them back."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import trio

from trioquorum.errors import DiskFailed, StorageError
from trioquorum.events import Event
from trioquorum.storage.memory_disk import FREE_BYTES
from trioquorum.testing.ensemble import MemoryEnsemble
from trioquorum.testing.network import SimulatedNetwork
from trioquorum.testing.peer import Life
from trioquorum.testing.plan import Plan, Strike
from trioquorum.testing.seeded import schedule
from trioquorum.testing.sim_disk import DiskFaults, SimDisk

T = TypeVar("T")

FAULTS_PEER: Final = 0
"""Whose event a fault is in the trace: nobody's."""

REVIVE_S: Final = 1.0
LEADER_SHARE: Final = 0.4


class Struck(Event, frozen=True, tag="struck"):
    """A fault begins, or ends."""

    level = "warning"
    fault: str
    what: str


def chosen(items: Sequence[T], share: float) -> T:
    """The item that ``share`` of the way, 0 to 1, falls on; both ends are drawn."""
    return items[min(int(share * len(items)), len(items) - 1)]


class Nemesis:
    """Strikes an ensemble as ``plan`` says.

    ``disk_faults`` are those of each peer's disks, which ``new_disk`` makes; ``counts`` is what was done. ``failed`` is
    for ``open_ensemble``: peers stop by themselves when a disk fails them, and are started again.
    """

    def __init__(
        self,
        plan: Plan,
        disk_faults: Mapping[int, DiskFaults],
        counts: Counter[str],
        new_disk: Callable[[int], SimDisk],
        network: SimulatedNetwork,
        strikes: "Mapping[str, Callable[[Nemesis, Strike], Awaitable[None]]]",
    ) -> None:
        self.client_nodes: list[str] = []
        self.plan = plan
        self.disk_faults = disk_faults
        self.counts = counts
        self._new_disk = new_disk
        self._strikes = strikes
        self.network = network
        self.rng = random.Random(f"nemesis/{plan.seed}")
        self.ensemble: MemoryEnsemble
        self._nursery: trio.Nursery
        self.failing: set[int] = set()  # their disks may fail them
        self.damaged: set[int] = set()  # they lost data, and may refuse to start
        self.frozen: set[int] = set()
        self.clocks_differ_ms = 0  # at most, by what they were set to

    async def run(self, ensemble: MemoryEnsemble) -> None:
        """Carry out every strike at its time, until cancelled."""
        self.ensemble = ensemble
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for strike in self.plan.strikes:
                nursery.start_soon(self._carry_out, strike, began, name=f"strike {strike.kind}")
            await trio.sleep_forever()

    async def calm(self, late: trio.Nursery) -> None:
        """Take everything back, once ``run`` was cancelled: every peer runs, every link works, every disk is sound.

        Who only now finds its data damaged is started again in ``late``.
        """
        plan = self.plan
        self.network.heal_all()
        for node in self._nodes():
            for other in self._nodes():
                if node < other:
                    self.network.delay(node, other, plan.delay_s)
                    self.network.bandwidth(node, other, None)
                    self.network.break_at(node, other, 0.0, random=self.rng)
        for peer in sorted(self.frozen):
            self.thaw(peer)
        for faults in self.disk_faults.values():
            faults.flush_extra_s = faults.stall_rate = faults.fail_rate = 0.0
            faults.capacity_bytes = FREE_BYTES
        self.tell("calm", "all faults end")
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for peer in self.begun():
                nursery.start_soon(self.revive, peer, 0.0)
        self._nursery = late

    def failed(self, life: Life, error: Exception) -> bool:
        """Whether a peer may stop for this reason; it is started again later."""
        peer = life.peer
        causes = list(_leaves(error))
        if peer.id in self.damaged:
            expected = all(isinstance(cause, StorageError) for cause in causes)
        else:
            expected = peer.id in self.failing and all(isinstance(cause, DiskFailed) for cause in causes)
        if not expected:
            return False
        self.tell("stopped", f"peer {peer.id}: {causes[0]}")
        self.counts["peers stopped by their disks"] += 1
        if peer.running:
            peer.end()
        peer.disk = life.disk.crash(0)
        if peer.id in self.damaged:
            # What an operator does with a peer that refuses to start: its data goes, the others have everything.
            peer.disk = self._new_disk(peer.id)
            self.ensemble.safety.wiped(peer.id)
            self.counts["disks wiped"] += 1
        self._nursery.start_soon(self.revive, peer.id, REVIVE_S)
        return True

    # Choosing

    def peer(self, draw: float) -> int:
        """A peer; often the leader, where faults hurt most."""
        ids = self.begun()
        leader = self.ensemble.leader()
        if leader is not None and draw < LEADER_SHARE:
            return leader
        return ids[int((draw - LEADER_SHARE) / (1 - LEADER_SHARE) * len(ids)) % len(ids)]

    def pair(self, strike: Strike) -> tuple[int, int] | None:
        """Two peers, the first like ``peer``; None if there is only one."""
        one = self.peer(strike.a)
        others = [peer for peer in self.begun() if peer != one]
        return (one, chosen(others, strike.b)) if others else None

    def begun(self) -> list[int]:
        """Every peer that was ever started: what is not yet part of anything is left alone."""
        return [peer.id for peer in self.ensemble.peers.values() if peer.begun]

    def node(self, peer: int) -> str:
        """A peer's name in the network."""
        return self.ensemble.peers[peer].node

    def _nodes(self) -> list[str]:
        return [peer.node for peer in self.ensemble.peers.values()] + self.client_nodes

    def disk(self, peer: int) -> SimDisk:
        """A peer's disk."""
        disk = self.ensemble.peers[peer].disk
        assert isinstance(disk, SimDisk)
        return disk

    def tell(self, fault: str, what: str) -> None:
        """Put a line into the trace."""
        self.ensemble.tell(FAULTS_PEER, Struck(fault=fault, what=what))

    # Carrying out

    async def _carry_out(self, strike: Strike, began: float) -> None:
        await trio.sleep_until(began + strike.at_s)
        await self._strikes[strike.kind](self, strike)

    def begin(self, strike: Strike, what: str) -> None:
        """Count a strike and tell of it."""
        self.counts[strike.kind] += 1
        self.tell(strike.kind, what)

    async def last(self, strike: Strike) -> None:
        """Wait while a strike lasts."""
        await trio.sleep(strike.lasts_s)
        self.tell(strike.kind, "is over")

    def thaw(self, peer: int) -> None:
        """Let a frozen peer go on."""
        if peer in self.frozen:
            self.frozen.discard(peer)
            schedule().thaw(self.node(peer))

    def power_off(self, peer: int) -> None:
        """Cut a peer's power, if it runs."""
        if self.ensemble.peers[peer].running:
            self.ensemble.power_off(peer)
            # A machine without power is not frozen either: its tasks must take their last steps.
            self.thaw(peer)

    async def revive(self, peer: int, after_s: float) -> None:
        """Start a peer that is down, unless somebody else does."""
        await trio.sleep(after_s)
        if not self.ensemble.peers[peer].running and self.ensemble.peers[peer].begun:
            await self.ensemble.wait_down(peer)
        if not self.ensemble.peers[peer].running:
            self.disk_faults[peer].fail_rate = 0.0
            await self.ensemble.start(peer)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
