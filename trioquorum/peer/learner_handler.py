"""A master's side of one learner: handshake, synchronisation, then frames both ways (quorum-protocol §8).

One learner, one nursery: when either direction ends, the other is cancelled and the learner is forgotten.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from trioquorum.errors import LinkClosed, PeerProtocolError
from trioquorum.events import LearnerLeft, LearnerSynced, LearnerSyncing, LinkRefused
from trioquorum.peer.outbox import LinkOutbox
from trioquorum.pipeline.forwarded import Forwarded
from trioquorum.pipeline.service import Service
from trioquorum.storage.snapshot import body_chunks
from trioquorum.transport import Link, deliver
from trioquorum.tree.prep import WriteRequest
from trioquorum.wire.quorum import (
    LACKS_ROOM,
    REFUSE_WRITES,
    LearnerInfo,
    PacketType,
    QuorumPacket,
    decode_ack_epoch,
    decode_learner_info,
    decode_packets,
    decode_revalidate,
    decode_touched,
    encode_frames,
    encode_leader_info,
    encode_packets,
)
from trioquorum.zab.sync_plan import SyncPlan
from trioquorum.zab.throttle import SyncThrottle

if TYPE_CHECKING:
    from trioquorum.peer.learner_port import LearnerPort
    from trioquorum.peer.roles import Peer

PROTOCOL_VERSION = 0x10000
_ACK = PacketType.ACK
SYNC_FRAME_BYTES = 1 << 20


class LearnerMaster(Protocol):
    """Whom learners join: the leader, or a follower that feeds observers.

    ``introductions`` are the first packets that it takes, ``tick`` counts up while it serves. Whatever a method raises
    of ``LinkClosed`` and ``PeerProtocolError`` ends the learner's link alone.
    """

    peer: "Peer"
    port: "LearnerPort"
    introductions: frozenset[PacketType]
    tick: int
    init_limit_s: float
    history_limit_s: float

    @property
    def service(self) -> Service:
        """What the master does for clients."""

    async def epoch_to_propose(self, sid: int, accepted_epoch: int) -> int:
        """The epoch that a learner is to accept, which accepted ``accepted_epoch`` last."""

    async def epoch_acked(self, sid: int, current_epoch: int, last_zxid: int) -> None:
        """A learner accepted the epoch; wait until it may have its history."""

    async def synchronise(self, handler: "LearnerHandler", learner_zxid: int) -> None:
        """``send_history``, and forward what is committed behind it without a gap."""

    async def new_leader_acked(self, handler: "LearnerHandler", zxid: int) -> None:
        """A learner holds its history; wait until it may serve."""

    def acked(self, handler: "LearnerHandler", zxid: int) -> None:
        """A learner's log holds everything up to ``zxid``."""

    def taker(self, handler: "LearnerHandler") -> Callable[[WriteRequest], None]:
        """What takes the writes of a learner's clients."""

    def sync(self, handler: "LearnerHandler", session: int, cxid: int, body: bytes) -> None:
        """A learner's client asks for a sync: answer SYNC behind everything that is proposed now."""

    def revalidate(self, handler: "LearnerHandler", session: int, timeout_ms: int) -> None:
        """A client brought a session to a learner: answer whether it lives."""

    def forget(self, sid: int) -> None:
        """A learner has no link any more."""


