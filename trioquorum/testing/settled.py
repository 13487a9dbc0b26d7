"""An in-memory ensemble that came to rest: one tree everywhere, and the history that made it."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from trioquorum.errors import RequestFailed
from trioquorum.events import Events
from trioquorum.invariants import invariant
from trioquorum.limits import Limits
from trioquorum.storage.database import Database
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing.checkers import trees
from trioquorum.testing.ensemble import MemoryEnsemble
from trioquorum.testing.peer import MemoryPeer
from trioquorum.testing.safety.sight import COUNTER_MASK
from trioquorum.testing.truth import Truth, read_logs
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import CONFIG

DISKS_S: Final = 300.0
"""For a flush that began while disks were slow, and those that wait behind it."""

REST_S: Final = 1.0
"""For the disks, when everything is applied."""

SESSIONS_MAX: Final = 5
"""How many are opened and closed to see every peer at one transaction."""


async def on_disk(disk: MemoryDisk) -> DataTree:
    """What a machine would find that starts from a copy of ``disk``."""
    copy = MemoryDisk({name: bytes(data) for name, data in disk.files.items()})
    return (await Database.load(copy, copy, Limits(), Events(), slow_flush_ms=0)).tree


async def settled_tree(ensemble: MemoryEnsemble) -> DataTree:
    """The tree that every running peer holds, in memory and on disk, once all have caught up.

    Raises:
        InvariantViolation: a peer differs.
        trio.TooSlowError: a peer does not catch up.
        ConnectFailed: nobody serves.
    """
    peers = [ensemble.peers[peer] for peer in ensemble.running()]
    await trio.lowlevel.checkpoint()
    for _ in range(SESSIONS_MAX):
        with suppress(RequestFailed):  # The epoch ended just now: the next session is of the next one.
            async with ensemble.client(*ensemble.running()) as client:
                await client.sync()
        goal = max(peer.database.last_zxid for peer in peers)
        await ensemble.wait_until(partial(_reached, peers, goal))
        with trio.fail_after(DISKS_S):
            await _flushed(peers)
        await trio.sleep(REST_S)
        # The last transaction of an epoch that is full makes room for a new one, which only its leader has begun, and
        # which no disk knows of.
        zxids = {peer.database.last_zxid for peer in peers}
        if len(zxids) == 1 and zxids.pop() & COUNTER_MASK:
            break
    found = {f"peer_{peer.id}": peer.database.tree for peer in peers}
    found.update({f"disk_{peer.id}": await on_disk(peer.disk) for peer in peers})
    trees.check_equal(found)
    shown = {f"peer_{peer.id}": _config_node(peer.database.tree) for peer in peers}
    invariant(len(set(shown.values())) == 1, "all peers show one configuration", **shown)
    return peers[0].database.tree


def _reached(peers: Sequence[MemoryPeer], zxid: int) -> bool:
    return all(peer.database.last_zxid >= zxid for peer in peers)


async def _flushed(peers: Sequence[MemoryPeer]) -> None:
    await trio.lowlevel.checkpoint()
    for peer in peers:
        await peer.database.log.drained()


def _config_node(tree: DataTree) -> tuple[bytes | None, bytes]:
    node = tree.nodes[CONFIG]
    return node.data, node.stat


async def settled_truth(ensemble: MemoryEnsemble) -> Truth:
    """What was committed, from the logs of all peers, and the tree they hold now.

    Raises:
        InvariantViolation: peers differ, or the history does not make the tree.
        trio.TooSlowError, ConnectFailed, RequestFailed: it does not come to rest.
    """
    tree = await settled_tree(ensemble)
    disks = [ensemble.peers[peer].disk for peer in ensemble.running()]
    truth = Truth(await read_logs(*disks, committed=set(ensemble.safety.history)), tree)
    trees.check_made(truth)
    return truth
