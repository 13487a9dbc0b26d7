"""The leader's role: epoch agreement, synchronisation, broadcast (quorum-protocol §7), and the standalone peer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from trioquorum.errors import LinkClosed, RoleEnded
from trioquorum.events import Established, PhaseChanged, PortBlocked
from trioquorum.peer.history import disk_records, plan_history
from trioquorum.peer.learner_handler import LearnerHandler
from trioquorum.peer.learner_port import LearnerPort, listen
from trioquorum.peer.oracle import Oracle
from trioquorum.peer.reconfiguring import Reconfiguring
from trioquorum.peer.sweeping import sweep
from trioquorum.pipeline.leader import LeaderService
from trioquorum.storage.room import VotersLackRoom
from trioquorum.transport import Listener
from trioquorum.tree.prep import WriteRequest
from trioquorum.wire.quorum import PacketType, QuorumPacket, encode_packets, encode_revalidate_reply
from trioquorum.zab.handshake import EpochAgreement
from trioquorum.zab.leader import Leader
from trioquorum.zab.quorum import QuorumConfig
from trioquorum.zab.throttle import SyncThrottle

if TYPE_CHECKING:
    from trioquorum.peer.roles import Peer


class Leading:
    """One term as leader. Anything that goes wrong raises and ends it; the peer is then LOOKING again."""

    service: LeaderService
    introductions = frozenset((PacketType.FOLLOWERINFO, PacketType.OBSERVERINFO))

    def __init__(self, peer: "Peer") -> None:
        config = peer.config
        self.peer = peer
        self.port = LearnerPort(self)
        self.tick = 0
        self.init_limit_s = config.init_limit_ticks * config.tick_time_ms / 1000
        self.history_limit_s = 10 * self.init_limit_s
        self.epoch = -1
        members = peer.members
        self._agreement = EpochAgreement(
            config.my_id, members.committed, peer.epochs.accepted, members.last_seen, electors=peer.leading_votes()
        )
        self._agreement.set_leader_summary(peer.epochs.current, peer.db.last_zxid)
        self._snapshot_syncs = SyncThrottle(config.snapshot_syncs_max)
        self._diff_syncs = SyncThrottle(config.diff_syncs_max)
        self._epoch_decided = trio.Event()
        self._epoch_known = trio.Event()
        self._epoch_acked = trio.Event()
        self._may_sync = trio.Event()
        self._formed = trio.Event()
        self._serving = trio.Event()
        self._alone = trio.Event()

    async def run(self) -> None:
        """Lead until the quorum is lost or the role is cancelled.

        Raises:
            RoleEnded: no quorum agreed in time, or it was lost.
        """
        config = self.peer.config
        frame_max = config.limits.peer_frame_bytes_max
        listener = await self._listen(frame_max)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.port.accept, listener, name="learner master")
                if self.peer.oracle is not None and self.peer.members.committed.oracle_may_decide:
                    nursery.start_soon(self._consult, self.peer.oracle, name="oracle")
                await self._discover()
                await self._synchronise()
                await self._broadcast()
        finally:
            await listener.aclose()

    async def _listen(self, frame_bytes_max: int) -> Listener:
        peer = self.peer
        address = peer.members.quorum_address(peer.config.my_id)
        if address is None:
            raise RoleEnded("this peer is no member, so nobody would find it as a leader")
        try:
            return await listen(peer.transports, address, frame_bytes_max, self.init_limit_s)
        except OSError as error:
            if not peer.members.committed.version:
                raise
            # The ensemble gave this peer the address while it ran: others may lead until it is free.
            reason = error.strerror or str(error)
            peer.events.emit(PortBlocked(kind="quorum", address=str(address), reason=reason))
            raise RoleEnded(f"{address} cannot be bound: {reason}") from None

    # Discovery (§7.1)

    async def _discover(self) -> None:
        peer = self.peer
        my_id, accepted = peer.config.my_id, peer.epochs.accepted
        peer.events.emit(PhaseChanged(phase="discovery", epoch=accepted))
        self._propose_epoch(my_id, accepted)
        with self._watching_electors():
            await self._wait(self._epoch_decided, RoleEnded("no quorum came to agree on an epoch"))
        await peer.epochs.set_accepted(self.epoch)
        self._epoch_known.set()
        self._ack_epoch(my_id, peer.epochs.current, peer.db.last_zxid)
        await self._wait(self._epoch_acked, RoleEnded(f"no quorum acknowledged epoch {self.epoch}"))
        # A quorum will follow no older leader: make the epoch ours before anybody synchronises.
        await peer.epochs.set_current(self.epoch)
        members = peer.members
        if peer.config.reconfig_enabled and members.last_seen.version == 0:
            # The first configuration gets a version, or it would never count as newer than any (ZOOKEEPER-1783).
            await members.propose(QuorumConfig(members.committed.members.values(), self.epoch << 32))
        machine = Leader(my_id, members.committed, members.last_seen, epoch=self.epoch)
        self.service = peer.leader_service(machine, self.epoch << 32, standalone=False)
        self.service.synced = self._synced
        self._may_sync.set()

    @contextmanager
    def _watching_electors(self) -> Iterator[None]:
        """Rule Q: give up as soon as a voter that elected us is heard looking, later than it may.

        Raises:
            RoleEnded: so it was.
        """
        began = trio.current_time()
        patience_ms = self.peer.config.leader_max_wait_for_epoch_ms
        deserters: list[int] = []
        scope = trio.CancelScope()

        def looks(sid: int) -> None:
            if self._agreement.deserted(sid, (trio.current_time() - began) * 1000, patience_ms):
                deserters.append(sid)
                scope.cancel(reason="a voter deserted")

        with self.peer.told_who_looks(looks), scope:
            yield
        if self.epoch < 0 and deserters:
            raise RoleEnded(f"peer {deserters[0]} elected this leader, but looks for another one")

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

    async def synchronise(self, handler: LearnerHandler, learner_zxid: int) -> None:
        """Bring a learner up to what is committed now; the rest follows behind in its outbox (§9, §10)."""
        db = self.peer.db
        disk = await disk_records(db, learner_zxid, self.peer.config.snapshot_size_factor)
        # From here to forward_to nothing waits: choosing and registering is one atomic step (§25, own traps).
        plan = plan_history(db, learner_zxid, disk, force_snapshot=self.peer.config.force_snapshot_sync)
        handler.begin_sync(self._snapshot_syncs if plan.mode == "SNAP" else self._diff_syncs, plan)
        self.service.forward_to(
            handler.sid, handler.outbox, participant=handler.participant, last_seen_zxid=plan.current
        )
        await handler.send_history(plan, learner_zxid)

    # One of two voters (§20.3)

    async def _consult(self, oracle: Oracle) -> None:
        """Ask whether to go on without the other voter: while it does not come, then whenever it is not there."""
        peer, my_id = self.peer, self.peer.config.my_id
        while not self._serving.is_set():
            await trio.sleep(peer.config.tick_time_ms / 2000)
            if any(handler.participant for handler in self.port.handlers.values()):
                continue
            self._agreement.alone = await oracle.lets_lead_alone()
            if not self._epoch_decided.is_set():
                self._propose_epoch(my_id, peer.epochs.accepted)
            elif self._may_sync.is_set():
                self._ack_new_leader(my_id, self.epoch << 32)
            elif self._epoch_known.is_set():
                self._ack_epoch(my_id, peer.epochs.current, peer.db.last_zxid)
        while True:
            await self._alone.wait()
            self._alone = trio.Event()
            if self.service.lacks_acks and await oracle.lets_lead_alone() and self.service.lacks_acks:
                self.service.commit_alone()

    def _logged(self, zxid: int) -> None:
        self.service.logged(zxid)
        self._alone.set()

    async def _goes_on_alone(self) -> bool:
        """Whether this leader may stay without a follower, and what waited for one is committed."""
        oracle, service = self.peer.oracle, self.service
        await trio.lowlevel.checkpoint()
        if oracle is None or not service.machine.oracle_may_decide or not await oracle.lets_lead_alone():
            return False
        if not service.followers:
            service.commit_alone()
        return True

    # Broadcast (§7.3, §7.4)

    async def _complete_reconfig(self) -> None:
        """A configuration that was pending before this term has its quorums now, and is committed (§7.3, §19.7)."""
        members = self.peer.members
        await trio.lowlevel.checkpoint()
        if not (self.peer.config.reconfig_enabled and members.pending):
            return
        ends = await members.activate(members.last_seen, self.peer.config.my_id, None)
        self.service.machine.complete()
        if ends:
            raise RoleEnded(f"configuration {members.committed.version:#x} is not led by this peer")

    def _synced(self) -> set[int]:
        """This peer and the followers that hold all history and keep up."""
        handlers = self.port.handlers.values()
        return {self.peer.config.my_id, *(it.sid for it in handlers if it.synced and it.participant)}

    async def _broadcast(self) -> None:
        peer = self.peer
        await self._complete_reconfig()
        zxid = self.epoch << 32
        peer.db.begin_epoch(zxid)
        peer.log.on_flushed = self._logged
        peer.established(self.epoch)
        peer.events.emit(PhaseChanged(phase="broadcast", epoch=self.epoch))
        peer.events.emit(Established(role="leader", leader=peer.config.my_id, epoch=self.epoch, zxid=zxid))
        self.service.start()
        self._serving.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.serve_clients, self.service if peer.config.leader_serves else None)
            nursery.start_soon(peer.keeper.run)
            nursery.start_soon(sweep, peer, self.service)
            nursery.start_soon(Reconfiguring(self).run, name="reconfigurations")
            await self._ticker()

    def _ping(self) -> None:
        """Ask everybody for a sign of life, and say whether writes are taken: a quorum needs room for them."""
        service = self.service
        lack = {it.sid for it in self.port.handlers.values() if it.synced and it.participant and it.lacks_room}
        too_few = bool(lack) and not service.machine.keeps_quorum(self._synced() - lack)
        if (too_few or self.peer.room.nearly_full) != service.refuses_writes:
            service.refuse_writes(not service.refuses_writes)
            lacking = tuple(sorted(lack)) if service.refuses_writes else ()
            self.peer.events.emit(VotersLackRoom(peers=lacking, refuses_writes=service.refuses_writes))
        self.port.ping(self.service.last_proposed, refuses_writes=self.service.refuses_writes)

    async def _ticker(self) -> None:
        """Twice a tick: ping; every tick: is the quorum still there, whose session ran out, whom do we not reach?"""
        half_tick_s = self.peer.config.tick_time_ms / 2000
        sync_limit = self.peer.config.sync_limit_ticks
        machine = self.service.machine
        while True:
            await trio.sleep(half_tick_s)
            self._ping()
            await trio.sleep(half_tick_s)
            self.tick += 1
            self._ping()
            for handler in list(self.port.handlers.values()):
                if handler.synced and self.tick > handler.heard_tick + sync_limit:
                    handler.give_up(f"not heard of for {sync_limit} ticks")
                    handler.synced = False
                elif machine.overdue(handler.sid, self.tick, sync_limit):
                    handler.give_up(f"did not acknowledge a proposal for {sync_limit} ticks")
                    handler.synced = False
            alive = self._synced()
            if not machine.keeps_quorum(alive) and not await self._goes_on_alone():
                raise RoleEnded(f"only {sorted(alive)} follow, that is no quorum")
            if self.service.exhausted:
                raise RoleEnded(f"epoch {self.epoch} has no transaction ids left")
            self.service.expire()
            # A member that was away while others moved knows none of us where we are now: only we can find it.
            self.peer.call_members()

    # What learners send

    def acked(self, handler: LearnerHandler, zxid: int) -> None:
        """A learner's log holds everything up to ``zxid``."""
        self.service.ack(handler.sid, zxid)

    def taker(self, handler: LearnerHandler) -> Callable[[WriteRequest], None]:
        """What takes the writes of a learner's clients."""
        return self.service.submit_forwarded

    def sync(self, handler: LearnerHandler, session: int, cxid: int, body: bytes) -> None:
        """A learner's client asks for a sync."""
        self.service.heard_of(session)
        self.service.learner_sync(handler.sid)

    def revalidate(self, handler: LearnerHandler, session: int, timeout_ms: int) -> None:
        """A client brought a session to a learner."""
        self.peer.stats.revalidations += 1
        valid = self.service.revalidate(session, timeout_ms, handler.owner)
        reply = encode_revalidate_reply(session, valid=valid)
        # What was proposed by now may be of the session's earlier connection: only later commits answer this one.
        answer = QuorumPacket(PacketType.REVALIDATE, self.service.last_proposed, reply)
        handler.outbox.put(encode_packets([answer]))

    def forget(self, sid: int) -> None:
        """A learner has no link any more."""
        self.service.forget(sid)
        self._alone.set()
