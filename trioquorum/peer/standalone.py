"""A peer without an ensemble: a leader whose own log is the quorum."""

from typing import TYPE_CHECKING

import trio

from trioquorum.errors import StorageError
from trioquorum.events import Established
from trioquorum.peer.sweeping import sweep
from trioquorum.pipeline.leader import LeaderService
from trioquorum.storage.trust import MARKER
from trioquorum.zab.leader import COUNTER_MASK, Leader
from trioquorum.zab.quorum import Member, QuorumConfig

if TYPE_CHECKING:
    from trioquorum.peer.roles import Peer


async def lead_alone(peer: "Peer") -> None:
    """Serve until cancelled, one epoch after the other.

    Raises:
        StorageError: there is no data, and nobody vouched that there never was any.
    """
    if peer.db.vote_zxid < 0:
        raise StorageError(
            f"the data directory is empty and db.autocreate is off; if it is a new one, create the file {MARKER} in "
            f"{peer.config.data_log_dir}, otherwise restore the data"
        )
    while True:
        if peer.db.last_zxid & COUNTER_MASK >= peer.config.limits.epoch_txns_max:
            await _begin_epoch(peer)
        await _serve(peer)
        await peer.log.drained()
        peer.db.fast_forward()


async def _begin_epoch(peer: "Peer") -> None:
    """The present epoch has no transaction ids left: go on in the next, which must be known before it is used."""
    epoch = peer.epochs.accepted + 1
    await peer.epochs.set_accepted(epoch)
    await peer.epochs.set_current(epoch)
    peer.db.begin_epoch(epoch << 32)


async def _serve(peer: "Peer") -> None:
    """Serve until the epoch has no transaction ids left; then clients must connect anew, their sessions live on."""
    my_id, last_zxid = peer.config.my_id, peer.db.last_zxid
    alone = QuorumConfig([Member(my_id, "memory://nowhere", "memory://nowhere")])
    machine = Leader(my_id, alone, epoch=last_zxid >> 32)
    service = peer.leader_service(machine, last_zxid, standalone=True)
    service.start()
    peer.log.on_flushed = service.logged
    peer.events.emit(Established(role="standalone", leader=my_id, epoch=last_zxid >> 32, zxid=last_zxid))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.serve_clients, service)
        nursery.start_soon(peer.keeper.run)
        nursery.start_soon(sweep, peer, service)
        await _tick(peer, service)
        nursery.cancel_scope.cancel(reason="a new epoch begins")


async def _tick(peer: "Peer", service: LeaderService) -> None:
    """Every tick: whose session ran out? Returns when the epoch is used up."""
    while True:
        await trio.sleep(peer.config.tick_time_ms / 1000)
        if service.exhausted:
            return
        service.expire()
