"""A peer without an ensemble: a leader whose own log is the quorum."""

from typing import TYPE_CHECKING

import trio

from trioquorum.errors import RoleEnded, StorageError
from trioquorum.events import Established
from trioquorum.storage.trust import MARKER
from trioquorum.zab.leader import Leader
from trioquorum.zab.quorum import Member, QuorumConfig

if TYPE_CHECKING:
    from trioquorum.peer.run import Peer


async def lead_alone(peer: "Peer") -> None:
    """Serve until cancelled.

    Raises:
        StorageError: there is no data, and nobody vouched that there never was any.
    """
    if peer.db.vote_zxid < 0:
        raise StorageError(
            f"the data directory is empty and db.autocreate is off; if it is a new one, create the file {MARKER} in "
            f"{peer.config.data_log_dir}, otherwise restore the data"
        )
    my_id = peer.config.my_id
    alone = QuorumConfig([Member(my_id, "memory://nowhere", "memory://nowhere")])
    machine = Leader(my_id, alone, epoch=peer.db.last_zxid >> 32)
    service = peer.leader_service(machine, peer.db.last_zxid, standalone=True)
    service.start()
    peer.log.on_flushed = service.logged
    peer.events.emit(
        Established(role="standalone", leader=my_id, epoch=peer.db.last_zxid >> 32, zxid=peer.db.last_zxid)
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.serve_clients, service)
        nursery.start_soon(peer.keep_snapshots)
        while True:
            await trio.sleep(peer.config.tick_time_ms / 1000)
            if service.exhausted:
                raise RoleEnded("there are no transaction ids left")
            service.expire()
