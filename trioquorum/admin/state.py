"""What is known of the peer at this moment, gathered from its events, its membership and its database."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from trioquorum import events as kinds
from trioquorum.admin.feed import (
    FEED_VERSION,
    NOBODY,
    LearnerInfo,
    LinkInfo,
    MemberInfo,
    Snapshot,
    TaskInfo,
    VoteInfo,
)
from trioquorum.compiled import BUILD
from trioquorum.config import PeerSpec, ServerConfig
from trioquorum.events import Event
from trioquorum.peer.members import Members
from trioquorum.storage.database import Database
from trioquorum.zab.quorum import Member, QuorumConfig

LINKS_MAX: Final = 2048
"""Links that are remembered: as many as an ensemble can have, with room."""

COUNT_S: Final = 1.0
COUNT_SHARE: Final = 200
"""Watches are counted by walking over them: at most so often, and so that it takes no more than 1/200 of the time."""


class PeerState:
    """The peer as its events tell. ``read`` is the reader to subscribe, which is cheap and never raises.

    ``members`` and ``database`` are handed over once they are loaded; before, and in what needs them, all is 0 or none.
    """

    def __init__(self, config: ServerConfig, clock: Callable[[], float], wall_ms: Callable[[], int]) -> None:
        self.members: Members | None = None
        self.database: Database | None = None
        self.role = "starting"
        self.phase = ""
        self.serving = False
        self.reason = ""
        self.since_wall_ms = wall_ms()
        self.leader = self.master = NOBODY
        self.round = 0
        self.vote: VoteInfo | None = None
        self._config = config
        self._clock = clock
        self._wall_ms = wall_ms
        self._epoch = 0
        self._links: dict[tuple[str, int], LinkInfo] = {}
        self._learners: dict[int, LearnerInfo] = {}
        self._watches = 0
        self._count_at = -1.0

    def read(self, event: Event) -> None:
        """Take in one event."""
        take = _READERS.get(type(event))
        if take is not None:
            take(self, event)

    # What events say

    def _state_changed(self, event: kinds.StateChanged) -> None:
        self.role, self.reason, self.since_wall_ms = event.new, event.reason, self._wall_ms()
        self.serving, self.phase = event.new == "standalone", ""
        self._learners.clear()
        if event.new == "looking":
            self.leader = self.master = NOBODY
            self.phase = "election"

    def _phase_changed(self, event: kinds.PhaseChanged) -> None:
        self.phase, self._epoch = event.phase, event.epoch

    def _voted(self, event: kinds.RoundStarted | kinds.VoteChanged) -> None:
        self.round = event.round
        self.vote = VoteInfo(round=event.round, leader=event.leader, zxid=event.zxid, peer_epoch=event.peer_epoch)

    def _elected(self, event: kinds.Elected) -> None:
        self.leader = event.leader

    def _established(self, event: kinds.Established) -> None:
        self.serving, self._epoch, self.leader = True, event.epoch, event.leader
        self.master = NOBODY if event.role == "leader" else event.leader if event.master == NOBODY else event.master

    def _link_up(self, event: kinds.LinkUp) -> None:
        if len(self._links) < LINKS_MAX:
            self._links[event.kind, event.peer] = LinkInfo(kind=event.kind, peer=event.peer, address=event.address)

    def _link_down(self, event: kinds.LinkDown) -> None:
        self._links.pop((event.kind, event.peer), None)

    def _syncing(self, event: kinds.LearnerSyncing) -> None:
        self._learners[event.learner] = LearnerInfo(id=event.learner, observer=False, mode=event.mode, synced=False)

    def _synced(self, event: kinds.LearnerSynced) -> None:
        known = self._learners.get(event.learner)
        mode = "" if known is None else known.mode
        self._learners[event.learner] = LearnerInfo(id=event.learner, observer=event.observer, mode=mode, synced=True)

    def _left(self, event: kinds.LearnerLeft) -> None:
        self._learners.pop(event.learner, None)

    def _stopped(self, event: kinds.PeerStopped) -> None:
        del event
        self.role, self.serving, self.phase = "stopped", False, ""

    # What can be asked

    @property
    def zxid(self) -> int:
        """The last transaction that is applied."""
        return 0 if self.database is None else self.database.last_zxid

    @property
    def epoch(self) -> int:
        """The established epoch, or the one last heard of."""
        return max(self._epoch, self.zxid >> 32)

    @property
    def sessions(self) -> int:
        """Sessions that all peers know of."""
        return 0 if self.database is None else len(self.database.tree.sessions)

    @property
    def znodes(self) -> int:
        """Nodes of the tree, ZooKeeper's own included."""
        return 0 if self.database is None else len(self.database.tree.nodes)

    @property
    def data_bytes(self) -> int:
        """What all paths and data come to."""
        return 0 if self.database is None else self.database.tree.data_bytes

    def watches(self) -> int:
        """How many watches there are, or were when they were counted last."""
        began = self._clock()
        if self.database is not None and began >= self._count_at:
            tables = self.database.tree.watches
            self._watches = tables.data.watches() + tables.child.watches()
            took = self._clock() - began
            self._count_at = began + max(COUNT_S, COUNT_SHARE * took)
        return self._watches

    def member_infos(self) -> list[MemberInfo]:
        """The configuration in force; before it is loaded, that of the file."""
        members = self._configured().members if self.members is None else self.members.committed.members
        return members_told(members.values(), self._config.peers)

    def _configured(self) -> QuorumConfig:
        return self._config.quorum_config()

    def snapshot(
        self,
        *,
        mono_us: int,
        started_wall_ms: int,
        seqs: tuple[int, int],
        dropped: int,
        tasks: TaskInfo | None,
        controls: bool = False,
    ) -> Snapshot:
        """All of it; ``seqs`` are the oldest event that is kept and the next one."""
        config = self._configured() if self.members is None else self.members.committed
        pending = self.members is not None and self.members.pending
        return Snapshot(
            feed=FEED_VERSION,
            server=BUILD,
            peer=self._config.my_id,
            wall_ms=self._wall_ms(),
            mono_us=mono_us,
            started_wall_ms=started_wall_ms,
            role=self.role,
            phase=self.phase,
            serving=self.serving,
            since_wall_ms=self.since_wall_ms,
            reason=self.reason,
            leader=self.leader,
            master=self.master,
            epoch=self.epoch,
            zxid=self.zxid,
            round=self.round,
            vote=self.vote,
            members=self.member_infos(),
            config_version=config.version,
            pending_version=self.members.last_seen.version if pending and self.members is not None else None,
            links=list(self._links.values()),
            learners=list(self._learners.values()),
            sessions=self.sessions,
            watches=self.watches(),
            znodes=self.znodes,
            data_bytes=self.data_bytes,
            tasks=tasks,
            oldest_seq=seqs[0],
            next_seq=seqs[1],
            dropped=dropped,
            controls=controls,
        )


