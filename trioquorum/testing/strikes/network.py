"""Faults on the way between peers, and callers nobody likes."""

import random
from itertools import combinations

import trio

from trioquorum.testing.nemesis import Nemesis
from trioquorum.testing.network import CLIENT_PORT
from trioquorum.testing.plan import Strike
from trioquorum.testing.strangers import read_slowly, stay_silent


async def cut(nemesis: Nemesis, strike: Strike) -> None:
    """Nothing between two peers."""
    pair = nemesis.pair(strike)
    if pair is None:
        return
    a, b = map(nemesis.node, pair)
    nemesis.begin(strike, f"{a} | {b}")
    nemesis.network.cut(a, b)
    await nemesis.last(strike)
    nemesis.network.heal(a, b)


async def one_way(nemesis: Nemesis, strike: Strike) -> None:
    """Nothing from one peer to another."""
    pair = nemesis.pair(strike)
    if pair is None:
        return
    a, b = map(nemesis.node, pair if strike.size < 0.5 else pair[::-1])
    nemesis.begin(strike, f"nothing from {a} to {b}")
    nemesis.network.cut_one_way(a, b)
    await nemesis.last(strike)
    nemesis.network.heal(a, b)


async def partition(nemesis: Nemesis, strike: Strike) -> None:
    """Groups that do not reach each other."""
    ids = list(nemesis.ensemble.peers)
    if len(ids) < 2:
        return
    rng = random.Random(strike.b)
    rng.shuffle(ids)
    if strike.size < 0.3:
        alone = nemesis.peer(strike.a)
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
    nemesis.begin(strike, " | ".join(" ".join(map(str, sorted(group))) for group in groups))
    nemesis.ensemble.partition(*groups)
    await nemesis.last(strike)
    for a, b in combinations(ids, 2):
        nemesis.network.heal(nemesis.node(a), nemesis.node(b))


async def slow_link(nemesis: Nemesis, strike: Strike) -> None:
    """Delay and jitter between two peers."""
    pair = nemesis.pair(strike)
    if pair is None:
        return
    a, b = map(nemesis.node, pair)
    delay_s = strike.size**3
    nemesis.begin(strike, f"{a} - {b}: {delay_s:.3f} s and jitter")
    nemesis.network.delay(a, b, delay_s, jitter_s=delay_s, random=nemesis.rng)
    await nemesis.last(strike)
    nemesis.network.delay(a, b, nemesis.plan.delay_s)


async def slow_way(nemesis: Nemesis, strike: Strike) -> None:
    """Delay from one peer to another; the way back is as it was."""
    pair = nemesis.pair(strike)
    if pair is None:
        return
    a, b = map(nemesis.node, pair if strike.size < 0.5 else pair[::-1])
    delay_s = 2 * strike.b**3
    nemesis.begin(strike, f"{a} to {b}: {delay_s:.3f} s")
    nemesis.network.delay_one_way(a, b, delay_s)
    await nemesis.last(strike)
    nemesis.network.delay_one_way(a, b, nemesis.plan.delay_s)


async def narrow_link(nemesis: Nemesis, strike: Strike) -> None:
    """Little bandwidth between two peers."""
    pair = nemesis.pair(strike)
    if pair is None:
        return
    a, b = map(nemesis.node, pair)
    bytes_per_s = int(200 * 10 ** (3 * strike.size))
    nemesis.begin(strike, f"{a} - {b}: {bytes_per_s} bytes/s")
    nemesis.network.bandwidth(a, b, bytes_per_s)
    await nemesis.last(strike)
    nemesis.network.bandwidth(a, b, None)


async def break_links(nemesis: Nemesis, strike: Strike) -> None:
    """Now, again and again while it lasts: between two peers, or between clients and a peer."""
    pair = nemesis.pair(strike)
    if pair is None:
        return
    a = nemesis.node(pair[0])
    others = [nemesis.node(pair[1])] if strike.size < 0.5 else nemesis.client_nodes
    nemesis.begin(strike, f"{a} - {' '.join(others)}")
    ends_at = trio.current_time() + strike.lasts_s
    while trio.current_time() < ends_at:
        for other in others:
            nemesis.network.break_links(a, other)
        await trio.sleep(nemesis.rng.uniform(0.1, 2.0))


async def dead_links(nemesis: Nemesis, strike: Strike) -> None:
    """Links between two peers that stand for both, and through which nothing ever comes again; new ones are well."""
    pair = nemesis.pair(strike)
    if pair is None:
        return
    a, b = map(nemesis.node, pair)
    nemesis.begin(strike, f"{a} - {b}")
    nemesis.network.stall_links(a, b)
    await trio.lowlevel.checkpoint()


async def torn_link(nemesis: Nemesis, strike: Strike) -> None:
    """Links break in the middle of a frame: between two peers, or between clients and a peer, where a part arrives."""
    pair = nemesis.pair(strike)
    if pair is None:
        return
    a = nemesis.node(pair[0])
    others = [nemesis.node(pair[1])] if strike.size < 0.5 else list(nemesis.client_nodes)
    rate = 0.1 * strike.b**2
    nemesis.begin(strike, f"{a} - {' '.join(others)}: {rate:.4f} a frame")
    for other in others:
        nemesis.network.break_at(a, other, rate, random=nemesis.rng, stream_ports=(CLIENT_PORT,))
    await nemesis.last(strike)
    for other in others:
        nemesis.network.break_at(a, other, 0.0, random=nemesis.rng)


async def silence(nemesis: Nemesis, strike: Strike) -> None:
    """Somebody calls every port of a peer and says nothing."""
    peer = nemesis.peer(strike.a)
    nemesis.begin(strike, f"a caller of every port of peer {peer} says nothing")
    await stay_silent(nemesis.network, nemesis.ensemble.addresses(peer), lasts_s=strike.lasts_s)


async def slow_reader(nemesis: Nemesis, strike: Strike) -> None:
    """A client that asks for much and hardly reads."""
    peer = nemesis.peer(strike.a)
    nemesis.begin(strike, f"a client of peer {peer} reads too slowly")
    address = nemesis.ensemble.addresses(peer)[-1]
    await read_slowly(nemesis.network, address, lasts_s=strike.lasts_s)
