"""Faults of whole processes and machines."""

from typing import Final

import trio

from trioquorum.events import (
    Committed,
    DatabaseLoaded,
    Elected,
    Established,
    Event,
    LearnerSyncing,
    LogTruncated,
    MembershipChanged,
    MembershipProposed,
    PeerStarted,
    PhaseChanged,
    Proposed,
    SnapshotTaken,
    SyncReceived,
)
from trioquorum.testing.nemesis import REVIVE_S, Nemesis, chosen
from trioquorum.testing.plan import Strike
from trioquorum.testing.seeded import schedule

ALONE_S: Final = 1.0
"""What a leader about to be overtaken says takes so long to arrive."""

UNSURE_S: Final = 1.0
"""The promises to its successor take so long to be written."""

SUCCESSOR_S: Final = 5.0
"""So long somebody is waited for who takes over."""

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
    MembershipProposed,
    MembershipChanged,
)
"""Events at which power is cut: at start-up, in elections, in every phase of a synchronisation, in broadcast, and
when a new membership is on disk and nobody has heard of it yet."""


async def crash(nemesis: Nemesis, strike: Strike) -> None:
    """Power off, and on again later."""
    peer = nemesis.peer(strike.a)
    nemesis.begin(strike, f"peer {peer}")
    nemesis.power_off(peer)
    await nemesis.revive(peer, strike.lasts_s)


async def crash_all(nemesis: Nemesis, strike: Strike) -> None:
    """Power off for every peer at once."""
    nemesis.begin(strike, "every peer")
    peers = nemesis.begun()
    for peer in peers:
        nemesis.power_off(peer)
    await trio.sleep(strike.lasts_s / 10)
    for peer in peers:
        await nemesis.revive(peer, strike.size / 2)


async def crash_at(nemesis: Nemesis, strike: Strike) -> None:
    """Power off in the very moment of an event."""
    point = chosen(CRASH_POINTS, strike.size)
    victim = nemesis.peer(strike.a) if strike.b < 0.5 else None
    hit: list[int] = []

    def watch(peer: int, event: Event) -> None:
        if not hit and isinstance(event, point) and victim in (None, peer) and nemesis.ensemble.peers[peer].running:
            hit.append(peer)
            nemesis.begin(strike, f"peer {peer} at {point.__name__}")
            nemesis.power_off(peer)

    stop = nemesis.ensemble.subscribe(watch)
    try:
        await trio.sleep(strike.lasts_s)
    finally:
        stop()
    if hit:
        await nemesis.revive(hit[0], REVIVE_S)


async def overtaken(nemesis: Nemesis, strike: Strike) -> None:
    """A leader dies with transactions that it alone has, and is back before its successor is sure of a quorum."""
    ahead, ensemble = nemesis.ensemble.leader(), nemesis.ensemble
    if ahead is None or ahead in nemesis.frozen:
        return
    nemesis.begin(strike, f"leader {ahead}")
    others = [peer for peer in nemesis.begun() if peer != ahead]
    for peer in others:
        nemesis.network.delay_one_way(nemesis.node(ahead), nemesis.node(peer), ALONE_S)
    await trio.sleep(ALONE_S * (0.2 + 0.6 * strike.a))
    nemesis.power_off(ahead)
    for peer in others:
        nemesis.network.delay_one_way(nemesis.node(ahead), nemesis.node(peer), nemesis.plan.delay_s)
        nemesis.disk_faults[peer].flush_extra_s = UNSURE_S
    elected = trio.Event()

    def watch(_: int, event: Event) -> None:
        if isinstance(event, Elected):
            elected.set()

    stop = ensemble.subscribe(watch)
    try:
        with trio.move_on_after(SUCCESSOR_S):
            await elected.wait()
        await nemesis.revive(ahead, UNSURE_S * strike.b)
        await trio.sleep(2 * UNSURE_S)
    finally:
        stop()
        for peer in others:
            nemesis.disk_faults[peer].flush_extra_s = 0.0


async def stop(nemesis: Nemesis, strike: Strike) -> None:
    """An ordered stop, and a start later."""
    peer = nemesis.peer(strike.a)
    if nemesis.ensemble.peers[peer].running and peer not in nemesis.frozen:
        nemesis.begin(strike, f"peer {peer}, in order")
        await nemesis.ensemble.stop(peer)
        await nemesis.revive(peer, strike.lasts_s)


async def pause(nemesis: Nemesis, strike: Strike) -> None:
    """SIGSTOP, then SIGCONT."""
    peer = nemesis.peer(strike.a)
    if not nemesis.ensemble.peers[peer].running or peer in nemesis.frozen:
        return
    nemesis.begin(strike, f"peer {peer}")
    nemesis.frozen.add(peer)
    schedule().freeze(nemesis.node(peer))
    await nemesis.last(strike)
    nemesis.thaw(peer)


async def clock_jump(nemesis: Nemesis, strike: Strike) -> None:
    """The wall clock of a peer is set."""
    peer = nemesis.peer(strike.a)
    jump_ms = int((strike.size - 0.5) * 7_200_000)
    nemesis.begin(strike, f"peer {peer}: {jump_ms} ms")
    nemesis.ensemble.peers[peer].wall_offset_ms += jump_ms
    nemesis.clocks_differ_ms += abs(jump_ms)
    await trio.lowlevel.checkpoint()