def members_told(members: Iterable[Member], specs: tuple[PeerSpec, ...]) -> list[MemberInfo]:
    """Members as the feed tells them; where their admin ports are is only in the file, ``specs``."""
    admins = {spec.id: spec.admin for spec in specs}

    def told(member: Member) -> MemberInfo:
        return MemberInfo(
            id=member.id,
            role=member.role,
            weight=member.weight,
            group=member.group,
            quorum=member.quorum,
            election=member.election,
            client=member.client,
            admin=admins.get(member.id),
        )

    return [told(member) for member in members]


_READERS: Final[dict[type[Event], Callable[[PeerState, Any], None]]] = {
    kinds.StateChanged: PeerState._state_changed,
    kinds.PhaseChanged: PeerState._phase_changed,
    kinds.RoundStarted: PeerState._voted,
    kinds.VoteChanged: PeerState._voted,
    kinds.Elected: PeerState._elected,
    kinds.Established: PeerState._established,
    kinds.LinkUp: PeerState._link_up,
    kinds.LinkDown: PeerState._link_down,
    kinds.LearnerSyncing: PeerState._syncing,
    kinds.LearnerSynced: PeerState._synced,
    kinds.LearnerLeft: PeerState._left,
    kinds.PeerStopped: PeerState._stopped,
}
