"""What the tests of whole ensembles share: comparing trees, and writers that remember what was acknowledged."""

from typing import Any

import trio

from trioquorum.client import Client
from trioquorum.errors import Code, RequestFailed
from trioquorum.events import Event
from trioquorum.testing import MemoryEnsemble
from trioquorum.testing.settled import settled_tree
from trioquorum.tree.nodes import DataTree

LOST = (Code.CONNECTIONLOSS, Code.REQUESTTIMEOUT)
"""After these a write may have happened or not."""


async def assert_all_equal(ensemble: MemoryEnsemble) -> DataTree:
    """Every running peer has applied the same, and holds it on disk as well; returns one of the trees."""
    return await settled_tree(ensemble)


def events_of(ensemble: MemoryEnsemble, kind: type[Event], peer: int | None = None) -> list[Any]:
    """The happenings of one kind, of one peer or of all."""
    return [it for it in ensemble.trace if isinstance(it.event, kind) and peer in (None, it.peer)]


class Writers:
    """Tasks that create node after node below ``base`` and remember what was acknowledged."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.tried: set[str] = set()
        self.acked: dict[str, int] = {}
        self.lost = 0
        self.halted = False

    async def write(self, client: Client, name: str, pause_s: float = 0.0) -> None:
        """One after the other, with a pause between them, until ``halted``."""
        number = 0
        while not self.halted:
            path = f"{self.base}/{name}-{number}"
            number += 1
            self.tried.add(path)
            try:
                _, stat = await client.create2(path, name.encode())
            except RequestFailed as failure:
                if failure.code not in LOST:
                    raise
                self.lost += 1
                await trio.sleep(0.02)
            else:
                self.acked[path] = stat.czxid
                await trio.sleep(pause_s)

    def reached(self, goal: int) -> bool:
        """Whether so many were acknowledged."""
        return len(self.acked) >= goal

    def check(self, tree: DataTree) -> None:
        """Everything acknowledged is there as it was told; nothing is there that nobody wrote."""
        there = {path: int.from_bytes(node.stat[:8]) for path, node in tree.nodes.items() if path.startswith(self.base)}
        there.pop(self.base)
        assert {path: zxid for path, zxid in self.acked.items() if there.get(path) != zxid} == {}
        assert set(there) <= self.tried
