"""The leader's role: epoch agreement, synchronisation, broadcast (quorum-protocol §7), and the standalone peer."""

from typing import TYPE_CHECKING

import trio

from trioquorum.errors import LinkClosed, RoleEnded
from trioquorum.events import Established, PhaseChanged
from trioquorum.peer.learner_handler import LearnerHandler
from trioquorum.pipeline.leader import LeaderService
from trioquorum.transport import Address, Listener
from trioquorum.zab.handshake import EpochAgreement
from trioquorum.zab.leader import Leader
from trioquorum.zab.sync_plan import DiskRecords, SyncPlan, SyncView, log_size_usable, plan_sync, wants_disk

if TYPE_CHECKING:
    from trioquorum.peer.run import Peer

LISTEN_RETRY_S = 0.1


class Leading:
    """One term as leader. Anything that goes wrong raises and ends it; the peer is then LOOKING again."""

    service: LeaderService

    def __init__(self, peer: "Peer") -> None:
        config = peer.config
        self.peer = peer
        self.config = peer.quorum_config
        self.tick = 0
        self.init_limit_s = config.init_limit_ticks * config.tick_time_ms / 1000
        self.history_limit_s = 10 * self.init_limit_s
        self.epoch = -1
        self._agreement = EpochAgreement(config.my_id, self.config, peer.epochs.accepted)
        self._agreement.set_leader_summary(peer.epochs.current, peer.db.last_zxid)
        self._epoch_decided = trio.Event()
        self._epoch_known = trio.Event()
        self._epoch_acked = trio.Event()
        self._may_sync = trio.Event()
        self._formed = trio.Event()
        self._serving = trio.Event()
        self._handlers: dict[int, LearnerHandler] = {}
        self._silent: dict[LearnerHandler, None] = {}

    async def run(self) -> None:
        """Lead until the quorum is lost or the role is cancelled.

        Raises:
            RoleEnded: no quorum agreed in time, or it was lost.
        """
        listener = await self._listen()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._accept, listener, name="learner master")
                await self._discover()
                await self._synchronise()
                await self._broadcast()
        finally:
            await listener.aclose()

    async def _listen(self) -> Listener:
        """Bind the quorum port; the socket of an earlier term may still be closing."""
        me = self.config.members[self.peer.config.my_id]
        address = Address.parse(me.quorum)
        transport = self.peer.transports[address.scheme]
        frame_max = self.peer.config.limits.peer_frame_bytes_max
        give_up_at = trio.current_time() + self.init_limit_s
        while True:
            try:
                return await transport.listen(address, frame_bytes_max=frame_max)
            except OSError as error:
                if trio.current_time() >= give_up_at:
                    raise OSError(error.errno, error.strerror or str(error), str(address)) from None
            await trio.sleep(LISTEN_RETRY_S)

    async def _accept(self, listener: Listener) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                link = await listener.accept()
                if len(nursery.child_tasks) >= self.peer.config.limits.handshake_links_max and not self._make_room():
                    await link.aclose()
                    continue
                handler = LearnerHandler(link, self)
                self._silent[handler] = None
                nursery.start_soon(handler.run, name=f"learner {link.remote}")

    def _make_room(self) -> bool:
        """Give up the caller that has been silent longest: a learner says at once who it is. False if all have."""
        for handler in self._silent:
            handler.give_up("too many callers have not said who they are")
            self.introduced(handler)
            return True
        return False

    def introduced(self, handler: LearnerHandler) -> None:
        """A caller said who it is, or is gone."""
        self._silent.pop(handler, None)

    # Discovery (§7.1)

    async def _discover(self) -> None:
        peer = self.peer
        my_id, accepted = peer.config.my_id, peer.epochs.accepted
        peer.events.emit(PhaseChanged(phase="discovery", epoch=accepted))
        self._propose_epoch(my_id, accepted)
        await self._wait(self._epoch_decided, RoleEnded("no quorum came to agree on an epoch"))
        await peer.epochs.set_accepted(self.epoch)
        self._epoch_known.set()
        self._ack_epoch(my_id, peer.epochs.current, peer.db.last_zxid)
        await self._wait(self._epoch_acked, RoleEnded(f"no quorum acknowledged epoch {self.epoch}"))
        # A quorum will follow no older leader: make the epoch ours before anybody synchronises.
        await peer.epochs.set_current(self.epoch)
        machine = Leader(my_id, self.config, epoch=self.epoch)
        self.service = peer.leader_service(machine, self.epoch << 32, standalone=False)
        self._may_sync.set()

    def _propose_epoch(self, sid: int, accepted_epoch: int) -> None:
        epoch = self._agreement.propose_epoch(sid, accepted_epoch)
        if epoch is not None:
            self.epoch = epoch
            self._epoch_decided.set()

    def _ack_epoch(self, sid: int, current_epoch: int, last_zxid: int) -> None:
        if self._agreement.ack_epoch(sid, current_epoch, last_zxid):
            self._epoch_acked.set()

    def _ack_new_leader(self, sid: int, zxid: int) -> None:
        if self._agreement.ack_new_leader(sid, zxid):
            self._formed.set()

    async def _wait(self, event: trio.Event, otherwise: Exception) -> None:
        """Wait for a quorum's decision for initLimit at most; then the caller fails with ``otherwise``."""
        with trio.move_on_after(self.init_limit_s):
            await event.wait()
            return
        raise otherwise

    async def epoch_to_propose(self, sid: int, accepted_epoch: int) -> int:
        """Rule E for a learner: the epoch above every accepted one of a quorum, once a quorum has come."""
        self._propose_epoch(sid, accepted_epoch)
        await self._wait(self._epoch_known, LinkClosed("no quorum came to agree on an epoch"))
        return self.epoch

    async def epoch_acked(self, sid: int, current_epoch: int, last_zxid: int) -> None:
        """Rule A for a learner: wait until a quorum has acknowledged the epoch and this leader has begun it."""
        self._ack_epoch(sid, current_epoch, last_zxid)
        await self._wait(self._may_sync, LinkClosed("no quorum acknowledged the new epoch"))

    # Synchronisation (§7.2)

    async def _synchronise(self) -> None:
        self.peer.events.emit(PhaseChanged(phase="synchronization", epoch=self.epoch))
        self._ack_new_leader(self.peer.config.my_id, self.epoch << 32)
        await self._wait(self._formed, RoleEnded("no quorum took over the history in time"))

    async def new_leader_acked(self, handler: LearnerHandler, zxid: int) -> None:
        """Rule N: this learner holds the history; wait until the leader serves."""
        handler.heard_tick = self.tick
        if handler.participant:
            self.service.machine.start_timing(handler.sid)
        self._ack_new_leader(handler.sid, zxid)
        await self._wait(self._serving, LinkClosed("the leader did not start to serve"))

    async def disk_records(self, peer_zxid: int) -> DiskRecords | None:
        """What the log on disk can add to a DIFF, read ahead of the plan."""
        await trio.lowlevel.checkpoint()
        if not wants_disk(peer_zxid, self._view()):
            return None
        log_bytes, snapshot_bytes = await self.peer.db.log_sizes(peer_zxid)
        if not log_size_usable(log_bytes, snapshot_bytes, self.peer.config.snapshot_size_factor):
            return None
        return DiskRecords(await self.peer.db.read_log(peer_zxid))

    def plan(self, peer_zxid: int, disk: DiskRecords | None) -> SyncPlan:
        """How to bring a learner at ``peer_zxid`` up to now."""
        return plan_sync(peer_zxid, self._view(), disk)

    def _view(self) -> SyncView:
        db = self.peer.db
        return SyncView(last_processed=db.last_zxid, committed=db.committed_log.records())

    # Broadcast (§7.3, §7.4)

    async def _broadcast(self) -> None:
        peer = self.peer
        zxid = self.epoch << 32
        peer.db.begin_epoch(zxid)
        peer.log.on_flushed = self.service.logged
        peer.established(self.epoch)
        peer.events.emit(PhaseChanged(phase="broadcast", epoch=self.epoch))
        peer.events.emit(Established(role="leader", leader=peer.config.my_id, epoch=self.epoch, zxid=zxid))
        self.service.start()
        self._serving.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.serve_clients, self.service if peer.config.leader_serves else None)
            nursery.start_soon(peer.keep_snapshots)
            await self._ticker()

    async def _ticker(self) -> None:
        """Twice a tick: ping; every tick: is the quorum still there, whose session ran out?"""
        half_tick_s = self.peer.config.tick_time_ms / 2000
        sync_limit = self.peer.config.sync_limit_ticks
        machine = self.service.machine
        while True:
            await trio.sleep(half_tick_s)
            for handler in list(self._handlers.values()):
                handler.ping(self.service.last_proposed)
            await trio.sleep(half_tick_s)
            self.tick += 1
            alive = {self.peer.config.my_id}
            for handler in list(self._handlers.values()):
                handler.ping(self.service.last_proposed)
                if handler.synced and self.tick > handler.heard_tick + sync_limit:
                    handler.give_up(f"not heard of for {sync_limit} ticks")
                elif machine.overdue(handler.sid, self.tick, sync_limit):
                    handler.give_up(f"did not acknowledge a proposal for {sync_limit} ticks")
                elif handler.synced and handler.participant:
                    alive.add(handler.sid)
            if not machine.keeps_quorum(alive):
                raise RoleEnded(f"only {sorted(alive)} follow, that is no quorum")
            if self.service.exhausted:
                raise RoleEnded(f"epoch {self.epoch} has no transaction ids left")
            self.service.expire()

    def joined(self, handler: LearnerHandler) -> None:
        """A learner was admitted; an older link of the same peer is given up."""
        older = self._handlers.get(handler.sid)
        if older is not None:
            older.give_up("the learner came back on a new link")
            self.service.forget(handler.sid)
        self._handlers[handler.sid] = handler

    def serves(self, handler: LearnerHandler) -> bool:
        """Whether this is the present link of its learner."""
        return self._handlers.get(handler.sid) is handler

    def left(self, handler: LearnerHandler) -> None:
        """A learner's link ended."""
        if self._handlers.get(handler.sid) is handler:
            del self._handlers[handler.sid]
            self.service.forget(handler.sid)
