"""Faults of disks."""

from collections.abc import Callable

import trio

from trioquorum.storage.memory_disk import FREE_BYTES
from trioquorum.testing.nemesis import Nemesis
from trioquorum.testing.plan import Strike
from trioquorum.testing.sim_disk import SimDisk


async def slow_disk(nemesis: Nemesis, strike: Strike) -> None:
    """A disk takes its time, and stalls."""
    peer = nemesis.peer(strike.a)
    latency_s = 0.01 * 300 ** (strike.size)
    nemesis.begin(strike, f"peer {peer}: flushes take up to {latency_s:.3f} s")
    faults = nemesis.disk_faults[peer]
    faults.flush_extra_s, faults.stall_rate, faults.stall_s = latency_s, strike.b / 20, 10 * latency_s
    await nemesis.last(strike)
    faults.flush_extra_s = faults.stall_rate = 0.0


async def failed_flush(nemesis: Nemesis, strike: Strike) -> None:
    """A flush fails: the peer must stop."""
    peer = nemesis.peer(strike.a)
    nemesis.begin(strike, f"peer {peer}: the next flush fails")
    nemesis.failing.add(peer)
    nemesis.disk_faults[peer].fail_rate = 1.0
    await nemesis.last(strike)
    nemesis.disk_faults[peer].fail_rate = 0.0


async def full_disk(nemesis: Nemesis, strike: Strike) -> None:
    """A disk has hardly any room left: the peer refuses writes, or waits, and comes back by itself."""
    peer = nemesis.peer(strike.a)
    room = int(4096 * strike.size)
    nemesis.begin(strike, f"peer {peer}: {room} bytes are left")
    used = sum(map(len, nemesis.disk(peer).files.values()))
    nemesis.disk_faults[peer].capacity_bytes = used + room
    await nemesis.last(strike)
    nemesis.disk_faults[peer].capacity_bytes = FREE_BYTES


async def flipped_bit(nemesis: Nemesis, strike: Strike) -> None:
    """A bit of a log or snapshot turns around while the peer is down."""
    await _damage(nemesis, strike, lambda disk: disk.flip_bit(nemesis.rng))


async def lost_file(nemesis: Nemesis, strike: Strike) -> None:
    """A log or snapshot is lost while the peer is down."""
    await _damage(nemesis, strike, lambda disk: disk.lose_file(nemesis.rng))


async def _damage(nemesis: Nemesis, strike: Strike, hit: Callable[[SimDisk], object]) -> None:
    """Power off, damage, power on; only where every other voter holds all that this peer ever acknowledged.

    Then no quorum can lack anything, whatever this peer forgets; until it serves again nobody else is damaged.
    """
    peer = nemesis.peer(strike.a)
    if nemesis.damaged or not _is_spare(nemesis, peer):
        return
    ensemble = nemesis.ensemble
    nemesis.damaged.add(peer)
    if ensemble.peers[peer].running:
        nemesis.power_off(peer)
    if ensemble.peers[peer].running:
        nemesis.damaged.discard(peer)
        return
    await ensemble.wait_down(peer)
    damage = hit(nemesis.disk(peer))
    if damage is None:
        nemesis.damaged.discard(peer)
    else:
        nemesis.begin(strike, f"peer {peer}: {damage}")
        ensemble.safety.wiped(peer)
    await nemesis.revive(peer, 0.0)
    while ensemble.peers[peer].established is None:
        await trio.sleep(1)  # As often as it refuses to start, is wiped and crashes again.
    nemesis.damaged.discard(peer)


def _is_spare(nemesis: Nemesis, peer: int) -> bool:
    ensemble = nemesis.ensemble
    if nemesis.plan.peers == 1:
        return False  # With nothing but what its operator wrote it would begin an ensemble of its own.
    # Whoever votes by what anybody takes for the membership, down or not.
    known = [config for it in nemesis.begun() for config in ensemble.peers[it].configs]
    if any(len(ensemble.peers[it].configs) > 1 for it in nemesis.begun()):
        return False  # A change may have been decided with its word, and be told of in a moment.
    voters = sorted({voter for config in known for voter in config.voters})
    if peer not in voters:
        return True
    mine, others = nemesis.disk(peer), [nemesis.disk(other) for other in voters if other != peer]
    return bool(others) and all(
        other.logged_zxid() >= mine.logged_zxid()
        and (other.epoch("acceptedEpoch") or 0) >= (mine.epoch("acceptedEpoch") or 0)
        for other in others
    )
