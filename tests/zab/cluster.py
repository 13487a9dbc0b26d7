"""The machines of whole ensembles joined by lossless FIFO links, with crashes and broken links between any two steps.

A peer's history stands for its snapshot and log in one. What a crash may take is what was logged but not flushed. The
checks are the invariants of quorum-protocol §26; the elections are simplified to what they guarantee.
"""

from collections import deque
from random import Random

from tests.zab.kit import config, payload
from trioquorum.errors import PeerProtocolError
from trioquorum.wire.quorum import PacketType, QuorumPacket, decode_ack_epoch
from trioquorum.wire.txn import payload_zxid
from trioquorum.zab import learner_effects as effects
from trioquorum.zab.handshake import EpochAgreement
from trioquorum.zab.leader import Leader
from trioquorum.zab.learner import Learner, Phase
from trioquorum.zab.learner_effects import Effect
from trioquorum.zab.sync_plan import DiskRecords, SyncView, plan_sync, wants_disk

MEMORY_LOG = 3
ACTIONS = ("effects", "receive", "pump", "flush", "propose", "elect", "join", "crash", "restart")
CALM = (60, 60, 80, 20, 10, 0.4, 1.2, 0.5, 3)
ROUGH = (60, 60, 80, 30, 24, 3, 6, 2, 8)


class Peer:
    """What outlives roles."""

    def __init__(self, sid: int) -> None:
        self.sid = sid
        self.accepted = self.current = 0
        self.history: list[bytes] = []
        self.unflushed: list[bytes] = []
        self.begun = 0  # (epoch, 0) of a snapshot, or of the epoch that this peer led
        self.up = True
        self.role: Following | Leading | None = None

    @property
    def last_zxid(self) -> int:
        return max(self.begun, payload_zxid(self.history[-1]) if self.history else 0)

    @property
    def logged_zxid(self) -> int:
        return max(self.last_zxid, payload_zxid(self.unflushed[-1]) if self.unflushed else 0)

    def flush(self) -> None:
        self.history += self.unflushed
        self.unflushed = []

    def leave(self) -> None:
        """End the role; the log writer is drained first."""
        self.flush()
        self.role = None


class Link:
    """Both directions of a learner's link."""

    def __init__(self) -> None:
        self.down: deque[list[QuorumPacket]] = deque()
        self.up: deque[list[QuorumPacket]] = deque()
        self.snapshot: list[bytes] = []


class Following:
    """A learner and the effects that it has not carried out."""

    def __init__(self, peer: Peer, leader: "Leading", *, observer: bool) -> None:
        self.peer = peer
        self.link = Link()
        self.leader = leader
        self.machine = Learner(
            peer.sid,
            observer=observer,
            accepted_epoch=peer.accepted,
            current_epoch=peer.current,
            last_zxid=peer.last_zxid,
            config_version=0,
        )
        self.todo: deque[Effect] = deque()
        self.applied = len(peer.history)  # start-up and role ends apply all that is logged
        self.link.up.append([self.machine.first_packet()])

    def receive(self) -> None:
        if not self.todo and self.link.down:
            self.todo.extend(self.machine.receive_batch(self.link.down.popleft()))

    def step(self, world: "World") -> None:
        """Carry out one effect."""
        if not self.todo:
            return
        peer = self.peer
        match self.todo.popleft():
            case effects.SetAcceptedEpoch(epoch):
                assert epoch > peer.accepted
                peer.accepted = epoch
            case effects.SetCurrentEpoch(epoch):
                assert peer.accepted >= epoch >= peer.current
                assert not peer.unflushed
                peer.current = epoch
            case effects.SendPacket(packet):
                self.link.up.append([packet])
            case effects.Truncate(zxid):
                peer.history = [record for record in peer.history if payload_zxid(record) <= zxid]
                peer.begun = min(peer.begun, zxid)
                self.applied = len(peer.history)
            case effects.LoadSnapshot(zxid):
                peer.history, peer.begun = list(self.link.snapshot), zxid
                self.applied = len(peer.history)
                self.machine.snapshot_loaded()
            case effects.Log(records):
                assert records[0][0] > peer.logged_zxid
                peer.unflushed += [payload for _, payload in records]
            case effects.FlushLog():
                peer.flush()
            case effects.Commit(records):
                self._apply([payload for _, payload in records], world)
            case effects.Established():
                world.check_delivered(peer, self.applied)
            case other:
                assert isinstance(other, effects.SyncDone)

    def _apply(self, payloads: list[bytes], world: "World") -> None:
        peer = self.peer
        logged = peer.history + peer.unflushed
        assert logged[self.applied : self.applied + len(payloads)] == payloads, "applied in log order"
        self.applied += len(payloads)
        if self.machine.serving:
            world.check_delivered(peer, self.applied)

    def flushed(self) -> None:
        """The log writer is through; what was logged is acknowledged."""
        self.peer.flush()
        if ack := self.machine.acknowledge(self.peer.last_zxid):
            self.link.up.append([ack])


