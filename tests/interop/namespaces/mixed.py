"""A bit of everything that sessions do: sequential nodes, ephemerals, multis, lists, watches, goodbyes and silence."""

from collections import defaultdict, deque
from functools import partial
from typing import ClassVar, Final

import trio

from trioquorum.client import Client
from trioquorum.errors import Code
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads import Workload
from trioquorum.testing.workloads.base import unless

CLIENTS: Final = 6
SESSION_TIMEOUT_MS: Final = 3_000
KEPT: Final = 20
"""Sequential nodes that a client leaves standing."""

ROOT: Final = "/mixed"
QUEUE: Final = f"{ROOT}/queue"
PRESENT: Final = f"{ROOT}/present"
COUNTERS: Final = (f"{ROOT}/counter0", f"{ROOT}/counter1")


class Mixed(Workload):
    """Makes calls of every kind; what must hold of them holds for every history."""

    name = "mixed"
    paths: ClassVar[tuple[str, ...]] = (ROOT, QUEUE, PRESENT, *COUNTERS)

    async def run(self) -> None:
        self._queued: defaultdict[str, deque[str]] = defaultdict(deque)
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                name = f"mixed-{number}"
                step = partial(self._step, name)
                nursery.start_soon(partial(self.work, name, step, session_timeout_ms=SESSION_TIMEOUT_MS))

    async def _step(self, name: str, client: Client) -> None:
        draw = self.rng.randrange(200)
        if draw < 40:
            await self._put(name, client)
        elif draw < 60:
            await self._take(name, client)
        elif draw < 90:
            await self._hold(client)
        elif draw < 120:
            await self._count(client)
        elif draw < 150:
            await self._look(client)
        elif draw < 196:
            await self._list(client)
        elif draw < 198:
            await client.close()
        else:
            await self._fall_silent(name, client)

    async def _put(self, name: str, client: Client) -> None:
        path, _ = await client.create2(f"{QUEUE}/n-", self.unique(), sequence=True)
        self._queued[name].append(path)

    async def _take(self, name: str, client: Client) -> None:
        """The oldest node of this client; after a lost answer it may be gone already."""
        if len(self._queued[name]) > KEPT:
            await unless(client.delete(self._queued[name].popleft()), Code.NONODE)
        else:
            await self._put(name, client)

    async def _hold(self, client: Client) -> None:
        """An ephemeral, which the session gives back or leaves to its end."""
        path = await client.create(f"{PRESENT}/e-", self.unique(), ephemeral=True, sequence=True)
        await self.pause()
        if self.rng.random() < 0.8:
            await client.delete(path)

    async def _count(self, client: Client) -> None:
        """Two counters and a node go together or not at all; who read an old version changes nothing."""
        first, second = self.rng.sample(COUNTERS, 2)
        _, stat = await client.get(first)
        await self.pause()
        both = client.transaction().check(first, stat.version).set(first, self.unique()).set(second, self.unique())
        await both.create(f"{QUEUE}/m-", sequence=True, ephemeral=True).commit()

    async def _look(self, client: Client) -> None:
        path = self.rng.choice(COUNTERS)
        if self.rng.random() < 0.5:
            await client.sync(path)
        await client.get(path, watch=id)
        await client.exists(f"{PRESENT}/e-{self.rng.randrange(1000):010d}", watch=id)

    async def _list(self, client: Client) -> None:
        path = self.rng.choice((QUEUE, PRESENT))
        if self.rng.random() < 0.2:
            await client.sync(path)
        await client.get_children2(path, watch=id)

    async def _fall_silent(self, name: str, client: Client) -> None:
        """For longer than the session lives: its ephemerals go, and it is told so when it comes back."""
        self.scene.isolate(name)
        try:
            await trio.sleep(2 * client.session_timeout_ms / 1000)
        finally:
            self.scene.rejoin(name)

    def check(self, truth: Truth) -> None:
        """Nothing of its own."""