class LearnerHandler:
    """Serves one learner from its first packet to the end of its link. Its learner owns the sessions it speaks for."""

    def __init__(self, link: Link, master: LearnerMaster) -> None:
        self.sid = 0
        self.participant = False
        self.synced = False
        self.lacks_room = False
        self.outbox = LinkOutbox(master.peer.config.limits)
        self.heard_tick = 0
        self._link = link
        self._master = master
        self._known = False
        # Sessions keep their owner longer than this handler lives, so it is not the handler itself.
        self.owner = object()
        self._history_sent = False
        self._throttle: SyncThrottle | None = None  # while this learner is being brought up to date
        self._reason = "the role ended"
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Serve the learner; a broken link or protocol ends this learner only."""
        try:
            with self._scope:
                await self._serve()
        except* (LinkClosed, PeerProtocolError) as group:
            self._reason = _first(group)
        finally:
            self._leave()
            await self._link.aclose()

    def _leave(self) -> None:
        self._end_sync()
        events = self._master.peer.events
        self._master.port.introduced(self)
        if self._known:
            self._master.port.left(self)
            events.emit(LearnerLeft(learner=self.sid, reason=self._reason))
        else:
            events.emit(LinkRefused(kind="quorum", address=self._link.remote, reason=self._reason))

    def give_up(self, reason: str) -> None:
        """End this learner's link."""
        self._reason = reason
        self._scope.cancel(reason=reason)

    def ping(self, last_proposed: int, *, refuses_writes: bool) -> None:
        """Ask for a sign of life and the touched sessions, once the learner has its whole history.

        A PING with any data says that it is to refuse writes.
        """
        if self._history_sent:
            data = REFUSE_WRITES if refuses_writes else None
            self.outbox.put(encode_packets([QuorumPacket(PacketType.PING, last_proposed, data)]))

    # Handshake

    async def _serve(self) -> None:
        master = self._master
        info, accepted_epoch = await self._introduction()
        self.sid = info.server_id
        epoch = await master.epoch_to_propose(self.sid, accepted_epoch)
        leader_info = QuorumPacket(PacketType.LEADERINFO, epoch << 32, encode_leader_info(PROTOCOL_VERSION))
        await self._link.send(encode_packets([leader_info]))
        ack = await self._expect(PacketType.ACKEPOCH)
        await master.epoch_acked(self.sid, decode_ack_epoch(ack.data or b""), ack.zxid)
        self._known = True
        master.port.joined(self)
        await master.synchronise(self, ack.zxid)
        members = master.peer.members
        new_leader = QuorumPacket(PacketType.NEWLEADER, epoch << 32, members.last_seen.text().encode())
        self.outbox.put(encode_packets([new_leader]))
        self._history_sent = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.outbox.send_to, self._link, name=f"send to learner {self.sid}")
            ack = await self._expect(PacketType.ACK)
            self._end_sync()
            await master.new_leader_acked(self, ack.zxid)
            self.synced = True
            master.peer.events.emit(LearnerSynced(learner=self.sid, observer=not self.participant))
            # What NEWLEADER carried may be proposed only: the learner is told what is committed.
            committed = members.committed.version.to_bytes(8)
            self.outbox.put(encode_packets([QuorumPacket(PacketType.UPTODATE, -1, committed)]))
            await self._receive()

    async def _introduction(self) -> tuple[LearnerInfo, int]:
        master = self._master
        limit_s = min(master.peer.config.limits.handshake_timeout_ms / 1000, master.init_limit_s)
        packet = (await self._packets(limit_s))[0]
        if packet.type not in master.introductions:
            raise PeerProtocolError(f"first packet of type {packet.type}")
        info = decode_learner_info(packet.data or b"")
        if info.server_id == master.peer.config.my_id:
            raise PeerProtocolError(f"a learner with this peer's own id {info.server_id}")
        if info.config_version > master.peer.members.committed.version:
            raise PeerProtocolError(f"learner {info.server_id} knows a newer configuration")
        # A follower that is no voter of this configuration gets what followers get; its word counts for nothing.
        master.port.introduced(self)
        self.participant = packet.type == PacketType.FOLLOWERINFO
        return info, packet.zxid >> 32

    async def _expect(self, kind: PacketType) -> QuorumPacket:
        packets = await self._packets(self._master.init_limit_s)
        if len(packets) != 1 or packets[0].type != kind:
            raise PeerProtocolError(f"expected {kind.name}, got {[p.type for p in packets]}")
        return packets[0]

    async def _packets(self, limit_s: float) -> list[QuorumPacket]:
        """The next frame during the handshake."""
        with trio.move_on_after(limit_s):
            packets = decode_packets(await self._link.receive())
            if not packets:
                raise PeerProtocolError("empty frame")
            return packets
        raise LinkClosed("silent during the handshake")

    # Synchronisation

    async def send_history(self, plan: SyncPlan, learner_zxid: int) -> None:
        """Send what brings a learner at ``learner_zxid`` up to ``plan.current``.

        Raises:
            LinkClosed: it was not taken in time, or so much came meanwhile that the outbox is full.
        """
        master = self._master
        master.peer.events.emit(
            LearnerSyncing(
                learner=self.sid,
                mode=plan.mode,
                learner_zxid=learner_zxid,
                target_zxid=plan.zxid,
                proposals=len(plan.proposals),
            )
        )
        # However long the history is, it goes straight to the link; the outbox holds only what comes meanwhile.
        with self.outbox.unless_full(), trio.move_on_after(master.history_limit_s):
            if plan.mode == "SNAP":
                await self._send_snapshot()
            else:
                await self._send_plan(plan)
            return
        raise LinkClosed("the history was not taken in time")

    def begin_sync(self, throttle: SyncThrottle, plan: SyncPlan) -> None:
        """Take a place among the synchronisations under way until the learner has acknowledged its history (§8.6).

        Raises:
            LinkClosed: there is none; the learner comes back.
        """
        if not throttle.begin(essential=self.participant):
            raise LinkClosed(f"{throttle.under_way} other learners are being brought up to date ({plan.mode})")
        self._throttle = throttle

    def _end_sync(self) -> None:
        throttle, self._throttle = self._throttle, None
        if throttle is not None:
            throttle.end()

    async def _send_plan(self, plan: SyncPlan) -> None:
        packets = [QuorumPacket(PacketType[plan.mode], plan.zxid)]
        for zxid, payload in plan.proposals:
            packets.append(QuorumPacket(PacketType.PROPOSAL, zxid, payload))
            packets.append(QuorumPacket(PacketType.COMMIT, zxid))
        for frame in encode_frames(packets, SYNC_FRAME_BYTES):
            await self._link.send(frame)
        await trio.lowlevel.checkpoint()

    async def _send_snapshot(self) -> None:
        """SNAP, the fuzzy dump in bounded chunks, an empty frame."""
        peer = self._master.peer
        tree = peer.db.tree
        await self._link.send(encode_packets([QuorumPacket(PacketType.SNAP, tree.last_zxid)]))
        for chunk in body_chunks(tree, peer.config.limits.snapshot_chunk_bytes):
            await self._link.send(chunk)
        await self._link.send(b"")

    # Steady state

    async def _receive(self) -> None:
        log = self._master.peer.log
        master = self._master
        self._forwarded = Forwarded(self.owner, master.taker(self), partial(master.sync, self), self._take)
        while True:
            await deliver(self._link, self._take_frame, master.service.flush)
            await log.wait_room()

    def _take_frame(self, frame: bytes) -> bool:
        """One frame of the learner; false if the log must catch up before the next one."""
        master = self._master
        packets = decode_packets(frame)
        if not master.port.serves(self):
            # The learner came back on a new link, whose synchronisation may cut what is acknowledged here.
            raise LinkClosed("a newer link took its place")
        self.heard_tick = master.tick
        self._forwarded.take(packets)
        return master.peer.log.has_room

    def _take(self, packet: QuorumPacket) -> None:
        master = self._master
        data = packet.data or b""
        if packet.type == _ACK:
            if packet.zxid & 0xFFFFFFFF:
                master.acked(self, packet.zxid)
        elif packet.type == PacketType.PING:
            touched = dict(decode_touched(data))
            self.lacks_room = touched.pop(LACKS_ROOM, None) is not None
            master.service.touch(touched)
        elif packet.type == PacketType.REVALIDATE:
            master.revalidate(self, *decode_revalidate(data))


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