class Handler:
    """The leader's side of one link, as far as it got."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.sid = -1
        self.participant = False
        self.state = "info"
        self.peer_zxid = 0


class Leading:
    """A leader from election to its end."""

    def __init__(self, peer: Peer, world: "World") -> None:
        self.peer = peer
        self.world = world
        self.handlers: list[Handler] = []
        self.agreement = EpochAgreement(peer.sid, world.config, peer.accepted)
        self.agreement.set_leader_summary(peer.current, peer.last_zxid)
        self.machine: Leader | None = None
        self.epoch = -1
        self.established = False
        self.applied = len(peer.history)
        self._propose_epoch(peer.sid, peer.accepted)

    def _propose_epoch(self, sid: int, accepted: int) -> None:
        peer = self.peer
        epoch = self.agreement.propose_epoch(sid, accepted)
        if epoch is not None and self.epoch == -1:
            assert epoch > peer.accepted
            self.epoch = peer.accepted = epoch
            self._ack_epoch(peer.sid, peer.current, peer.last_zxid)

    def _ack_epoch(self, sid: int, current: int, zxid: int) -> None:
        if self.agreement.ack_epoch(sid, current, zxid) and self.machine is None:
            self.peer.current = self.epoch
            self.machine = Leader(self.peer.sid, self.world.config, epoch=self.epoch)
            self._ack_new_leader(self.peer.sid, self.epoch << 32)

    def _ack_new_leader(self, sid: int, zxid: int) -> None:
        if self.agreement.ack_new_leader(sid, zxid) and not self.established:
            self.established = True
            self.world.check_established(self)
            self.peer.begun = self.epoch << 32

    def pump(self, handler: Handler, *, memory: int, disk: int) -> None:
        """Take one step with a learner, if there is one. ``memory`` and ``disk`` bound what the sync can draw on."""
        if handler.state == "info" and handler.link.up:
            (info,) = handler.link.up.popleft()
            handler.sid, handler.participant = self._who(info)
            handler.state = "epoch"
            self._propose_epoch(handler.sid, info.zxid >> 32)
        elif handler.state == "epoch" and self.epoch >= 0:
            handler.link.down.append([QuorumPacket(PacketType.LEADERINFO, self.epoch << 32)])
            handler.state = "ackepoch"
        elif handler.state == "ackepoch" and handler.link.up:
            (ack,) = handler.link.up.popleft()
            assert ack.type == PacketType.ACKEPOCH
            handler.peer_zxid = ack.zxid
            self._ack_epoch(handler.sid, decode_ack_epoch(ack.data or b""), ack.zxid)
            handler.state = "sync"
        elif handler.state == "sync" and self.machine is not None:
            self._sync(handler, self.machine, memory, disk)
            handler.state = "ack"
        elif handler.state == "ack" and handler.link.up:
            (ack,) = handler.link.up.popleft()
            assert ack.type == PacketType.ACK
            self._ack_new_leader(handler.sid, ack.zxid)
            handler.state = "formed"
        elif handler.state == "formed" and self.established:
            handler.link.down.append([QuorumPacket(PacketType.UPTODATE, -1)])
            handler.state = "serving"
        elif handler.state == "serving" and handler.link.up:
            for packet in handler.link.up.popleft():
                self.ack(handler.sid, packet.zxid)

    def _who(self, info: QuorumPacket) -> tuple[int, bool]:
        sid = int.from_bytes((info.data or b"")[:8], "big")
        # What is still under way on an older link may acknowledge what the new sync is about to cut: it must not count.
        self.handlers = [older for older in self.handlers if older.sid != sid]
        self.world.hang_up(self, sid)
        return sid, info.type == PacketType.FOLLOWERINFO

    def _sync(self, handler: Handler, machine: Leader, memory: int, disk: int) -> None:
        applied = [(payload_zxid(record), record) for record in self._records()[: self.applied]]
        last = max(self.peer.begun, applied[-1][0] if applied else 0)
        view = SyncView(last_processed=last, committed=applied[max(0, len(applied) - memory) :])
        wanted = wants_disk(handler.peer_zxid, view)
        plan = plan_sync(handler.peer_zxid, view, DiskRecords(applied[-disk:]) if wanted and disk else None)
        packets = [QuorumPacket(PacketType[plan.mode], plan.zxid)]
        if plan.mode == "SNAP":
            handler.link.snapshot = [record for _, record in applied]
            handler.link.down.append(packets)
            packets = []
        for zxid, record in plan.proposals:
            packets += [QuorumPacket(PacketType.PROPOSAL, zxid, record), QuorumPacket(PacketType.COMMIT, zxid)]
        outstanding = machine.start_forwarding(handler.sid, plan.current, participant=handler.participant)
        packets += [QuorumPacket(PacketType.PROPOSAL, proposal.zxid, proposal.payload) for proposal in outstanding]
        handler.link.down.append([*packets, QuorumPacket(PacketType.NEWLEADER, self.epoch << 32)])
        self.handlers.append(handler)

    def _records(self) -> list[bytes]:
        return self.peer.history + self.peer.unflushed

    def propose(self, count: int) -> None:
        assert self.machine is not None
        packets = []
        for _ in range(count):
            zxid = self.machine.last_proposed + 1
            record = payload(zxid, self.world.next_value())
            self.machine.propose(zxid, record, None)
            self.peer.unflushed.append(record)
            packets.append(QuorumPacket(PacketType.PROPOSAL, zxid, record))
        self._forward(packets, participants=True)

    def ack(self, sid: int, zxid: int) -> None:
        assert self.machine is not None
        committed = self.machine.ack(sid, zxid)
        if not committed:
            return
        informs = []
        for proposal in committed:
            assert self._records()[self.applied] == proposal.payload
            self.applied += 1
            informs.append(QuorumPacket(PacketType.INFORM, proposal.zxid, proposal.payload))
        self.world.check_committed(self)
        self._forward([QuorumPacket(PacketType.COMMIT, committed[-1].zxid)], participants=True)
        self._forward(informs, participants=False)

    def _forward(self, packets: list[QuorumPacket], *, participants: bool) -> None:
        for handler in self.handlers:
            if handler.participant is participants:
                handler.link.down.append(list(packets))

    def flushed(self) -> None:
        self.peer.flush()
        if self.established and self.peer.history:
            self.ack(self.peer.sid, payload_zxid(self.peer.history[-1]))


class World:
    """The ensemble, its faults and its invariants. Every choice comes from ``rng``."""

    def __init__(self, voters: int, observers: int, rng: Random, *, rough: bool = False) -> None:
        self.rng = rng
        self._weights = ROUGH if rough else CALM
        self.peers = [Peer(sid) for sid in range(1, voters + observers + 1)]
        self.config = config(*range(1, voters + 1), observers=range(voters + 1, voters + observers + 1))
        self.committed: list[bytes] = []
        self.leaders: dict[int, int] = {}
        self._leading: list[Leading] = []
        self._handlers: list[tuple[Leading, Handler]] = []
        self._value = 0

    def next_value(self) -> int:
        self._value += 1
        return self._value

    # Invariants

    def check_established(self, leading: Leading) -> None:
        """Leadership: one leader in an epoch. What was ever committed is in its history; now all of that is."""
        assert leading.epoch not in self.leaders, "two leaders of one epoch"
        self.leaders[leading.epoch] = leading.peer.sid
        history = leading._records()[: leading.applied]
        if leading.epoch == max(self.leaders):
            assert history[: len(self.committed)] == self.committed, "a committed transaction is lost"
        self.check_history(history)

    def check_committed(self, leading: Leading) -> None:
        self.check_history(leading._records()[: leading.applied])

    def check_history(self, history: list[bytes]) -> None:
        """PrefixConsistency: of two committed histories one begins with the other."""
        common = min(len(history), len(self.committed))
        assert history[:common] == self.committed[:common], "committed histories differ"
        self.committed += history[common:]

    def check_delivered(self, peer: Peer, applied: int) -> None:
        """Integrity, TotalOrder: what clients of this peer see was committed, in this order."""
        delivered = (peer.history + peer.unflushed)[:applied]
        assert delivered == self.committed[:applied], "delivered what is not committed"

    # Faults and progress

    def elect(self, among: list[Peer]) -> None:
        """The peers among a quorum agree on the best of them and begin their roles."""
        voters = [peer for peer in among if peer.sid in self.config.voters]
        if not self.config.contains_quorum(peer.sid for peer in voters):
            return
        for peer in among:
            self.stop(peer)
        best = max(voters, key=lambda peer: (peer.current, peer.last_zxid, peer.sid))
        leading = Leading(best, self)
        best.role = leading
        self._leading.append(leading)
        for peer in among:
            if peer is not best:
                self.join(peer, leading)

    def join(self, peer: Peer, leading: Leading) -> None:
        self.stop(peer)
        following = Following(peer, leading, observer=peer.sid in self.config.observers)
        peer.role = following
        self._handlers.append((leading, Handler(following.link)))

    def hang_up(self, leading: Leading, sid: int) -> None:
        """The leader drops every link of ``sid`` that it knew before."""
        self._handlers = [entry for entry in self._handlers if entry[0] is not leading or entry[1].sid != sid]

    def stop(self, peer: Peer) -> None:
        if isinstance(peer.role, Leading):
            self._leading.remove(peer.role)
            self._handlers = [(leading, handler) for leading, handler in self._handlers if leading is not peer.role]
        peer.leave()

    def crash(self, peer: Peer) -> None:
        """Everything in memory is gone, and an unknown part of what was not flushed."""
        peer.unflushed = peer.unflushed[: self.rng.randint(0, len(peer.unflushed))]
        if isinstance(peer.role, Leading):
            peer.begun = min(peer.begun, payload_zxid(peer.history[-1]) if peer.history else 0)
        self.stop(peer)
        peer.up = False

    def act(self) -> None:
        """One random thing happens."""
        rng = self.rng
        peer = rng.choice(self.peers)
        kind = rng.choices(ACTIONS, self._weights)[0]
        role = peer.role
        match kind:
            case "effects" | "receive" if isinstance(role, Following):
                self._follow(role, kind)
            case "pump" if self._handlers:
                self._pump(*rng.choice(self._handlers))
            case "flush" if isinstance(role, Following | Leading):
                role.flushed()
            case "propose":
                for leading in self._leading:
                    if leading.established:
                        leading.propose(rng.randint(1, 3))
            case "elect":
                up = [peer for peer in self.peers if peer.up]
                self.elect(rng.sample(up, rng.randint(0, len(up))))
            case "join" if self._leading and peer.up and not isinstance(role, Leading):
                self.join(peer, rng.choice(self._leading))
            case "crash" if peer.up:
                self.crash(peer)
            case "restart":
                peer.up = True

    def _follow(self, role: Following, kind: str) -> None:
        try:
            if kind == "receive":
                role.receive()
            else:
                for _ in range(self.rng.randint(1, 4)):
                    role.step(self)
        except PeerProtocolError:
            # Of all that a learner can refuse only this may happen: its leader's epoch is older than what it accepted.
            assert role.machine.phase is Phase.JOINING
            self.stop(role.peer)

    def _pump(self, leading: Leading, handler: Handler) -> None:
        try:
            leading.pump(handler, memory=self.rng.randint(0, MEMORY_LOG), disk=self.rng.choice((0, 5, 100)))
        except PeerProtocolError:
            assert handler.state == "ackepoch", "only a learner that knows more than the leader is turned away"
            self._handlers.remove((leading, handler))

    def settle(self) -> None:
        """No more faults: everybody follows one leader until nothing is left to do."""
        for peer in self.peers:
            self.crash(peer)
            peer.up = True
        # A peer that accepted a later epoch from a leader that failed cannot follow a quorum that agreed without it.
        # It takes part again when the epochs have caught up with it.
        while any(peer.role is None for peer in self.peers):
            self.elect(self.peers)
            self._run_dry()
        (leading,) = self._leading
        assert leading.established
        leading.propose(2)
        self._run_dry()
        assert leading.machine is not None
        assert not leading.machine.outstanding
        for peer in self.peers:
            assert peer.history == self.committed

    def _run_dry(self) -> None:
        for _ in range(60):
            for leading, handler in list(self._handlers):
                self._pump(leading, handler)
            for peer in self.peers:
                role = peer.role
                if isinstance(role, Following):
                    self._follow(role, "receive")
                    while role.todo:
                        self._follow(role, "effects")
                if isinstance(role, Following | Leading):
                    role.flushed()
