"""Watches: some clients watch, others change; connections break, so that servers must make up for what was missed.

Most watches are told once, some last; a one-time watch and a lasting one often meet on one node.
"""

from collections import Counter
from typing import ClassVar, Final

import trio

from trioquorum.client import Client, WatchEvent
from trioquorum.errors import Code
from trioquorum.invariants import invariant
from trioquorum.testing.history import Told
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads.base import Workload, unless
from trioquorum.testing.workloads.scene import Scene
from trioquorum.wire.ops import EventType

WATCHERS: Final = 2
KEYS: Final = ("/watching/a", "/watching/b", "/watching/c")
CHILDREN: Final = 3


class Watching(Workload):
    """It counts how often each watcher was told: once at most. The rest is ``checkers.watches``."""

    name = "watching"
    paths: ClassVar[tuple[str, ...]] = ("/watching", *KEYS)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self.told: list[int] = []
        self.lasting: Counter[EventType | None] = Counter()

    async def run(self) -> None:
        """Watchers, one of whose connections breaks now and then, and one that changes what they watch."""
        async with trio.open_nursery() as nursery:
            for number in range(WATCHERS):
                nursery.start_soon(self.work, f"watcher-{number}", self._watch)
            nursery.start_soon(self.work, "changer", self._change)
            nursery.start_soon(self._disturb)

    async def _disturb(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.over:
            await self.pause(20)
            self.scene.disconnect(f"watcher-{self.rng.randrange(WATCHERS)}")

    async def _watch(self, client: Client) -> None:
        await trio.lowlevel.checkpoint()
        number = len(self.told)
        self.told.append(0)

        def tell(event: WatchEvent) -> None:
            self.told[number] += 1

        key = self.rng.choice(KEYS)
        match self.rng.randrange(16):
            case 0 | 1 | 2:
                await client.get(key, watch=tell)
            case 3 | 4 | 5:
                await client.exists(key, watch=tell)
            case 6 | 7 | 8:
                await client.get_children2(key, watch=tell)
            case 9:
                await client.add_watch(key, self._told_much)
            case 10:
                await client.add_watch(self.rng.choice((key, "/watching")), self._told_much, recursive=True)
            case 11:
                await unless(client.remove_watch(key), Code.NOWATCHER)
            case 12:
                top = self.rng.choice((key, "/watching"))
                await unless(client.remove_watch(top, recursive=True), Code.NOWATCHER)
            case _:
                await client.exists(f"{key}/{self.rng.randrange(CHILDREN)}", watch=tell)

    def _told_much(self, event: WatchEvent) -> None:
        self.lasting[event.type] += 1

    async def _change(self, client: Client) -> None:
        await trio.lowlevel.checkpoint()
        key = self.rng.choice(KEYS)
        child = f"{key}/{self.rng.randrange(CHILDREN)}"
        match self.rng.randrange(6):
            case 0 | 1:
                await client.set(key, self.unique())
            case 2:
                await client.create(child)
            case 3:
                await client.delete(child)
            case 4:
                if await unless(client.delete(key), Code.NOTEMPTY, Code.NONODE):
                    await self.pause()
                    await client.create(key)
            case 5:
                await client.transaction().set(key, self.unique()).create(child).delete(child).commit()

    def check(self, truth: Truth) -> None:
        """No watcher was told twice, and no event told a lasting one more than once."""
        for number, times in enumerate(self.told):
            invariant(times <= 1, "a watcher is told once", watcher=number, times=times, last=truth.last_zxid)
        watchers = [record for record in self.scene.history.sessions if record.client.startswith("watcher-")]
        events = Counter(it.type for record in watchers for it in record.seen if isinstance(it, Told))
        for kind, times in self.lasting.items():
            if kind is not None:
                known = events[kind]
                invariant(times <= known, "an event is told once", event=kind.name, times=times, events=known)
