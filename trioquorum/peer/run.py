"""A peer from its start to its end, and again when its disk was full (quorum-protocol §6)."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from functools import partial

import trio

from trioquorum.config import ServerConfig
from trioquorum.errors import DiskFull
from trioquorum.events import Events, PeerStarted, PeerStopped
from trioquorum.metrics import Metrics
from trioquorum.peer.members import Members
from trioquorum.peer.roles import Peer, first_reason
from trioquorum.peer.surroundings import DATA_FOLDER as DATA_FOLDER, Surroundings as Surroundings, open_disks
from trioquorum.peer.terms import answerer_of, certificates_of
from trioquorum.pipeline.stats import ServerStats
from trioquorum.server.clients import bind_client_ports
from trioquorum.storage.database import Database
from trioquorum.storage.epochs import Epochs
from trioquorum.storage.files import Disk
from trioquorum.storage.membership import Membership
from trioquorum.storage.room import DiskRoom
from trioquorum.storage.trust import Trust
from trioquorum.tls import Certificates
from trioquorum.transport import Address
from trioquorum.tree.nodes import DataTree


async def serve(
    config: ServerConfig,
    events: Events,
    surroundings: Surroundings | None = None,
    *,
    task_status: trio.TaskStatus[list[Address]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one peer until cancelled; started with the client addresses that are bound.

    Raises:
        ConfigError: a file with keys or certificates cannot be used.
        StorageError: the data directory cannot be used, or writing to it failed.
        OSError: a port cannot be bound; ``filename`` holds the address.
        InvariantViolation: a safety rule broke, so the peer stopped itself.
    """
    around = surroundings or Surroundings()
    metrics = Metrics(trio.current_time)
    certificates = certificates_of(config, events)
    told = False

    def started(addresses: list[Address]) -> None:
        nonlocal told
        if not told:
            told = True
            task_status.started(addresses)

    with ExitStack() as stack:
        stack.callback(events.subscribe(metrics.read))
        disks = around.disks or open_disks(config, stack)
        room = DiskRoom(disks, config.disk_reserve_bytes, events)
        await room.look()
        live = _Life(config, events, around, disks, room, metrics, certificates).run
        while lacks_room := await _until_full(partial(live, started)):
            await room.wait_for_more(lacks_room)


async def _until_full(live: Callable[[], Awaitable[None]]) -> str:
    """Live until something does not fit on the disk; what that is."""
    lacks_room = ""
    await trio.lowlevel.checkpoint()
    try:
        await live()
    except* DiskFull as group:
        lacks_room = first_reason(group)
    return lacks_room


class _Life:
    """A peer from its data to its end. When its disk is full it has another one, and begins as after a crash."""

    def __init__(
        self,
        config: ServerConfig,
        events: Events,
        around: Surroundings,
        disks: tuple[Disk, Disk],
        room: DiskRoom,
        metrics: Metrics,
        certificates: Certificates | None,
    ) -> None:
        self._config = config
        self._events = events
        self._around = around
        self._disks = disks
        self._room = room
        self._metrics = metrics
        self._certificates = certificates
        self._stats = ServerStats()

    async def run(self, started: Callable[[list[Address]], None]) -> None:
        """Live until cancelled; ``started`` is told the client addresses once they are bound."""
        config, events, around = self._config, self._events, self._around
        snapshots, logs = self._disks
        async with AsyncExitStack() as stack:
            membership = await Membership.load(snapshots, config.quorum_config())
            members = Members(config, membership, events)
            around.on_members(members)
            answerer = answerer_of(
                config, members, self._disks, self._room, self._stats, self._metrics, events, around.rng, around.wall_ms
            )
            ports = await stack.enter_async_context(
                bind_client_ports(
                    members.my_client_addresses(), around.transports, answerer, config, self._certificates
                )
            )
            db = await self._load(snapshots, logs)
            await membership.forget_unlogged(db.last_logged)
            epochs = await Epochs.load(snapshots, db.last_zxid)
            around.on_database(db)
            peer = Peer(config, events, around, db, epochs, members, ports, self._stats, self._room)
            events.emit(
                PeerStarted(
                    peer=config.my_id,
                    last_zxid=db.last_zxid,
                    accepted_epoch=epochs.accepted,
                    current_epoch=epochs.current,
                )
            )
            audit = peer.terms.audit
            if audit is not None:
                audit.server("serverStart", "success")
                stack.callback(audit.server, "serverStop", "invoked")
            await self._serve(peer, started)

    async def _serve(self, peer: "Peer", started: Callable[[list[Address]], None]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(peer.log.run)
                nursery.start_soon(self._room.watch, name="room on disk")
                started(peer.addresses)
                await peer.run()
        except* DiskFull:
            peer.lacks_room()
            raise
        finally:
            self._room.ignore()
            self._events.emit(PeerStopped(peer=self._config.my_id))

    async def _load(self, snapshots: Disk, logs: Disk) -> Database:
        config = self._config
        return await Database.load(
            snapshots,
            logs,
            config.limits,
            self._events,
            slow_flush_ms=config.slow_flush_ms,
            trust=Trust(empty=config.trust_empty_data, no_snapshot=config.trust_missing_snapshot),
            new_tree=partial(DataTree, keeps_digest=config.tree_digests, emulates_353=config.emulate_353_ttl_nodes),
            compression=config.snapshot_compression,
        )
