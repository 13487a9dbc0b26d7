"""What goes wrong, drawn from a seed: one or two faults at a time, then everything is whole again and must serve."""

import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from tests.interop.namespaces.network import CLIENTS, Network
from tests.interop.namespaces.peers import SESSION_TIMEOUT_MAX_S, SYNC_LIMIT_S, Peers
from trioquorum.errors import ConnectFailed, RequestFailed

SERVE_WITHIN_S: Final = 60.0
"""From the end of a fault until all peers serve, one leads, and a write through each of them is acknowledged.

The limits of the ensemble itself add up to a few seconds; the rest is for a machine that does other things as well,
where five interpreters may need twenty seconds to start.
"""
CALM_S: Final = (1.0, 4.0)

KINDS: Final = {
    "partition": 4,
    "cut links": 3,
    "one-way cut": 3,
    "lossy links": 1,
    "flapping": 1,
    "pause": 3,
    "kill": 4,
    "kill all": 1,
    "full disk": 2,
}
"""How often each kind of fault is drawn, by comparison."""

Fault = Callable[[random.Random], Awaitable[None]]


class NotServing(AssertionError):
    """The ensemble did not come back in time after everything was healed."""


class PeerEnded(AssertionError):
    """A peer stopped that had no reason to."""


class Nemesis:
    """Faults for ``peers`` and ``network``.

    ``faults`` counts them by kind, ``recoveries_s`` is how long each healing took. Who is hit depends on who leads at
    that moment; everything else is drawn from ``rng``.

    ``probe`` writes something through a peer and returns when that was acknowledged.
    """

    def __init__(
        self,
        rng: random.Random,
        peers: Peers,
        network: Network,
        probe: Callable[[int], Awaitable[None]],
        say: Callable[[str], object],
    ) -> None:
        self.faults: Counter[str] = Counter()
        self.recoveries_s: list[float] = []
        self._rng = rng
        self._peers = peers
        self._network = network
        self._probe = probe
        self._say = say
        self._leader: int | None = None
        self._acts: dict[str, Fault] = {
            "partition": self._partition,
            "cut links": self._cut_links,
            "one-way cut": self._one_way_cut,
            "lossy links": self._lossy_links,
            "flapping": self._flapping,
            "pause": self._pause,
            "kill": self._kill,
            "kill all": self.kill_all,
            "full disk": self._full_disk,
        }

    async def run(self, seconds: float, enough: Callable[[], bool]) -> None:
        """Fault after fault for so long, or until it is ``enough``, but each kind once; at the end everything serves.

        Raises:
            NotServing: it did not after one of them.
            PeerEnded: a peer stopped that had no reason to.
        """
        end = trio.current_time() + seconds
        # Each kind once and alone, in an order of its own; then as they are drawn.
        names = list(KINDS)
        self._rng.shuffle(names)
        todo = [[name] for name in names]
        while todo or (trio.current_time() < end and not enough()):
            await self._step(todo.pop() if todo else self._draw())

    def _draw(self) -> list[str]:
        first, second = self._rng.choices(list(KINDS), list(KINDS.values()), k=2)
        return [first, second] if first != second and self._rng.random() < 0.25 else [first]

    async def _step(self, kinds: list[str]) -> None:
        async with trio.open_nursery() as nursery:
            for kind in kinds:
                self.faults[kind] += 1
                # Its own chance: in which order two faults come to draw is for Trio to say.
                nursery.start_soon(self._acts[kind], random.Random(self._rng.getrandbits(64)))
        await self._heal()
        self.recoveries_s.append(await self.wait_serving())
        self._say(f"{' + '.join(kinds)}: serving {self.recoveries_s[-1]:.1f} s later, led by {self._leader}")
        await trio.sleep(self._rng.uniform(*CALM_S))
        self._check_nobody_ended()

    async def _heal(self) -> None:
        self._network.heal()
        self._peers.resume(*self._peers.ids)
        self._peers.free_disk()
        self._check_nobody_ended()
        self._peers.start(*self._peers.ids)

    @property
    def disk_stops(self) -> int:
        """How often a full disk made a peer stop to serve."""
        return sum(1 for _ in self._peers.events(self._peers.small, "disk_full"))

    def _check_nobody_ended(self) -> None:
        """No process ends by itself, not even while its disk is full.

        Raises:
            PeerEnded: one did.
        """
        for i, code in self._peers.take_ended():
            raise PeerEnded(f"peer {i} ended with code {code}; its last words:\n{self._peers.last_words(i)}")

    async def wait_serving(self) -> float:
        """Wait until everything serves; how long that took.

        Raises:
            NotServing: not within ``SERVE_WITHIN_S``.
            PeerEnded: a peer stopped that had no reason to.
        """
        began = trio.current_time()
        said: object = None
        with trio.move_on_after(SERVE_WITHIN_S):
            while True:
                self._check_nobody_ended()
                await trio.sleep(0.05)
                said = modes = await self._peers.modes()
                if not self._peers.one_leads(modes):
                    continue
                self._leader = next(i for i, mode in modes.items() if mode == "leader")
                try:
                    for i in self._peers.ids:
                        await self._probe(i)
                except (ConnectFailed, RequestFailed) as error:
                    said = f"{error!r} of peer {i}"
                    continue
                return trio.current_time() - began
        raise NotServing(f"not within {SERVE_WITHIN_S} s after the fault; the last look found {said}")

    # Whom and how long

    def _some(self, rng: random.Random, most: int) -> list[int]:
        """One to ``most`` peers; every second time the leader is among them."""
        chosen = rng.sample(self._peers.ids, rng.randint(1, most))
        if self._leader is not None and self._leader not in chosen and rng.random() < 0.5:
            chosen[0] = self._leader
        return chosen

    async def _hold(self, rng: random.Random) -> None:
        """Short of the sync limit, past it, or past every session's timeout and the next retry of TCP."""
        longest = rng.choice((SYNC_LIMIT_S, 2 * SYNC_LIMIT_S, 2 * SYNC_LIMIT_S, 2 * SESSION_TIMEOUT_MAX_S))
        await trio.sleep(rng.uniform(longest / 3, longest))

    # The kinds

    async def _partition(self, rng: random.Random) -> None:
        """Two or more groups; the clients are in one of them, or reach all."""
        groups = {i: rng.randrange(2) for i in self._peers.ids}
        if len(set(groups.values())) == 1 or rng.random() < 0.2:
            groups = {i: i for i in self._peers.ids}
        if rng.random() < 0.3:
            groups[CLIENTS] = rng.choice(list(groups.values()))
        self._network.cut("partition", {(a, b) for a, b in itertools.permutations(groups, 2) if groups[a] != groups[b]})
        await self._hold(rng)

    async def _cut_links(self, rng: random.Random) -> None:
        """Some links both ways: also such that two peers meet only through a third."""
        links = list(itertools.combinations(self._network.nodes, 2))
        chosen = rng.sample(links, rng.randint(1, len(links) - 1))
        self._network.cut("links", {way for a, b in chosen for way in ((a, b), (b, a))})
        await self._hold(rng)

    async def _one_way_cut(self, rng: random.Random) -> None:
        ways = list(itertools.permutations(self._network.nodes, 2))
        self._network.cut("one_way", set(rng.sample(ways, rng.randint(1, len(ways) // 2))))
        await self._hold(rng)

    async def _lossy_links(self, rng: random.Random) -> None:
        ways = itertools.permutations(self._network.nodes, 2)
        self._network.cut("lossy", (), {way: rng.randint(5, 40) for way in ways})
        await self._hold(rng)

    async def _flapping(self, rng: random.Random) -> None:
        """One peer is cut off and back, again and again."""
        (peer,) = self._some(rng, 1)
        ways = {way for way in itertools.permutations(self._network.nodes, 2) if peer in way}
        for _ in range(rng.randint(3, 8)):
            self._network.cut("flapping", ways)
            await trio.sleep(rng.uniform(0.1, SYNC_LIMIT_S))
            self._network.heal("flapping")
            await trio.sleep(rng.uniform(0.1, SYNC_LIMIT_S))

    async def _pause(self, rng: random.Random) -> None:
        chosen = self._some(rng, len(self._peers.ids))
        self._peers.pause(*chosen)
        await self._hold(rng)
        self._peers.resume(*chosen)

    async def _kill(self, rng: random.Random) -> None:
        chosen = self._some(rng, len(self._peers.ids) - 1)
        for i in chosen:
            self._peers.kill(i)
            await trio.sleep(rng.choice((0.0, 0.1, 1.0)))
        await self._hold(rng)
        for i in rng.sample(chosen, len(chosen)):
            self._peers.start(i)
            await trio.sleep(rng.choice((0.0, 0.5)))

    async def kill_all(self, rng: random.Random) -> None:
        """All of them at once; they come back in any order."""
        self._peers.kill(*self._peers.ids)
        for i in rng.sample(self._peers.ids, len(self._peers.ids)):
            self._peers.start(i)
            await trio.sleep(rng.choice((0.0, 0.0, 2 * SYNC_LIMIT_S)))

    async def _full_disk(self, rng: random.Random) -> None:
        """A peer that cannot write does not serve before it can; if nothing made it write, it does not even notice."""
        self._peers.fill_disk()
        await self._hold(rng)
