"""A checker, with peers that are nothing but what a test says of them: packets, events, disks."""

from trioquorum.events import Established, Event, PeerStarted, PhaseChanged, Proposed, StateChanged
from trioquorum.storage.epochs import ACCEPTED
from trioquorum.testing import Safety
from trioquorum.testing.network import OBSERVER_MASTER_PORT, QUORUM_PORT
from trioquorum.wire.ops import Op
from trioquorum.wire.quorum import PacketType as P, QuorumPacket, encode_ack_epoch, encode_packets
from trioquorum.wire.txn import ErrorTxn, Txn, TxnHeader
from trioquorum.zab.quorum import Member, QuorumConfig

LEADER, FOLLOWER, LATE, OBSERVER = 1, 2, 3, 4
EPOCH = 5
START = EPOCH << 32


def payload(zxid: int, session: int = 1) -> bytes:
    return Txn(TxnHeader(session, 1, zxid, 1, Op.ERROR), ErrorTxn(-1)).encode()


class Disk:
    """As far as checkers look."""

    def __init__(self) -> None:
        self.logged = 0
        self.accepted = EPOCH - 1
        self.current = EPOCH - 1
        self.noted = 0

    def logged_zxid(self) -> int:
        return self.logged

    def epoch(self, name: str) -> int | None:
        return self.accepted if name == ACCEPTED else self.current

    def membership(self) -> int:
        return self.noted


class Peer:
    may_lead_alone = False

    def __init__(self, configs: tuple[QuorumConfig, ...]) -> None:
        self.disk = Disk()
        self.configs = configs

    @property
    def configs(self) -> tuple[QuorumConfig, ...]:
        return self._configs

    @configs.setter
    def configs(self, configs: tuple[QuorumConfig, ...]) -> None:
        """Known, and noted on disk."""
        self._configs = configs
        self.disk.noted = configs[-1].version


class Stage:
    """Three voters and an observer; ``LEADER`` was elected. ``link`` is the number of each learner's link.

    ``master`` is whom each learner talks to.
    """

    def __init__(self) -> None:
        members = [
            Member(sid, "memory://x", "memory://x", role="observer" if sid == OBSERVER else "participant")
            for sid in (LEADER, FOLLOWER, LATE, OBSERVER)
        ]
        self.peers = {member.id: Peer((QuorumConfig(members),)) for member in members}
        self.link = {sid: sid for sid in self.peers}
        self.master = dict.fromkeys(self.peers, LEADER)
        self.safety = Safety(self.peers)
        for sid in self.peers:
            self.tell(sid, PeerStarted(peer=sid, last_zxid=0, accepted_epoch=EPOCH - 1, current_epoch=EPOCH - 1))
            state = {LEADER: "leading", OBSERVER: "observing"}.get(sid, "following")
            self.tell(sid, StateChanged(old="looking", new=state, reason=""))

    def disk(self, sid: int) -> Disk:
        return self.peers[sid].disk

    def tell(self, sid: int, event: Event) -> None:
        self.safety.check(sid, None, event)

    def say(self, sid: int, kind: int, zxid: int = 0, data: bytes | None = None) -> None:
        """A learner sends."""
        self._leave(sid, encode_packets([QuorumPacket(kind, zxid, data)]), learner_sends=True)

    def hear(self, sid: int, kind: int, zxid: int = 0, data: bytes | None = None) -> None:
        """Its master sends to a learner."""
        self._leave(sid, encode_packets([QuorumPacket(kind, zxid, data)]), learner_sends=False)

    def _leave(self, sid: int, frame: bytes, *, learner_sends: bool) -> None:
        master = self.master[sid]
        port = QUORUM_PORT if master == LEADER else OBSERVER_MASTER_PORT
        self.safety.frame(sid, master, port, self.link[sid], frame, dialler_sends=learner_sends)

    # Steps of a healthy term

    def meet(self, sid: int) -> None:
        self.say(sid, P.OBSERVERINFO if sid == OBSERVER else P.FOLLOWERINFO)
        self.disk(LEADER).accepted = EPOCH
        self.hear(sid, P.LEADERINFO, START)

    def promise(self, sid: int, zxid: int = 0, current: int = EPOCH - 1) -> None:
        self.disk(sid).accepted = EPOCH
        self.say(sid, P.ACKEPOCH, zxid, encode_ack_epoch(current))

    def take_over(self, sid: int) -> None:
        self.disk(LEADER).current = EPOCH
        self.hear(sid, P.DIFF, 0)
        self.hear(sid, P.NEWLEADER, START)
        self.disk(sid).current = EPOCH
        self.say(sid, P.ACK, START)

    def establish(self) -> None:
        self.tell(LEADER, PhaseChanged(phase="broadcast", epoch=EPOCH))
        self.tell(LEADER, Established(role="leader", leader=LEADER, epoch=EPOCH, zxid=START))

    def serve(self, sid: int) -> None:
        self.hear(sid, P.UPTODATE, -1)
        self.say(sid, P.ACK, START)

    def join(self, *sids: int) -> None:
        """A term from discovery to broadcast."""
        for step in (self.meet, self.promise, self.take_over):
            for sid in sids:
                step(sid)
        self.establish()
        for sid in sids:
            self.serve(sid)

    def propose(self, *counters: int, to: tuple[int, ...] = (FOLLOWER,)) -> None:
        self.tell(LEADER, Proposed(first_zxid=START | counters[0], last_zxid=START | counters[-1]))
        for counter in counters:
            for sid in to:
                self.hear(sid, P.PROPOSAL, START | counter, payload(START | counter))
