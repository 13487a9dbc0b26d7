"""The lock recipe: ephemeral sequential nodes in a queue, each client waiting for the one in front of it."""

from functools import partial
from typing import ClassVar, Final

import trio

from trioquorum.client import Client, WatchEvent
from trioquorum.errors import Code, RequestFailed
from trioquorum.testing.checkers import locks
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads.base import Workload, unless

CLIENTS: Final = 3
LOCK: Final = "/lock"
FENCE: Final = "/fence"
TURN_S_MAX: Final = 30.0
"""How long a client waits for the one in front; what keeps a session alive for longer is not its lock."""


class Lock(Workload):
    """Who believes to hold the lock writes to a node, in one transaction with a check of its place in the queue."""

    name = "lock"
    paths: ClassVar[tuple[str, ...]] = (LOCK, FENCE)

    async def run(self) -> None:
        """All want the one lock."""
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(self.work, f"lock-{number}", self._turn)

    async def _turn(self, client: Client) -> None:
        """One place in the queue from its beginning to its end."""
        prefix = f"{LOCK}/{client.session:x}-"
        await self._leave(client, prefix)  # an earlier create whose answer was lost may stand in the queue
        mine = await client.create(prefix, ephemeral=True, sequence=True)
        if await self._wait(client, mine):
            for _ in range(self.rng.randrange(1, 4)):
                await client.transaction().check(mine, 0).set(FENCE, self.unique()).commit()
                await self.pause()
        await self._leave(client, prefix)

    async def _leave(self, client: Client, prefix: str) -> None:
        name = prefix[len(LOCK) + 1 :]
        for child in await client.get_children(LOCK):
            if child.startswith(name):
                await unless(client.delete(f"{LOCK}/{child}"), Code.NONODE)

    async def _wait(self, client: Client, mine: str) -> bool:
        """Whether our turn came in time."""
        with trio.move_on_after(TURN_S_MAX):
            while True:
                queue = sorted(await client.get_children(LOCK), key=lambda name: name[-10:])
                own = mine[len(LOCK) + 1 :]
                if own not in queue:
                    raise RequestFailed(Code.NONODE)
                at = queue.index(own)
                if at == 0:
                    return True
                gone = trio.Event()
                if await client.exists(f"{LOCK}/{queue[at - 1]}", watch=partial(_set, gone)):
                    await gone.wait()
        return False

    def check(self, truth: Truth) -> None:
        """One held it at a time."""
        locks.check(truth, LOCK, FENCE)


def _set(gone: trio.Event, _: WatchEvent) -> None:
    gone.set()
