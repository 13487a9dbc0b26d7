"""Sessions and their ephemerals: clients that move, fall silent until they expire, or say goodbye."""

from typing import ClassVar, Final

import trio

from trioquorum.client import Client
from trioquorum.errors import Code
from trioquorum.invariants import invariant
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads.base import Workload, unless
from trioquorum.wire.ops import EventType

CLIENTS: Final = 3
TIMEOUT_MS: Final = 6_000
SILENCE_S: Final = 3 * TIMEOUT_MS / 1000
GOODBYE_RATE: Final = 0.3
BASE: Final = "/ephemerals"


class Ephemerals(Workload):
    """Each session makes nodes that nobody else removes: they go by its own hand or with it."""

    name = "ephemerals"
    paths: ClassVar[tuple[str, ...]] = (BASE,)

    async def run(self) -> None:
        """Each client its own way to the end of each session."""
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(self._client, f"ephemerals-{number}")

    async def _client(self, name: str) -> None:
        async def step(client: Client) -> None:
            await self._step(name, client)

        await self.work(name, step, session_timeout_ms=TIMEOUT_MS)

    async def _step(self, name: str, client: Client) -> None:
        await trio.lowlevel.checkpoint()
        path = f"{BASE}/{client.session:x}-{self.rng.randrange(3)}"
        match self.rng.randrange(40):
            case 0:
                self.scene.isolate(name)
                await trio.sleep(self.rng.uniform(0, SILENCE_S))
                if self.rng.random() < GOODBYE_RATE:
                    await client.close()  # nobody hears it: the session must come to its end without
                self.scene.rejoin(name)
            case 1:
                await client.close()
            case 2 | 3 | 4 | 5:
                self.scene.disconnect(name)
            case n if n < 20:
                await unless(client.create(path, ephemeral=True), Code.NODEEXISTS)
            case n if n < 25:
                await unless(client.delete(path), Code.NONODE)
            case n if n < 30:
                await client.exists(path)
            case _:
                await client.get_children(BASE)

    def check(self, truth: Truth) -> None:
        """Nobody else removed a node of a session."""
        owners: dict[str, int] = {}
        for txn, model in truth.replay():
            session = txn.header.session
            for kind, path in model.apply(txn):
                if path.startswith(f"{BASE}/"):
                    if kind == EventType.NODE_CREATED:
                        owners[path] = session
                    owner = owners.get(path)
                    invariant(
                        owner == session,
                        "ephemerals are their session's",
                        path=path,
                        zxid=txn.header.zxid,
                        owner=owner,
                        removed_by=session,
                    )
