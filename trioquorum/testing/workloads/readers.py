"""Readers that take old data over none: they read from peers without a leader, until they find one with a leader."""

from typing import ClassVar, Final

import trio

from trioquorum.client import Client, State
from trioquorum.errors import Code, RequestFailed
from trioquorum.invariants import invariant
from trioquorum.testing.history import Turned
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads.base import Workload, unless

READERS: Final = 3
TIMEOUT_MS: Final = 4_000
READER: Final = "reader-"
KEYS: Final = ("/readers/a", "/readers/b")


class Readers(Workload):
    """Where all is well again nobody is left with old data. The rest is ``checkers.read_only``."""

    name = "readers"
    paths: ClassVar[tuple[str, ...]] = ("/readers", *KEYS)

    async def run(self) -> None:
        """Some that read, and one that writes what they read."""
        async with trio.open_nursery() as nursery:
            for number in range(READERS):
                nursery.start_soon(self._reader, f"{READER}{number}")
            nursery.start_soon(self.work, "readers-writer", self._write)

    async def _reader(self, name: str) -> None:
        await self.work(name, self._step, session_timeout_ms=TIMEOUT_MS, read_only=True)

    async def _step(self, client: Client) -> None:
        """A session of the ensemble stays away from peers without a leader, so who finds no other begins a new one."""
        await trio.lowlevel.checkpoint()
        lost = False
        try:
            await self._read(client)
        except RequestFailed as failure:
            lost = failure.code is Code.CONNECTIONLOSS
        if lost:
            await client.close()

    async def prepare(self, client: Client) -> None:
        """Make ``paths`` where that can be done; what is there already stays."""
        await trio.lowlevel.checkpoint()
        if client.state is not State.CONNECTED_READ_ONLY:
            await super().prepare(client)

    async def _read(self, client: Client) -> None:
        await trio.lowlevel.checkpoint()
        key = self.rng.choice(KEYS)
        match self.rng.randrange(20):
            case n if n < 4:
                await self._write(client)
            case 4 | 5 if client.state is State.CONNECTED:
                await client.close()
            case n if n < 10:
                await client.exists(f"{key}/child")
            case n if n < 14:
                await client.get_children2(key)
            case 14:
                await client.sync(key)
            case _:
                await client.get(key)

    async def _write(self, client: Client) -> None:
        await trio.lowlevel.checkpoint()
        key = self.rng.choice(KEYS)
        match self.rng.randrange(4):
            case 0:
                await unless(client.create(f"{key}/child"), Code.NODEEXISTS)
            case 1:
                await unless(client.delete(f"{key}/child"), Code.NONODE)
            case _:
                await client.set(key, self.unique())

    def check(self, truth: Truth) -> None:
        """Nobody was left with a peer that has no leader, when all of them had one: then the run ends."""
        for record in self.scene.history.sessions:
            if record.client.startswith(READER):
                states = [State.CONNECTING, *(it.state for it in record.seen if isinstance(it, Turned))]
                left_behind = states[-2:] == [State.CONNECTED_READ_ONLY, State.CLOSED]
                invariant(not left_behind, "sessions become proper ones", client=record.client, last=truth.last_zxid)
