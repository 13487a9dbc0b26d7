"""Every packet between leader and learner, at the moment it leaves: its phase, its number, and what disks hold then."""

from collections import deque
from collections.abc import Mapping
from typing import Final
from zlib import adler32

import msgspec

from trioquorum.invariants import invariant
from trioquorum.testing.safety.handing_on import HandingOn
from trioquorum.testing.safety.order import Order
from trioquorum.testing.safety.roles import FEEDS, LEADS, LEARNS, Roles
from trioquorum.testing.safety.sight import COUNTER_MASK
from trioquorum.wire.quorum import PacketType, QuorumPacket, decode_ack_epoch, decode_packets
from trioquorum.wire.txn import payload_zxid
from trioquorum.zab.learner import STEPS, Phase, follows

INTRODUCTIONS: Final = (PacketType.FOLLOWERINFO, PacketType.OBSERVERINFO)
LEARNER_STEPS: Final[Mapping[int, tuple[Phase, ...]]] = {
    PacketType.FOLLOWERINFO: (),
    PacketType.OBSERVERINFO: (),
    PacketType.ACKEPOCH: (Phase.CHOOSING,),
    PacketType.ACK: (Phase.ACKING, Phase.SERVING),
    PacketType.PING: (Phase.SERVING,),
    PacketType.REQUEST: (Phase.SERVING,),
    PacketType.REVALIDATE: (Phase.SERVING,),
}
"""What a learner sends, and how far its leader must have come with it; introductions only open a link."""

LEADER_KINDS: Final = frozenset(kind for _, kind in STEPS)
COMMITS: Final = frozenset(
    (PacketType.COMMIT, PacketType.INFORM, PacketType.COMMITANDACTIVATE, PacketType.INFORMANDACTIVATE)
)
STEADY: Final = (Phase.ACKING, Phase.SERVING)


class Conversation(msgspec.Struct):
    """One link between a learner and its leader; ``phase`` is what the leader's packets have brought about.

    ``fed``: to a follower that hands its history on to observers and stands for the leader here.
    ``queued`` and ``committed`` are the last zxids that the learner was sent, ``pending`` those between them,
    ``floor`` is where its snapshot ends; ``acks`` counts acknowledgements of NEWLEADER.
    """

    learner: int
    leader: int
    observer: bool
    fed: bool
    learner_role: int
    leader_role: int = -1
    phase: Phase = Phase.JOINING
    epoch: int = -1
    learner_zxid: int = -1
    target: int = -1
    floor: int = -1
    queued: int = -1
    committed: int = -1
    acked: int = -1
    acks: int = 0
    promised: bool = False
    pending: deque[int] = msgspec.field(default_factory=deque)


