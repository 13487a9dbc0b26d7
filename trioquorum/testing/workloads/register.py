"""Registers: reads, reads behind a sync, blind writes and compare-and-set on a few keys that all fight over."""

from typing import ClassVar, Final

import trio

from trioquorum.client import Client
from trioquorum.errors import Code, RequestFailed
from trioquorum.invariants import invariant
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads.base import Workload, unless
from trioquorum.testing.workloads.scene import Scene

CLIENTS: Final = 3
KEYS: Final = ("/register/a", "/register/b", "/register/c")
PIPELINED: Final = 4


class Register(Workload):
    """What it found out by compare-and-set: each version was won by one client at most."""

    name = "register"
    paths: ClassVar[tuple[str, ...]] = ("/register", *KEYS)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self.won: dict[tuple[int, str, int], bytes] = {}

    async def run(self) -> None:
        """A few clients, some calls of each under way at once."""
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(self.work, f"register-{number}", self._step)

    async def _step(self, client: Client) -> None:
        await trio.lowlevel.checkpoint()
        key = self.rng.choice(KEYS)
        match self.rng.randrange(8):
            case 0 | 1:
                await client.get(key)
            case 2:
                await client.sync(key)
                await client.get(key)
            case 3:
                await client.set(key, self.unique())
            case 4 | 5:
                await self._compare_and_set(client, key)
            case 6:
                await self._pipeline(client)
            case 7:
                await unless(client.delete(key), Code.NONODE)
                await unless(client.create2(key, self.unique()), Code.NODEEXISTS)

    async def _compare_and_set(self, client: Client, key: str) -> None:
        _, stat = await client.get(key)
        value = self.unique()
        await self.pause()
        made = await client.set(key, value, stat.version)
        # A node that was deleted and made again counts from 0: its czxid tells the two apart.
        self.won[made.czxid, key, made.version] = value

    async def _pipeline(self, client: Client) -> None:
        """Writes and reads of one session that are all on their way at once."""

        async def call(number: int, key: str) -> None:
            try:
                await (client.get(key) if number % 2 else client.set(key, self.unique()))
            except RequestFailed:
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for number in range(PIPELINED):
                nursery.start_soon(call, number, self.rng.choice(KEYS))

    def check(self, truth: Truth) -> None:
        """Every version that a compare-and-set made has the value of who won it."""
        for txn, model in truth.replay():
            changed = [path for _, path in model.apply(txn) if path in KEYS]
            for path in changed:
                node = model.nodes.get(path)
                if node is None:
                    continue
                mine = self.won.get((node.czxid, path, node.version), node.data)
                invariant(
                    mine == node.data,
                    "one wins each version",
                    path=path,
                    version=node.version,
                    winner=mine,
                    there=node.data,
                    zxid=txn.header.zxid,
                )
