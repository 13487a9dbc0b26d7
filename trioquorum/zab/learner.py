"""A follower or observer of one leader: discovery, synchronisation, broadcast (quorum-protocol §11–§13).

``STEPS`` lists every packet that may arrive, and when; anything else breaks the protocol and ends the role. The
machine answers packets with effects, and their order is the order of truth: each one is finished, on disk where it
names a disk, before the next begins.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from struct import Struct
from typing import Final

from trioquorum.errors import ConfigError, PeerProtocolError
from trioquorum.invariants import invariant
from trioquorum.wire.ops import Op
from trioquorum.wire.quorum import LearnerInfo, PacketType, QuorumPacket, decode_revalidate_reply, encode_ack_epoch
from trioquorum.wire.txn import SetDataTxn, decode_txn, is_reconfig, payload_head, payload_zxid
from trioquorum.zab.learner_effects import (
    Activate,
    AnswerPing,
    Commit,
    Effect,
    Established,
    FlushLog,
    LoadSnapshot,
    Log,
    Revalidated,
    SendPacket,
    SetAcceptedEpoch,
    SetCurrentEpoch,
    SetLastSeen,
    SyncDone,
    TakeConfig,
    Truncate,
)
from trioquorum.zab.quorum import QuorumConfig
from trioquorum.zab.reconfig import parse_config

PROTOCOL_VERSION: Final = 0x10000
COUNTER_MASK: Final = 0xFFFFFFFF

_LONG = Struct(">q")
_RECONFIG = Op.RECONFIG
_PROPOSAL, _COMMIT = PacketType.PROPOSAL, PacketType.COMMIT


class Phase(Enum):
    """How far a learner is with its leader."""

    JOINING = "joining"  # introduced itself
    CHOOSING = "choosing"  # accepted the epoch; the leader decides how to bring us up to date
    LOADING = "loading"  # a snapshot is on its way outside the packets
    SYNCING = "syncing"  # takes over committed history
    ACKING = "acking"  # has acknowledged the history; the leader gathers a quorum
    SERVING = "serving"


STEPS: Final[Mapping[tuple[Phase, int], Phase]] = {
    (Phase.JOINING, PacketType.LEADERINFO): Phase.CHOOSING,
    (Phase.CHOOSING, PacketType.DIFF): Phase.SYNCING,
    (Phase.CHOOSING, PacketType.TRUNC): Phase.SYNCING,
    (Phase.CHOOSING, PacketType.SNAP): Phase.LOADING,
    (Phase.SYNCING, PacketType.PROPOSAL): Phase.SYNCING,
    (Phase.SYNCING, PacketType.COMMIT): Phase.SYNCING,
    (Phase.SYNCING, PacketType.INFORM): Phase.SYNCING,
    (Phase.SYNCING, PacketType.COMMITANDACTIVATE): Phase.SYNCING,
    (Phase.SYNCING, PacketType.INFORMANDACTIVATE): Phase.SYNCING,
    (Phase.SYNCING, PacketType.NEWLEADER): Phase.ACKING,
    (Phase.ACKING, PacketType.PROPOSAL): Phase.ACKING,
    (Phase.ACKING, PacketType.COMMIT): Phase.ACKING,
    (Phase.ACKING, PacketType.INFORM): Phase.ACKING,
    (Phase.ACKING, PacketType.COMMITANDACTIVATE): Phase.ACKING,
    (Phase.ACKING, PacketType.INFORMANDACTIVATE): Phase.ACKING,
    (Phase.ACKING, PacketType.PING): Phase.ACKING,
    (Phase.ACKING, PacketType.UPTODATE): Phase.SERVING,
    (Phase.SERVING, PacketType.PROPOSAL): Phase.SERVING,
    (Phase.SERVING, PacketType.COMMIT): Phase.SERVING,
    (Phase.SERVING, PacketType.INFORM): Phase.SERVING,
    (Phase.SERVING, PacketType.COMMITANDACTIVATE): Phase.SERVING,
    (Phase.SERVING, PacketType.INFORMANDACTIVATE): Phase.SERVING,
    (Phase.SERVING, PacketType.PING): Phase.SERVING,
    (Phase.SERVING, PacketType.REVALIDATE): Phase.SERVING,
    (Phase.SERVING, PacketType.SYNC): Phase.SERVING,
    (Phase.SERVING, PacketType.UPTODATE): Phase.SERVING,
}
"""(phase, packet) → next phase. From LOADING ``snapshot_loaded`` leads on to SYNCING. Only observers are informed."""

KNOWN_TYPES: Final = frozenset(int(kind) for kind in PacketType)

NO_SNAPSHOT: Final = -(1 << 63) - 1
"""Below every zxid that a packet can carry."""


def follows(zxid: int, last: int) -> bool:
    """Whether a transaction ``zxid`` may stand right behind ``last``: the next counter, or any of a later epoch."""
    return zxid & COUNTER_MASK != 0 and (zxid == last + 1 or zxid >> 32 > last >> 32)


class Learner:
    """One term under one leader; a new term needs a new object.

    ``last_zxid`` is the last logged one, −1 if the database is not to be trusted. Every method that takes packets
    raises ``PeerProtocolError`` when the leader broke the protocol: then the role must end, and nothing the machine
    asked for before has to be undone.
    """

    def __init__(
        self,
        my_id: int,
        *,
        observer: bool,
        accepted_epoch: int,
        current_epoch: int,
        last_zxid: int,
        config_version: int,
    ) -> None:
        self.phase = Phase.JOINING
        self.epoch = -1
        self.sync_mode = ""
        self.sync_zxid = -1
        self.synced_proposals = 0
        self._my_id = my_id
        self._observer = observer
        self._accepted_epoch = accepted_epoch
        self._current_epoch = current_epoch
        self._config_version = config_version
        self._last_queued = last_zxid
        self._floor = NO_SNAPSHOT  # what a snapshot holds already
        self._pending: deque[tuple[int, bytes]] = deque()
        self._committed: list[tuple[int, bytes]] = []
        self._last_committed = last_zxid
        self._acked = -1
        self._leaders_config: QuorumConfig | None = None

    @property
    def serving(self) -> bool:
        """Whether UPTODATE has come."""
        return self.phase is Phase.SERVING

    def first_packet(self) -> QuorumPacket:
        """The introduction that opens the link (§11.2)."""
        kind = PacketType.OBSERVERINFO if self._observer else PacketType.FOLLOWERINFO
        info = LearnerInfo(self._my_id, PROTOCOL_VERSION, self._config_version)
        return QuorumPacket(kind, self._accepted_epoch << 32, info.encode())

    def receive_batch(self, packets: Sequence[QuorumPacket]) -> list[Effect]:
        """What to do about packets that arrived together, in this order.

        Once serving, all proposals of a batch become one ``Log`` and all commits one ``Commit``.
        """
        effects: list[Effect] = []
        for at, packet in enumerate(packets):
            if self.phase is Phase.SERVING:
                self._steady(packets[at:] if at else packets, effects)
                break
            self._step(packet, effects)
        return effects

    def snapshot_loaded(self) -> None:
        """The snapshot of ``LoadSnapshot`` is installed and on disk."""
        invariant(self.phase is Phase.LOADING, "a snapshot arrives only when one was announced", phase=self.phase)
        self.phase = Phase.SYNCING

    def acknowledge(self, zxid: int) -> QuorumPacket | None:
        """The ACK that a flush up to ``zxid`` allows; ``None`` where the leader expects none.

        History from before UPTODATE is covered by the acknowledgement of NEWLEADER, and observers never count.
        """
        if self._observer or self.phase is not Phase.SERVING or zxid <= self._acked:
            return None
        invariant(zxid <= self._last_queued, "only what was proposed is acknowledged", zxid=zxid)
        self._acked = zxid
        return QuorumPacket(PacketType.ACK, zxid)

    # Discovery and synchronisation

    def _step(self, packet: QuorumPacket, effects: list[Effect]) -> None:
        """One packet before UPTODATE is done."""
        kind = packet.type
        following = STEPS.get((self.phase, kind))
        informs = kind in (PacketType.INFORM, PacketType.INFORMANDACTIVATE)
        if following is None or (informs and not self._observer):
            raise PeerProtocolError(f"packet of type {kind} while {self.phase.value}")
        match kind:
            case PacketType.LEADERINFO:
                self._accept_epoch(packet.zxid >> 32, effects)
            case PacketType.DIFF | PacketType.TRUNC | PacketType.SNAP:
                self._choose(PacketType(kind), packet.zxid, effects)
            case PacketType.PROPOSAL:
                self._queue(packet.zxid, packet.data, effects)
            case PacketType.COMMIT:
                self._commit(packet.zxid, self._committed)
            case PacketType.INFORM:
                self._queue(packet.zxid, packet.data, effects)
                self._commit(packet.zxid, self._committed)
            case PacketType.COMMITANDACTIVATE | PacketType.INFORMANDACTIVATE:
                designated, payload = _activation(packet)
                if informs:
                    self._queue(packet.zxid, payload, effects)
                self._commit(packet.zxid, self._committed)
                # A snapshot may hold it already; what the leader says in NEWLEADER is then as new.
                if packet.zxid > self._floor:
                    effects.append(Activate(_config_of(self._committed[-1][1]), designated))
            case PacketType.NEWLEADER:
                self._take_over(packet, effects)
            case PacketType.UPTODATE:
                self._establish(packet.data, effects)
            case _:
                # The leader pings as soon as its sender runs; an answer before UPTODATE would break its handshake.
                invariant(kind == PacketType.PING, "every legal packet has a branch", type=kind, phase=self.phase)
        self.phase = following

    def _accept_epoch(self, epoch: int, effects: list[Effect]) -> None:
        """Promise to follow no older leader: on disk first, then to the leader (§11.2)."""
        if epoch < self._accepted_epoch:
            raise PeerProtocolError(f"leader of epoch {epoch}, but epoch {self._accepted_epoch} was accepted")
        self.epoch = epoch
        # Who accepted this epoch before may have been counted before, so it says "do not count me".
        current = -1
        if epoch > self._accepted_epoch:
            current = self._current_epoch
            effects.append(SetAcceptedEpoch(epoch))
        effects.append(SendPacket(QuorumPacket(PacketType.ACKEPOCH, self._last_queued, encode_ack_epoch(current))))

    def _choose(self, mode: PacketType, zxid: int, effects: list[Effect]) -> None:
        """How the leader brings us up to date. DIFF changes nothing yet (ZOOKEEPER-2355)."""
        self.sync_mode = mode.name
        self.sync_zxid = zxid
        if mode == PacketType.DIFF:
            return
        if mode == PacketType.TRUNC:
            if zxid > self._last_queued:
                raise PeerProtocolError(f"truncation to {zxid:#x} behind the end of the log {self._last_queued:#x}")
            effects.append(Truncate(zxid))
        else:
            # A snapshot is complete up to its zxid, and may hold some of what follows; that is replayed over it.
            self._floor = zxid
            effects.append(LoadSnapshot(zxid))
        self._last_queued = self._last_committed = zxid

    def _queue(self, zxid: int, payload: bytes | None, effects: list[Effect]) -> None:
        """Remember a proposal, unless a snapshot holds it already.

        A gap would be a hole in the history that nobody notices later (ZOOKEEPER-4925).
        """
        if zxid <= self._floor:
            return
        if not follows(zxid, self._last_queued):
            raise PeerProtocolError(f"proposal {zxid:#x} after {self._last_queued:#x}")
        found, kind = payload_head(payload) if payload is not None else (-1, 0)
        if payload is None or found != zxid:
            raise PeerProtocolError(f"proposal {zxid:#x} carries another transaction")
        if kind == _RECONFIG:
            effects.append(SetLastSeen(_config_of(payload)))
        self._last_queued = zxid
        self._pending.append((zxid, payload))

    def _commit(self, zxid: int, committed: list[tuple[int, bytes]]) -> None:
        """Move every pending proposal up to ``zxid`` into ``committed``; ``zxid`` itself must be among them."""
        if zxid <= self._floor:
            return
        pending = self._pending
        last = self._last_committed
        if zxid > last:
            while pending and pending[0][0] <= zxid:
                record = pending.popleft()
                last = record[0]
                committed.append(record)
        # Skipping would let this replica diverge silently: the role ends and the history is taken over afresh.
        if last != zxid or last == self._last_committed:
            raise PeerProtocolError(f"commit of {zxid:#x}, which is not pending; last is {self._last_committed:#x}")
        self._last_committed = last

    def _take_over(self, packet: QuorumPacket, effects: list[Effect]) -> None:
        """NEWLEADER: history on disk, then the epoch, then the acknowledgement (ZOOKEEPER-3911, -4643, -4646).

        What is not committed yet waits for UPTODATE: logging it now would make a vote of what may be truncated.
        """
        zxid = packet.zxid
        if zxid != self.epoch << 32:
            raise PeerProtocolError(f"NEWLEADER {zxid:#x} in epoch {self.epoch}")
        if self._last_committed < self.sync_zxid:
            raise PeerProtocolError(
                f"{self.sync_mode} announced {self.sync_zxid:#x} but ended at {self._last_committed:#x}"
            )
        if packet.data:
            self._leaders_config = _parse(packet.data)
            effects.append(TakeConfig(self._leaders_config))
        if self._committed:
            self.synced_proposals = len(self._committed)
            effects += [Log(self._committed), Commit(self._committed)]
            self._committed = []
        self._acked = self._last_committed
        effects += [FlushLog(), SetCurrentEpoch(self.epoch), SendPacket(QuorumPacket(PacketType.ACK, zxid))]

    def _establish(self, data: bytes | None, effects: list[Effect]) -> None:
        """UPTODATE: serve, then catch up with what came meanwhile on the normal path (ZOOKEEPER-4394).

        The configuration of NEWLEADER is activated unless the leader says that it is only proposed yet: to take a
        proposal for committed could give two configurations a leader each. ``data`` is the version that is committed;
        ZooKeeper's leaders say nothing.
        """
        self._floor = NO_SNAPSHOT
        config = self._leaders_config
        if data and len(data) != _LONG.size:
            raise PeerProtocolError(f"UPTODATE with {len(data)} bytes")
        if config is not None and (not data or config.version <= _LONG.unpack(data)[0]):
            effects.append(Activate(config))
        effects += [SendPacket(QuorumPacket(PacketType.ACK, self.epoch << 32)), Established(self.epoch)]
        waiting = [*self._committed, *self._pending]
        if waiting:
            effects.append(Log(waiting))
        if self._committed:
            effects.append(Commit(self._committed))
            self._committed = []

    # Broadcast

    def _steady(self, packets: Sequence[QuorumPacket], effects: list[Effect]) -> None:
        """Packets while serving. Proposals go to the log before anything of the batch is committed."""
        log: list[tuple[int, bytes]] = []
        commit: list[tuple[int, bytes]] = []

        def settle() -> None:
            """What was gathered must be done before an effect that clients can see."""
            nonlocal log, commit
            if log:
                effects.append(Log(log))
                log = []
            if commit:
                effects.append(Commit(commit))
                commit = []

        for packet in packets:
            kind = packet.type
            if kind == _PROPOSAL:
                if not self._observer:
                    self._queue(packet.zxid, packet.data, effects)
                    log.append(self._pending[-1])
            elif kind == _COMMIT:
                if not self._observer:
                    self._commit(packet.zxid, commit)
            elif kind == PacketType.INFORM and self._observer:
                self._queue(packet.zxid, packet.data, effects)
                log.append(self._pending[-1])
                self._commit(packet.zxid, commit)
            elif kind == (PacketType.INFORMANDACTIVATE if self._observer else PacketType.COMMITANDACTIVATE):
                designated, payload = _activation(packet)
                if self._observer:
                    self._queue(packet.zxid, payload, effects)
                    log.append(self._pending[-1])
                self._commit(packet.zxid, commit)
                payload = commit.pop()[1]
                settle()
                effects.append(Activate(_config_of(payload), designated, payload))
            elif kind == PacketType.PING:
                effects.append(AnswerPing(packet.zxid, bool(packet.data)))
            elif kind == PacketType.SYNC:
                settle()
                effects.append(SyncDone())
            elif kind == PacketType.REVALIDATE:
                settle()
                effects.append(Revalidated(*decode_revalidate_reply(packet.data or b""), packet.zxid))
            elif kind in KNOWN_TYPES and kind not in (PacketType.UPTODATE, PacketType.COMMITANDACTIVATE):
                raise PeerProtocolError(f"packet of type {kind} while serving")
        settle()


def _activation(packet: QuorumPacket) -> tuple[int, bytes]:
    """Designated leader and, for observers, payload of an ACTIVATE packet."""
    data = packet.data or b""
    if len(data) < _LONG.size:
        raise PeerProtocolError(f"packet of type {packet.type} names no leader")
    return _LONG.unpack_from(data)[0], data[_LONG.size :]


def _config_of(payload: bytes) -> QuorumConfig:
    """The configuration that a transaction proposes; its version is the transaction's zxid."""
    record = decode_txn(payload).record if is_reconfig(payload) else None
    if type(record) is not SetDataTxn:
        raise PeerProtocolError(f"transaction {payload_zxid(payload):#x} is no reconfiguration")
    config = _parse(record.data or b"")
    if config.version != payload_zxid(payload):
        raise PeerProtocolError(f"transaction {payload_zxid(payload):#x} proposes version {config.version:#x}")
    return config


def _parse(text: bytes) -> QuorumConfig:
    try:
        return parse_config(text.decode())
    except (ConfigError, UnicodeDecodeError) as error:
        raise PeerProtocolError(f"the leader's configuration cannot be read: {error}") from None
