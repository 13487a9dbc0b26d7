"""Who carries a plan's faults out, and who takes them all back."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from itertools import combinations
from typing import Final

import trio

from trioquorum.errors import DiskFailed, StorageError
from trioquorum.events import (
    Committed,
    DatabaseLoaded,
    Elected,
    Established,
    Event,
    LearnerSyncing,
    LogTruncated,
    PeerStarted,
    PhaseChanged,
    Proposed,
    SnapshotTaken,
    SyncReceived,
)
from trioquorum.storage.memory_disk import FREE_BYTES
from trioquorum.testing import strangers
from trioquorum.testing.ensemble import MemoryEnsemble
from trioquorum.testing.network import SimulatedNetwork
from trioquorum.testing.peer import Life
from trioquorum.testing.plan import Plan, Strike
from trioquorum.testing.seeded import schedule
from trioquorum.testing.sim_disk import DiskFaults, SimDisk

FAULTS_PEER: Final = 0
"""Whose event a fault is in the trace: nobody's."""

REVIVE_S: Final = 1.0
LEADER_SHARE: Final = 0.4
CRASH_POINTS: Final[tuple[type[Event], ...]] = (
    PeerStarted,
    DatabaseLoaded,
    Elected,
    PhaseChanged,
    LearnerSyncing,
    SyncReceived,
    LogTruncated,
    SnapshotTaken,
    Established,
    Proposed,
    Committed,
)
"""Events at which power is cut: at start-up, in elections, in every phase of a synchronisation, in broadcast."""


class Struck(Event, frozen=True, tag="struck"):
    """A fault begins, or ends."""

    level = "warning"
    fault: str
    what: str


