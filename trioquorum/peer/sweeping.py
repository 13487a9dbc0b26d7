"""The leader deletes idle containers, and nodes whose time to live is over (client-protocol §14)."""

from typing import TYPE_CHECKING, Final

import trio

from trioquorum.events import NodesSwept
from trioquorum.pipeline.leader import LeaderService

if TYPE_CHECKING:
    from trioquorum.peer.roles import Peer

LOOKS_PER_CHECKPOINT: Final = 512


async def sweep(peer: "Peer", service: LeaderService) -> None:
    """Look every ``container_check_interval_ms`` for nodes to delete, for as long as this peer leads or is alone.

    Deletions are proposals of the leader itself, at most ``container_deletions_per_minute_max`` of them: each is a
    whole transaction, and clients come first.
    """
    interval_s = peer.config.container_check_interval_ms / 1000
    pause_s = 60 / peer.config.container_deletions_per_minute_max
    while True:
        await trio.sleep(interval_s)
        found = await _find(service)
        if found:
            peer.events.emit(NodesSwept(nodes=len(found)))
        for path in found:
            # Clients may have come back to it while others were deleted.
            if service.is_expendable(path):
                service.sweep(path)
            await trio.sleep(pause_s)


async def _find(service: LeaderService) -> list[str]:
    found = []
    await trio.lowlevel.checkpoint()
    for looked, path in enumerate(service.expendables(), 1):
        if service.is_expendable(path):
            found.append(path)
        if looked % LOOKS_PER_CHECKPOINT == 0:
            await trio.lowlevel.checkpoint()
    return sorted(found)
