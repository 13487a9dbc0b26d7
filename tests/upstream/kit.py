"""Peers that a test plays by hand against real ones: elected by the true machine, then packets as the test says."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import trio

from trioquorum.config import ServerConfig
from trioquorum.errors import LinkClosed
from trioquorum.events import Events
from trioquorum.peer.electing import Elections
from trioquorum.peer.links import ElectionMesh
from trioquorum.storage.snapshot import body_chunks
from trioquorum.testing import MemoryEnsemble
from trioquorum.transport import Link, Listener, Transports
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.election import PeerState
from trioquorum.wire.quorum import (
    LearnerInfo,
    PacketType,
    QuorumPacket,
    decode_packets,
    encode_ack_epoch,
    encode_leader_info,
    encode_packets,
)
from trioquorum.zab.election import Election
from trioquorum.zab.quorum import QuorumConfig

FRAME_BYTES_MAX: Final = 16 << 20
PATIENCE_S: Final = 30.0
"""Virtual seconds; what has not come by then never comes."""
PROTOCOL: Final = 0x10000


class Raw:
    """One end of a quorum link. Each packet leaves in a frame of its own."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._packets: deque[QuorumPacket] = deque()

    async def send(self, kind: PacketType, zxid: int = 0, data: bytes | None = None) -> None:
        await self.send_frame([QuorumPacket(kind, zxid, data)])

    async def send_frame(self, packets: list[QuorumPacket]) -> None:
        """These packets in one frame."""
        await self._link.send(encode_packets(packets))

    async def send_snapshot(self, zxid: int, tree: DataTree) -> None:
        """SNAP as of ``zxid``, and the whole of ``tree``, which may be further by then."""
        await self.send(PacketType.SNAP, zxid)
        for chunk in body_chunks(tree, 1000):
            await self._link.send(chunk)
        await self._link.send(b"")

    async def receive(self) -> QuorumPacket:
        """The next packet.

        Raises:
            LinkClosed: the other end hung up.
            trio.TooSlowError: none came.
        """
        with trio.fail_after(PATIENCE_S):
            while not self._packets:
                self._packets += decode_packets(await self._link.receive())
        return self._packets.popleft()

    async def take(self, kind: PacketType, zxid: int | None = None) -> QuorumPacket:
        """The next packet, which must be this one; pings aside."""
        packet = await self.receive()
        while packet.type == PacketType.PING != kind:
            packet = await self.receive()
        assert PacketType(packet.type) is kind
        assert zxid is None or packet.zxid == zxid
        return packet

    async def until(self, kind: PacketType) -> QuorumPacket:
        """The next packet of this kind, whatever comes before it."""
        while (packet := await self.receive()).type != kind:
            pass
        return packet

    async def hung_up(self) -> None:
        """Read until the other end closes."""
        with trio.fail_after(PATIENCE_S):
            try:
                while True:
                    await self._link.receive()
            except LinkClosed:
                return

    async def aclose(self) -> None:
        await self._link.aclose()


class RawLeader:
    """Elected, listening for learners."""

    def __init__(self, ensemble: MemoryEnsemble, sid: int, listener: Listener, elections: Elections) -> None:
        self._ensemble = ensemble
        self._sid = sid
        self._listener = listener
        self._elections = elections

    async def elect(self, *, zxid: int, peer_epoch: int) -> None:
        """Look for a leader with such a history, which the peers that look too find to be the best."""
        with trio.fail_after(PATIENCE_S):
            state, _ = await self._elections.look(zxid=zxid, peer_epoch=peer_epoch)
        assert state is PeerState.LEADING

    async def accept(self) -> Raw:
        with trio.fail_after(PATIENCE_S):
            return Raw(await self._listener.accept())

    async def begin(self, epoch: int, kind: PacketType = PacketType.FOLLOWERINFO) -> tuple[Raw, QuorumPacket]:
        """Take the next learner through discovery; its link, and what its ACKEPOCH was."""
        raw = await self.accept()
        await raw.take(kind)
        # Nobody else tells the checker who leads this epoch.
        self._ensemble.safety.leaders[epoch] = self._sid
        await raw.send(PacketType.LEADERINFO, epoch << 32, encode_leader_info(PROTOCOL))
        return raw, await raw.take(PacketType.ACKEPOCH)


@asynccontextmanager
async def raw_leader(
    ensemble: MemoryEnsemble, sid: int, *, zxid: int = 0, peer_epoch: int = 0, version: int = 0
) -> AsyncIterator[RawLeader]:
    """Peer ``sid``, elected by the peers that run, to whom it claims this history; ``version`` is of its membership."""
    config = ensemble.peers[sid].config
    async with _elections(ensemble, config, version) as elections:
        transports = _transports(ensemble, sid)
        assert config.me is not None
        listener = await transports["memory"].listen(config.me.quorum, frame_bytes_max=FRAME_BYTES_MAX)
        leader = RawLeader(ensemble, sid, listener, elections)
        await leader.elect(zxid=zxid, peer_epoch=peer_epoch)
        yield leader
        await listener.aclose()


@asynccontextmanager
async def raw_voter(ensemble: MemoryEnsemble, sid: int) -> AsyncIterator[int]:
    """Peer ``sid`` votes, with no history of its own, and is told whom it elected; the rest is up to the test."""
    async with _elections(ensemble, ensemble.peers[sid].config) as elections:
        _, vote = await elections.look(zxid=0, peer_epoch=0)
        yield vote.leader


async def dial(ensemble: MemoryEnsemble, sid: int, leader: int, *, as_observer: bool = False) -> Raw:
    """A link from the node of ``sid`` to the quorum port of ``leader``, which may open a moment later.

    ``as_observer``: to its port for observers instead.
    """
    spec = ensemble.peers[leader].config.me
    assert spec is not None
    address = spec.observer_master if as_observer else spec.quorum
    assert address is not None
    ensemble.safety.by_hand(sid)
    transport = _transports(ensemble, sid)["memory"]
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                return Raw(await transport.connect(address, frame_bytes_max=FRAME_BYTES_MAX))
            except LinkClosed:
                await trio.sleep(0.01)


async def introduce(
    raw: Raw, sid: int, accepted_epoch: int = 0, kind: PacketType = PacketType.FOLLOWERINFO
) -> QuorumPacket:
    """Say who we are; the leader's LEADERINFO."""
    await raw.send(kind, accepted_epoch << 32, LearnerInfo(sid, PROTOCOL, 0).encode())
    return await raw.take(PacketType.LEADERINFO)


async def ack_epoch(raw: Raw, last_zxid: int, current_epoch: int) -> None:
    await raw.send(PacketType.ACKEPOCH, last_zxid, encode_ack_epoch(current_epoch))


@asynccontextmanager
async def _elections(ensemble: MemoryEnsemble, config: ServerConfig, version: int = 0) -> AsyncIterator[Elections]:
    me = config.me
    assert me is not None
    ensemble.safety.by_hand(me.id)
    others = {spec.id: spec.election for spec in config.peers if spec.id != me.id}
    mesh = ElectionMesh(
        me.id, others, me.election, _transports(ensemble, me.id), config.limits, Events(), 5000, Random(me.id)
    )
    elections = Elections(
        Election(me.id, QuorumConfig(config.quorum_config().members.values(), version)), mesh, Events()
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(mesh.run)
        await nursery.start(elections.run)
        yield elections
        nursery.cancel_scope.cancel()


def _transports(ensemble: MemoryEnsemble, sid: int) -> Transports:
    return Transports(memory=ensemble.network.transport(ensemble.peers[sid].node))