class Nemesis:
    """Strikes an ensemble as ``plan`` says.

    ``faults`` are those of each peer's disks, which ``new_disk`` makes; ``counts`` is what was done.

    ``failed`` is for ``open_ensemble``: peers stop by themselves when a disk fails them, and are started again.
    """

    def __init__(
        self,
        plan: Plan,
        faults: Mapping[int, DiskFaults],
        counts: Counter[str],
        new_disk: Callable[[int], SimDisk],
        network: SimulatedNetwork,
    ) -> None:
        self.client_nodes: list[str] = []
        self._plan = plan
        self._faults = faults
        self._counts = counts
        self._new_disk = new_disk
        self._network = network
        self._rng = random.Random(f"nemesis/{plan.seed}")
        self._ensemble: MemoryEnsemble
        self._nursery: trio.Nursery
        self._failing: set[int] = set()  # their disks may fail them
        self._damaged: set[int] = set()  # they lost data, and may refuse to start
        self._frozen: set[int] = set()

    async def run(self, ensemble: MemoryEnsemble) -> None:
        """Carry out every strike at its time, until cancelled."""
        self._ensemble = ensemble
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for strike in self._plan.strikes:
                nursery.start_soon(self._carry_out, strike, began, name=f"strike {strike.kind}")
            await trio.sleep_forever()

    async def calm(self) -> None:
        """Take everything back, once ``run`` was cancelled: every peer runs, every link works, every disk is sound."""
        ensemble, plan = self._ensemble, self._plan
        self._network.heal_all()
        for node in self._nodes():
            for other in self._nodes():
                if node < other:
                    self._network.delay(node, other, plan.delay_s)
                    self._network.bandwidth(node, other, None)
        for peer in sorted(self._frozen):
            self._thaw(peer)
        for faults in self._faults.values():
            faults.flush_extra_s = faults.stall_rate = faults.fail_rate = 0.0
            faults.capacity_bytes = FREE_BYTES
        self._tell("calm", "all faults end")
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for peer in ensemble.peers:
                nursery.start_soon(self._revive, peer, 0.0)

    def failed(self, life: Life, error: Exception) -> bool:
        """Whether a peer may stop for this reason; it is started again later."""
        peer = life.peer
        causes = list(_leaves(error))
        if peer.id in self._damaged:
            expected = all(isinstance(cause, StorageError) for cause in causes)
        else:
            expected = peer.id in self._failing and all(isinstance(cause, DiskFailed) for cause in causes)
        if not expected:
            return False
        self._tell("stopped", f"peer {peer.id}: {causes[0]}")
        self._counts["peers stopped by their disks"] += 1
        if peer.running:
            peer.end()
        peer.disk = life.disk.crash(0)
        if peer.id in self._damaged:
            # What an operator does with a peer that refuses to start: its data goes, the others have everything.
            peer.disk = self._new_disk(peer.id)
            self._ensemble.safety.wiped(peer.id)
            self._counts["disks wiped"] += 1
        self._nursery.start_soon(self._revive, peer.id, REVIVE_S)
        return True

    # Choosing

    def _peer(self, draw: float) -> int:
        """A peer; often the leader, where faults hurt most."""
        ids = list(self._ensemble.peers)
        leader = self._ensemble.leader()
        if leader is not None and draw < LEADER_SHARE:
            return leader
        return ids[int((draw - LEADER_SHARE) / (1 - LEADER_SHARE) * len(ids)) % len(ids)]

    def _pair(self, strike: Strike) -> tuple[int, int] | None:
        one = self._peer(strike.a)
        others = [peer for peer in self._ensemble.peers if peer != one]
        return (one, others[int(strike.b * len(others))]) if others else None

    def _node(self, peer: int) -> str:
        return self._ensemble.peers[peer].node

    def _nodes(self) -> list[str]:
        return [peer.node for peer in self._ensemble.peers.values()] + self.client_nodes

    def _disk(self, peer: int) -> SimDisk:
        disk = self._ensemble.peers[peer].disk
        assert isinstance(disk, SimDisk)
        return disk

    def _tell(self, fault: str, what: str) -> None:
        self._ensemble.tell(FAULTS_PEER, Struck(fault=fault, what=what))

    # Carrying out

    async def _carry_out(self, strike: Strike, began: float) -> None:
        await trio.sleep_until(began + strike.at_s)
        await _STRIKES[strike.kind](self, strike)

    def _begin(self, strike: Strike, what: str) -> None:
        self._counts[strike.kind] += 1
        self._tell(strike.kind, what)

    async def _last(self, strike: Strike) -> None:
        await trio.sleep(strike.lasts_s)
        self._tell(strike.kind, "is over")

    # Network

    async def _cut(self, strike: Strike) -> None:
        pair = self._pair(strike)
        if pair is None:
            return
        a, b = map(self._node, pair)
        self._begin(strike, f"{a} | {b}")
        self._network.cut(a, b)
        await self._last(strike)
        self._network.heal(a, b)

    async def _one_way(self, strike: Strike) -> None:
        pair = self._pair(strike)
        if pair is None:
            return
        a, b = map(self._node, pair if strike.size < 0.5 else pair[::-1])
        self._begin(strike, f"nothing from {a} to {b}")
        self._network.cut_one_way(a, b)
        await self._last(strike)
        self._network.heal(a, b)

    async def _partition(self, strike: Strike) -> None:
        ids = list(self._ensemble.peers)
        if len(ids) < 2:
            return
        rng = random.Random(strike.b)
        rng.shuffle(ids)
        if strike.size < 0.3:
            alone = self._peer(strike.a)
            groups = [[alone], [peer for peer in ids if peer != alone]]
        elif strike.size < 0.6:
            middle = max(1, len(ids) // 2)
            groups = [ids[:middle], ids[middle:]]
        elif strike.size < 0.8:
            # One peer reaches both sides, which do not reach each other.
            middle = max(1, (len(ids) - 1) // 2)
            groups = [ids[:middle], ids[middle:-1]]
        else:
            groups = [[peer] for peer in ids]
        self._begin(strike, " | ".join(" ".join(map(str, sorted(group))) for group in groups))
        self._ensemble.partition(*groups)
        await self._last(strike)
        for a, b in combinations(ids, 2):
            self._network.heal(self._node(a), self._node(b))

    async def _slow_link(self, strike: Strike) -> None:
        pair = self._pair(strike)
        if pair is None:
            return
        a, b = map(self._node, pair)
        delay_s = strike.size**3
        self._begin(strike, f"{a} - {b}: {delay_s:.3f} s and jitter")
        self._network.delay(a, b, delay_s, jitter_s=delay_s, random=self._rng)
        await self._last(strike)
        self._network.delay(a, b, self._plan.delay_s)

    async def _narrow_link(self, strike: Strike) -> None:
        pair = self._pair(strike)
        if pair is None:
            return
        a, b = map(self._node, pair)
        bytes_per_s = int(200 * 10 ** (3 * strike.size))
        self._begin(strike, f"{a} - {b}: {bytes_per_s} bytes/s")
        self._network.bandwidth(a, b, bytes_per_s)
        await self._last(strike)
        self._network.bandwidth(a, b, None)

    async def _break_links(self, strike: Strike) -> None:
        """Now, again and again while it lasts: between two peers, or between clients and a peer."""
        pair = self._pair(strike)
        if pair is None:
            return
        a = self._node(pair[0])
        others = [self._node(pair[1])] if strike.size < 0.5 else self.client_nodes
        self._begin(strike, f"{a} - {' '.join(others)}")
        ends_at = trio.current_time() + strike.lasts_s
        while trio.current_time() < ends_at:
            for other in others:
                self._network.break_links(a, other)
            await trio.sleep(self._rng.uniform(0.1, 2.0))

    async def _silence(self, strike: Strike) -> None:
        peer = self._peer(strike.a)
        self._begin(strike, f"a caller of every port of peer {peer} says nothing")
        await strangers.stay_silent(self._network, self._ensemble.addresses(peer), lasts_s=strike.lasts_s)

    async def _slow_reader(self, strike: Strike) -> None:
        peer = self._peer(strike.a)
        self._begin(strike, f"a client of peer {peer} reads too slowly")
        address = self._ensemble.addresses(peer)[-1]
        await strangers.read_slowly(self._network, address, lasts_s=strike.lasts_s)

    # Disks

    async def _slow_disk(self, strike: Strike) -> None:
        peer = self._peer(strike.a)
        latency_s = 0.01 * 300 ** (strike.size)
        self._begin(strike, f"peer {peer}: flushes take up to {latency_s:.3f} s")
        faults = self._faults[peer]
        faults.flush_extra_s, faults.stall_rate, faults.stall_s = latency_s, strike.b / 20, 10 * latency_s
        await self._last(strike)
        faults.flush_extra_s = faults.stall_rate = 0.0

    async def _failed_flush(self, strike: Strike) -> None:
        peer = self._peer(strike.a)
        self._begin(strike, f"peer {peer}: the next flush fails")
        self._failing.add(peer)
        self._faults[peer].fail_rate = 1.0
        await self._last(strike)
        self._faults[peer].fail_rate = 0.0

    async def _full_disk(self, strike: Strike) -> None:
        peer = self._peer(strike.a)
        room = int(4096 * strike.size)
        self._begin(strike, f"peer {peer}: {room} bytes are left")
        self._failing.add(peer)
        used = sum(map(len, self._disk(peer).files.values()))
        self._faults[peer].capacity_bytes = used + room
        await self._last(strike)
        self._faults[peer].capacity_bytes = FREE_BYTES

    async def _flipped_bit(self, strike: Strike) -> None:
        await self._damage(strike, lambda disk: disk.flip_bit(self._rng))

    async def _lost_file(self, strike: Strike) -> None:
        await self._damage(strike, lambda disk: disk.lose_file(self._rng))

    async def _damage(self, strike: Strike, hit: Callable[[SimDisk], object]) -> None:
        """Power off, damage, power on; only where every other voter holds all that this peer ever acknowledged.

        Then no quorum can lack anything, whatever this peer forgets; until it serves again nobody else is damaged.
        """
        peer = self._peer(strike.a)
        if self._damaged or not self._is_spare(peer):
            return
        ensemble = self._ensemble
        self._damaged.add(peer)
        if ensemble.peers[peer].running:
            self._power_off(peer)
        if ensemble.peers[peer].running:
            self._damaged.discard(peer)
            return
        await ensemble.wait_down(peer)
        damage = hit(self._disk(peer))
        if damage is None:
            self._damaged.discard(peer)
        else:
            self._begin(strike, f"peer {peer}: {damage}")
            ensemble.safety.wiped(peer)
        await self._revive(peer, 0.0)
        while ensemble.peers[peer].established is None:
            await trio.sleep(1)
        self._damaged.discard(peer)

    def _is_spare(self, peer: int) -> bool:
        ensemble = self._ensemble
        voters = [spec.id for spec in ensemble.peers[peer].config.peers if spec.role == "participant"]
        if peer not in voters:
            return True
        mine, others = self._disk(peer), [self._disk(other) for other in voters if other != peer]
        return bool(others) and all(
            other.logged_zxid() >= mine.logged_zxid()
            and (other.epoch("acceptedEpoch") or 0) >= (mine.epoch("acceptedEpoch") or 0)
            for other in others
        )

    # Processes

    async def _crash(self, strike: Strike) -> None:
        peer = self._peer(strike.a)
        self._begin(strike, f"peer {peer}")
        self._power_off(peer)
        await self._revive(peer, strike.lasts_s)

    async def _crash_all(self, strike: Strike) -> None:
        self._begin(strike, "every peer")
        peers = list(self._ensemble.peers)
        for peer in peers:
            self._power_off(peer)
        await trio.sleep(strike.lasts_s / 10)
        for peer in peers:
            await self._revive(peer, strike.size / 2)

    async def _crash_at(self, strike: Strike) -> None:
        """Power off in the very moment of an event."""
        point = CRASH_POINTS[int(strike.size * len(CRASH_POINTS))]
        victim = self._peer(strike.a) if strike.b < 0.5 else None
        hit: list[int] = []

        def watch(peer: int, event: Event) -> None:
            if not hit and isinstance(event, point) and victim in (None, peer) and self._ensemble.peers[peer].running:
                hit.append(peer)
                self._begin(strike, f"peer {peer} at {point.__name__}")
                self._power_off(peer)

        stop = self._ensemble.subscribe(watch)
        try:
            await trio.sleep(strike.lasts_s)
        finally:
            stop()
        if hit:
            await self._revive(hit[0], REVIVE_S)

    async def _stop(self, strike: Strike) -> None:
        peer = self._peer(strike.a)
        if self._ensemble.peers[peer].running and peer not in self._frozen:
            self._begin(strike, f"peer {peer}, in order")
            await self._ensemble.stop(peer)
            await self._revive(peer, strike.lasts_s)

    async def _pause(self, strike: Strike) -> None:
        peer = self._peer(strike.a)
        if not self._ensemble.peers[peer].running or peer in self._frozen:
            return
        self._begin(strike, f"peer {peer}")
        self._frozen.add(peer)
        schedule().freeze(self._node(peer))
        await self._last(strike)
        self._thaw(peer)

    async def _clock_jump(self, strike: Strike) -> None:
        peer = self._peer(strike.a)
        jump_ms = int((strike.size - 0.5) * 7_200_000)
        self._begin(strike, f"peer {peer}: {jump_ms} ms")
        self._ensemble.peers[peer].wall_offset_ms += jump_ms
        await trio.lowlevel.checkpoint()

    def _thaw(self, peer: int) -> None:
        if peer in self._frozen:
            self._frozen.discard(peer)
            schedule().thaw(self._node(peer))

    def _power_off(self, peer: int) -> None:
        if self._ensemble.peers[peer].running:
            self._ensemble.power_off(peer)
            # A machine without power is not frozen either: its tasks must take their last steps.
            self._thaw(peer)

    async def _revive(self, peer: int, after_s: float) -> None:
        """Start a peer that is down, unless somebody else does."""
        await trio.sleep(after_s)
        if not self._ensemble.peers[peer].running:
            await self._ensemble.wait_down(peer)
        if not self._ensemble.peers[peer].running:
            self._faults[peer].fail_rate = 0.0
            await self._ensemble.start(peer)


_STRIKES: Final[Mapping[str, Callable[[Nemesis, Strike], Awaitable[None]]]] = {
    name.removeprefix("_"): getattr(Nemesis, name)
    for name in (
        ("_cut", "_one_way", "_partition", "_slow_link", "_narrow_link", "_break_links", "_silence", "_slow_reader")
        + ("_slow_disk", "_failed_flush", "_full_disk", "_flipped_bit", "_lost_file")
        + ("_crash", "_crash_all", "_crash_at", "_stop", "_pause", "_clock_jump")
    )
}


def _leaves(error: BaseException) -> "list[BaseException]":
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
