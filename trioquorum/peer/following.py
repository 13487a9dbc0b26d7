"""The learner's role: find a master, take over its history, follow it (quorum-protocol §11–§13)."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

import trio

from trioquorum.errors import LinkClosed, LocalProtocolError, RoleEnded
from trioquorum.events import Committed, Established, LinkDown, LinkUp, PhaseChanged, SyncReceived
from trioquorum.peer.observer_master import ObserverMaster
from trioquorum.peer.outbox import LinkOutbox
from trioquorum.pipeline.learner import LearnerService
from trioquorum.pipeline.sending import FRAME_BYTES
from trioquorum.transport import Address, Link, deliver
from trioquorum.wire.quorum import (
    LACKS_ROOM,
    PacketType,
    QuorumPacket,
    decode_packets,
    encode_frames,
    encode_packets,
    encode_touched,
)
from trioquorum.wire.txn import decode_txn, payload_zxid
from trioquorum.zab import learner_effects as effects
from trioquorum.zab.learner import Learner

LAST_REPLIES_S = 0.01
"""Who asked for the reconfiguration is answered before the role, and with it every connection, ends."""

RECONFIGURES = (effects.SetLastSeen, effects.TakeConfig, effects.Activate)

if TYPE_CHECKING:
    from trioquorum.peer.roles import Peer

DIAL_RETRY_FIRST_S = 0.01
"""The leader usually listens a moment after the vote; waits double from here to ``learner_connect_retry_ms``."""


class Following:
    """One term as follower or observer of ``leader``. Anything that goes wrong raises and ends it.

    A follower's master is the leader; an observer's is some follower, where any is offered for that.
    """

    def __init__(self, peer: "Peer", leader: int, *, observer: bool) -> None:
        config = peer.config
        self._peer = peer
        self._leader = leader
        self._master = leader
        self._observer = observer
        self._init_limit_s = config.init_limit_ticks * config.tick_time_ms / 1000
        self._sync_limit_s = config.sync_limit_ticks * config.tick_time_ms / 1000
        self._machine = Learner(
            config.my_id,
            observer=observer,
            accepted_epoch=peer.epochs.accepted,
            current_epoch=peer.epochs.current,
            last_zxid=peer.db.joinable_zxid,
            config_version=peer.members.committed.version,
        )
        self._outbox = LinkOutbox(config.limits)
        self._service: LearnerService | None = None
        self._heard = 0.0
        self._left: deque[effects.Effect] = deque()  # of a frame in which something has to be waited for

    async def run(self) -> None:
        """Follow until the leader is lost or the role is cancelled.

        Raises:
            RoleEnded, LinkClosed, PeerProtocolError: the master is gone, silent, or broke the protocol.
            OSError: the port for observers cannot be bound; ``filename`` holds the address.
        """
        events = self._peer.events
        link = await self._dial()
        self._peer.log.on_flushed = self._flushed
        reason = "the role ended"
        events.emit(LinkUp(kind="quorum", peer=self._master, address=link.remote))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._outbox.send_to, link, name="send to master")
                service = await self._join(link)
                self._heard = trio.current_time()
                nursery.start_soon(self._watch_master)
                self._feed_observers(service, nursery)
                nursery.start_soon(self._peer.serve_clients, service)
                nursery.start_soon(self._peer.keeper.run)
                if service.local is not None:
                    nursery.start_soon(self._expire_local, service)
                await self._follow(link, service)
        except* LinkClosed as group:
            reason = str(group.exceptions[0])
            raise
        finally:
            events.emit(LinkDown(kind="quorum", peer=self._master, reason=reason))
            await link.aclose()

    async def _dial(self) -> Link:
        """Reach a master; its port may open a moment after the vote (§11.1)."""
        peer, config = self._peer, self._peer.config
        limit_ticks = config.learner_connect_limit_ticks or config.init_limit_ticks
        limit_s = limit_ticks * config.tick_time_ms / 1000
        # The leader may settle its election a little later than we did; only then it listens.
        patience_ms = 2 * config.election_settle_ms + config.learner_connect_tries * config.learner_connect_retry_ms
        give_up_at = trio.current_time() + min(limit_s, patience_ms / 1000)
        fed = self._observer and peer.masters.any_of(peer.members.committed, self._leader)
        # An observer that waits for one follower could be fed by another.
        try_s = min(limit_s, config.connect_timeout_ms / 1000) if fed else limit_s
        delay_s = DIAL_RETRY_FIRST_S
        while True:
            for sid, address in self._feeding() if fed else self._leading():
                link = await self._try(address, try_s)
                if link is not None:
                    self._master = sid
                    return link
            if trio.current_time() >= give_up_at:
                if not fed:
                    raise RoleEnded(f"leader {self._leader} does not answer")
                # Followers feed nobody before the leader is established, and that may need us: a pending
                # configuration may make us a voter.
                fed = False
                continue
            await trio.sleep(delay_s + (peer.jitter_s(config.observer_reconnect_delay_ms) if fed else 0.0))
            delay_s = min(2 * delay_s, config.learner_connect_retry_ms / 1000)

    def _leading(self) -> Iterator[tuple[int, Address]]:
        address = self._peer.members.quorum_address(self._leader)
        if address is None:
            raise RoleEnded(f"the elected leader {self._leader} is not in this peer's configuration")
        yield self._leader, address

    def _feeding(self) -> Iterator[tuple[int, Address]]:
        return self._peer.masters.one_pass(self._peer.members.committed, self._leader)

    async def _try(self, address: Address, limit_s: float) -> Link | None:
        """Dial once."""
        transport = self._peer.transports[address.scheme]
        with trio.move_on_after(limit_s):
            try:
                return await transport.connect(address, frame_bytes_max=self._peer.config.limits.peer_frame_bytes_max)
            except LinkClosed:
                await trio.lowlevel.checkpoint()
        return None

    # Discovery and synchronisation

    async def _join(self, link: Link) -> LearnerService:
        """Handshake and history, until UPTODATE has been handled."""
        self._peer.events.emit(PhaseChanged(phase="discovery", epoch=self._peer.epochs.accepted))
        self._send(self._machine.first_packet())
        await trio.lowlevel.checkpoint()
        while self._service is None:
            with trio.move_on_after(self._init_limit_s) as patience:
                packets = decode_packets(await link.receive())
            if patience.cancelled_caught:
                raise RoleEnded(f"master {self._master} was silent during synchronisation")
            for effect in self._machine.receive_batch(packets):
                await self._carry_out(effect, link)
        self._service.flush()
        return self._service

    async def _carry_out(self, effect: effects.Effect, link: Link) -> None:
        """One effect of the handshake; their order is the order of truth (design §4)."""
        peer = self._peer
        match effect:
            case effects.SetAcceptedEpoch(epoch):
                await peer.epochs.set_accepted(epoch)
            case effects.SetCurrentEpoch(epoch):
                await peer.epochs.set_current(epoch)
                mode, zxid = self._machine.sync_mode, self._machine.sync_zxid
                peer.events.emit(SyncReceived(mode=mode, zxid=zxid, proposals=self._machine.synced_proposals))
                peer.events.emit(PhaseChanged(phase="synchronization", epoch=epoch))
            case effects.Truncate(zxid):
                await peer.db.truncate(zxid)
            case effects.LoadSnapshot(zxid):
                await peer.db.replace(SnapshotFrames(link, self._init_limit_s), zxid)
                self._machine.snapshot_loaded()
            case effects.FlushLog():
                await peer.log.drained()
            case effects.Established(epoch):
                self._establish(epoch)
            case effects.SetLastSeen() | effects.TakeConfig() | effects.Activate():
                await self._reconfigure(effect)
            case _:
                self._do(effect)
        await trio.lowlevel.checkpoint()

    async def _reconfigure(self, effect: effects.SetLastSeen | effects.TakeConfig | effects.Activate) -> None:
        """A configuration was proposed or committed: noted on disk before anything that follows from it.

        Raises:
            RoleEnded: it gives this peer another role or leader.
        """
        members = self._peer.members
        await trio.lowlevel.checkpoint()
        match effect:
            case effects.SetLastSeen(config):
                await members.propose(config)
            case effects.TakeConfig(config):
                await members.take(config)
            case effects.Activate(config, designated, payload):
                ends = await members.activate(config, self._leader, designated)
                if payload is not None and self._service is not None:
                    self._service.commit([(payload_zxid(payload), payload)], designated)
                    self._peer.events.emit(Committed(zxid=self._peer.db.last_zxid))
                if ends:
                    if self._service is not None:
                        self._service.flush()
                        await trio.sleep(LAST_REPLIES_S)
                    raise RoleEnded(f"configuration {config.version:#x} changes this peer's role or leader")

    def _establish(self, epoch: int) -> None:
        peer = self._peer
        self._service = peer.learner_service(master=self._master, observer=self._observer, send=self._send_all)
        peer.db.settled()
        peer.established(epoch)
        peer.events.emit(PhaseChanged(phase="broadcast", epoch=epoch))
        role = "observer" if self._observer else "follower"
        zxid, master = peer.db.last_zxid, self._master
        peer.events.emit(Established(role=role, leader=self._leader, epoch=epoch, zxid=zxid, master=master))

    def _feed_observers(self, service: LearnerService, nursery: trio.Nursery) -> None:
        """Open the port for observers, if this peer follows and has one."""
        me = self._peer.config.me
        if not self._observer and me is not None and me.observer_master is not None:
            master = ObserverMaster(self._peer, service, self._machine.epoch)
            nursery.start_soon(master.run, me.observer_master)

    # Broadcast

    async def _follow(self, link: Link, service: LearnerService) -> None:
        while True:
            await deliver(link, self._take, service.flush)
            while self._left:
                effect = self._left.popleft()
                if isinstance(effect, RECONFIGURES):
                    await self._reconfigure(effect)
                else:
                    self._do(effect)
            service.flush()
            if not self._peer.log.has_room:
                await self._peer.log.wait_room()

    def _take(self, frame: bytes) -> bool:
        """One frame of the master; false if something in it has to be waited for, or the log must catch up."""
        self._heard = trio.current_time()
        todo = self._machine.receive_batch(decode_packets(frame))
        for index, effect in enumerate(todo):
            if isinstance(effect, RECONFIGURES):
                self._left.extend(todo[index:])
                return False
            self._do(effect)
        return self._peer.log.has_room

    def _do(self, effect: effects.Effect) -> None:
        """An effect that waits for nothing."""
        peer, service = self._peer, self._service
        match effect:
            case effects.Log(records):
                peer.stats.learner_proposals += len(records)
                peer.db.append(records)
            case effects.Commit(records) if service is None:
                for _, payload in records:
                    peer.db.apply(decode_txn(payload))
            case effects.Commit(records):
                assert service is not None
                service.commit(records)
                peer.events.emit(Committed(zxid=peer.db.last_zxid))
            case effects.AnswerPing(zxid, refuses_writes):
                touched = service.touched.swap() if service is not None else []
                if peer.room.nearly_full:
                    touched.append((LACKS_ROOM, 0))
                if service is not None and service.refuses_writes != refuses_writes:
                    service.refuse_writes(refuses_writes)
                self._send(QuorumPacket(PacketType.PING, zxid, encode_touched(touched)))
            case effects.SyncDone():
                assert service is not None
                service.sync_done()
            case effects.Revalidated(session, valid, zxid):
                assert service is not None
                service.revalidated(session, valid=valid, fence=zxid)
            case effects.SendPacket(packet):
                self._send(packet)
            case _:
                raise LocalProtocolError(f"{effect} belongs into the handshake")

    def _flushed(self, zxid: int) -> None:
        """The log holds everything up to ``zxid``: only now may the leader hear of it."""
        packet = self._machine.acknowledge(zxid)
        if packet is not None:
            self._send(packet)
        if self._service is not None:
            self._service.flush()

    async def _expire_local(self, service: LearnerService) -> None:
        while True:
            await trio.sleep(self._peer.config.tick_time_ms / 1000)
            service.expire_local()

    async def _watch_master(self) -> None:
        """A master that says nothing for syncLimit is lost, though its link may stand (§15)."""
        while True:
            # One sum decides both: what a subtraction leaves may be too little for the clock to go on by it.
            give_up_at = self._heard + self._sync_limit_s
            if trio.current_time() >= give_up_at:
                raise RoleEnded(f"master {self._master} was silent for {trio.current_time() - self._heard:.1f} s")
            await trio.sleep_until(give_up_at)

    def _send(self, packet: QuorumPacket) -> None:
        self._outbox.put(encode_packets([packet]))

    def _send_all(self, packets: list[QuorumPacket]) -> None:
        for frame in encode_frames(packets, FRAME_BYTES):
            self._outbox.put(frame)


class SnapshotFrames:
    """The frames of a snapshot on its way, up to the empty one that ends it."""

    def __init__(self, link: Link, limit_s: float) -> None:
        self._link = link
        self._limit_s = limit_s

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with trio.move_on_after(self._limit_s):
            chunk = await self._link.receive()
            if not chunk:
                raise StopAsyncIteration
            return chunk
        raise RoleEnded("the master stopped in the middle of its snapshot")