class Links:
    """All links to quorum ports and to observer masters. Each frame is checked in its sender, as it leaves."""

    def __init__(self, roles: Roles, order: Order) -> None:
        self._roles = roles
        self._order = order
        self._handing_on = HandingOn(order)
        self._links: dict[int, Conversation] = {}
        self._following: dict[int, Conversation] = {}
        self._fingerprints: dict[int, int] = {}

    def knows(self, link: int) -> bool:
        """Whether a learner introduced itself on this link."""
        return link in self._links

    def frame(self, link: int, learner: int, leader: int, frame: bytes, *, learner_sends: bool, fed: bool) -> None:
        """A frame leaves on ``link``; ``fed``: to the port of an observer master."""
        talk = self._links.get(link)
        if talk is None:
            talk = self._links[link] = self._begin(learner, leader, decode_packets(frame)[0], learner_sends, fed)
        elif learner_sends:
            self._roles.speaks(learner, talk.learner_role, LEARNS, leader=leader)
            for packet in decode_packets(frame):
                self._learner_says(talk, packet)
        elif talk.phase is Phase.LOADING:
            self._speaks(talk)
            if not frame:
                talk.phase = Phase.SYNCING
        else:
            self._speaks(talk)
            highest = -1
            for packet in decode_packets(frame):
                kind = packet.type
                self._leader_says(talk, packet)
                if kind in COMMITS and packet.zxid > highest:
                    highest = packet.zxid
            if highest > talk.floor:
                self._of(talk).commits(talk.leader, talk.epoch, highest)

    def applied(self, peer: int, zxid: int) -> None:
        """``peer`` has applied everything up to ``zxid``; a follower no more than its leader told it is committed."""
        talk = self._following.get(peer)
        if talk is not None:
            self._check_applied(talk, zxid, talk.committed)

    def took_over(self, peer: int, zxid: int) -> None:
        """``peer`` is through with NEWLEADER and has applied everything up to ``zxid``: what was committed before it,
        whatever its leader has told it since (ZOOKEEPER-1549)."""
        talk = self._following.get(peer)
        if talk is not None:
            self._check_applied(talk, zxid, talk.acked)

    def _check_applied(self, talk: Conversation, zxid: int, committed: int) -> None:
        if talk.learner_role == self._roles.of(talk.learner).number:
            invariant(
                zxid <= max(committed, talk.floor) or not zxid & COUNTER_MASK,
                "a learner applies what is committed",
                learner=talk.learner,
                leader=talk.leader,
                applied=zxid,
                committed=committed,
            )

    def _begin(self, learner: int, leader: int, packet: QuorumPacket, learner_sends: bool, fed: bool) -> Conversation:
        role = self._roles.of(learner)
        invariant(
            learner_sends and packet.type in INTRODUCTIONS and not (fed and packet.type == PacketType.FOLLOWERINFO),
            "packets come in their phase",
            learner=learner,
            leader=leader,
            first=packet.type,
        )
        self._roles.speaks(learner, role.number, LEARNS, leader=leader)
        talk = Conversation(learner, leader, packet.type == PacketType.OBSERVERINFO, fed, role.number)
        if not fed:
            self._following[learner] = talk
        return talk

    def _of(self, talk: Conversation) -> Order | HandingOn:
        """The order of truth that holds for whoever speaks to the learner."""
        return self._handing_on if talk.fed else self._order

    def _speaks(self, talk: Conversation) -> None:
        """The leader sends: in the role in which it began to."""
        if talk.leader_role < 0:
            talk.leader_role = self._roles.of(talk.leader).number
        self._roles.speaks(talk.leader, talk.leader_role, FEEDS if talk.fed else LEADS, learner=talk.learner)

    # What the leader sends

    def _leader_says(self, talk: Conversation, packet: QuorumPacket) -> None:
        kind, zxid = packet.type, packet.zxid
        following = STEPS.get((talk.phase, kind))
        if following is None:
            self._refuse(talk, kind, LEADER_KINDS, talk.leader)
            return
        match kind:
            case PacketType.PROPOSAL:
                self._as_learner(talk, kind, observer=False)
                self._propose(talk, zxid, packet.data or b"")
            case PacketType.COMMIT:
                self._as_learner(talk, kind, observer=False)
                self._commit(talk, zxid)
            case PacketType.INFORM:
                self._as_learner(talk, kind, observer=True)
                self._propose(talk, zxid, packet.data or b"")
                self._commit(talk, zxid)
            case PacketType.COMMITANDACTIVATE:
                self._as_learner(talk, kind, observer=False)
                self._commit(talk, zxid)
            case PacketType.INFORMANDACTIVATE:
                self._as_learner(talk, kind, observer=True)
                self._propose(talk, zxid, (packet.data or b"")[8:])  # behind the designated leader
                self._commit(talk, zxid)
            case PacketType.LEADERINFO:
                talk.epoch = zxid >> 32
                self._of(talk).tells_epoch(talk.leader, talk.epoch)
            case PacketType.DIFF | PacketType.TRUNC | PacketType.SNAP:
                self._synchronise(talk, kind, zxid)
            case PacketType.NEWLEADER:
                self._new_leader(talk, zxid)
            case PacketType.UPTODATE:
                self._of(talk).serves(talk.leader, talk.epoch)
        talk.phase = following

    def _refuse(self, talk: Conversation, kind: int, known: frozenset[int], sender: int) -> None:
        facts = {"sender": sender, "learner": talk.learner, "type": kind, "phase": talk.phase.value}
        invariant(kind in known, "every packet has a branch that handles it", **facts)
        invariant(False, "packets come in their phase", **facts)

    def _as_learner(self, talk: Conversation, kind: int, *, observer: bool) -> None:
        """History comes to everybody as proposals and commits; later, observers are informed instead."""
        invariant(
            talk.observer == observer or (talk.phase is Phase.SYNCING and not observer),
            "observers are informed, followers asked",
            learner=talk.learner,
            type=kind,
            phase=talk.phase.value,
        )

    def _synchronise(self, talk: Conversation, kind: int, zxid: int) -> None:
        self._of(talk).synchronises(talk.leader, talk.epoch)
        self._may_hand_on(talk, zxid)
        talk.target = zxid
        talk.queued = talk.committed = talk.learner_zxid
        if kind == PacketType.DIFF:
            return
        if kind == PacketType.TRUNC:
            invariant(
                zxid <= talk.learner_zxid,
                "a log is cut within itself",
                learner=talk.learner,
                last=talk.learner_zxid,
                to=zxid,
            )
        else:
            talk.floor = zxid
        self._of(talk).takes_back(talk.learner, talk.learner_zxid, zxid)
        talk.queued = talk.committed = zxid

    def _propose(self, talk: Conversation, zxid: int, payload: bytes) -> None:
        if zxid <= talk.floor:
            return
        invariant(
            follows(zxid, talk.queued),
            "a learner is sent the next proposal",
            learner=talk.learner,
            zxid=zxid,
            last=talk.queued,
        )
        fingerprint = adler32(payload)
        invariant(
            payload_zxid(payload) == zxid and self._fingerprints.setdefault(zxid, fingerprint) == fingerprint,
            "one zxid, one transaction",
            leader=talk.leader,
            zxid=zxid,
        )
        if zxid >> 32 == talk.epoch:
            self._of(talk).proposes(talk.leader, zxid)
        talk.queued = zxid
        talk.pending.append(zxid)

    def _commit(self, talk: Conversation, zxid: int) -> None:
        if zxid <= talk.floor:
            return
        pending, last = talk.pending, -1
        while pending and pending[0] <= zxid:
            last = pending.popleft()
        invariant(
            last == zxid,
            "a commit is of the next proposals",
            learner=talk.learner,
            zxid=zxid,
            committed=talk.committed,
            queued=talk.queued,
        )
        self._may_hand_on(talk, zxid)
        talk.committed = zxid

    def _may_hand_on(self, talk: Conversation, zxid: int) -> None:
        """A master hands on what its leader has told it is committed, no more."""
        if talk.fed and zxid & COUNTER_MASK:
            own = self._following[talk.leader]
            invariant(
                own.epoch == talk.epoch and zxid <= max(own.committed, own.floor),
                "observers are told what is committed",
                learner=talk.learner,
                master=talk.leader,
                zxid=zxid,
                epoch=talk.epoch,
                followed=own.epoch,
                committed=own.committed,
            )

    def _new_leader(self, talk: Conversation, zxid: int) -> None:
        invariant(
            zxid == talk.epoch << 32 and (talk.committed >= talk.target or not talk.target & COUNTER_MASK),
            "NEWLEADER comes behind the history",
            learner=talk.learner,
            zxid=zxid,
            epoch=talk.epoch,
            target=talk.target,
            committed=talk.committed,
        )
        talk.acked = talk.committed
        self._of(talk).begins_epoch(talk.leader, talk.epoch)

    # What the learner sends

    def _learner_says(self, talk: Conversation, packet: QuorumPacket) -> None:
        kind, zxid = packet.type, packet.zxid
        if talk.phase not in LEARNER_STEPS.get(kind, ()):
            self._refuse(talk, kind, frozenset(LEARNER_STEPS), talk.learner)
        elif kind == PacketType.ACKEPOCH:
            self._promise(talk, zxid, decode_ack_epoch(packet.data or b""))
        elif kind == PacketType.ACK:
            if zxid & COUNTER_MASK:
                self._ack(talk, zxid)
            else:
                self._ack_new_leader(talk, zxid)

    def _promise(self, talk: Conversation, zxid: int, current: int) -> None:
        invariant(not talk.promised, "packets come in their phase", learner=talk.learner, type="second ACKEPOCH")
        talk.promised = True
        talk.learner_zxid = zxid
        counts = current != -1 and zxid != -1
        self._of(talk).promises(talk.learner, talk.leader, talk.epoch, zxid, counts=counts)

    def _ack_new_leader(self, talk: Conversation, zxid: int) -> None:
        talk.acks += 1
        invariant(
            zxid == talk.epoch << 32 and (talk.acks == 1 or (talk.acks == 2 and talk.phase is Phase.SERVING)),
            "acknowledgements are of what was sent",
            learner=talk.learner,
            zxid=zxid,
            epoch=talk.epoch,
            times=talk.acks,
        )
        # Its history ends where NEWLEADER found it: what was committed later is acknowledged by its own zxid.
        self._of(talk).takes_over(talk.learner, talk.leader, talk.epoch, talk.acked if talk.acks == 1 else -1)

    def _ack(self, talk: Conversation, zxid: int) -> None:
        invariant(not talk.observer, "observers acknowledge no proposal", learner=talk.learner, zxid=zxid)
        invariant(
            talk.acks == 2 and talk.acked < zxid <= talk.queued and zxid in self._fingerprints,
            "acknowledgements are of what was sent",
            learner=talk.learner,
            zxid=zxid,
            acked=talk.acked,
            sent=talk.queued,
        )
        talk.acked = zxid
        self._of(talk).acknowledges(talk.learner, zxid)
