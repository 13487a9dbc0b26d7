"""The one stream of typed facts about a peer.

Log lines, metrics, the live page, a simulator's trace and tests are readers of this stream; the code that finds a
fact hands it to ``Events.emit`` and never formats text.
"""

from collections.abc import Callable
from typing import ClassVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", gc=False):
    """One fact. ``level`` is how loud a log line of it is."""

    level: ClassVar[str] = "info"


class PeerStarted(Event, frozen=True, tag="peer_started"):
    """A peer runs with this data."""

    peer: int
    last_zxid: int
    accepted_epoch: int
    current_epoch: int


class PeerStopped(Event, frozen=True, tag="peer_stopped"):
    """Everything of the peer ended in order."""

    peer: int


class StateChanged(Event, frozen=True, tag="state_changed"):
    """The peer's role changed: looking, following, leading, observing."""

    old: str
    new: str
    reason: str


class PhaseChanged(Event, frozen=True, tag="phase_changed"):
    """ZAB phase inside a role: election, discovery, synchronization, broadcast."""

    phase: str
    epoch: int


class RoundStarted(Event, frozen=True, tag="round_started"):
    """A new election round (logical clock)."""

    round: int
    leader: int
    zxid: int
    peer_epoch: int


class VoteChanged(Event, frozen=True, tag="vote_changed"):
    """We now vote for ``leader`` because ``because`` (a peer's vote was better, its round newer)."""

    round: int
    leader: int
    zxid: int
    peer_epoch: int
    because: str


class VoteHeard(Event, frozen=True, tag="vote_heard"):
    """A notification and what was done with it: counted, or ignored and why."""

    level: ClassVar[str] = "debug"
    sender: int
    state: str
    round: int
    leader: int
    zxid: int
    peer_epoch: int
    outcome: str


class Elected(Event, frozen=True, tag="elected"):
    """The election ended here with this leader."""

    leader: int
    round: int
    voters: tuple[int, ...]
    duration_ms: int


class LinkUp(Event, frozen=True, tag="link_up"):
    """A link to a peer works. ``kind`` is election or quorum."""

    kind: str
    peer: int
    address: str


class LinkDown(Event, frozen=True, tag="link_down"):
    """A link ended, and why."""

    kind: str
    peer: int
    reason: str


class LinkRefused(Event, frozen=True, tag="link_refused"):
    """An incoming connection was turned away, and why."""

    level: ClassVar[str] = "warning"
    kind: str
    address: str
    reason: str


class FrameDropped(Event, frozen=True, tag="frame_dropped"):
    """A frame of a known peer made no sense; its link lives on."""

    level: ClassVar[str] = "warning"
    kind: str
    peer: int
    reason: str


class PortBlocked(Event, frozen=True, tag="port_blocked"):
    """An address that the membership gives this peer cannot be bound; it is tried again. ``kind`` is what it is for."""

    level: ClassVar[str] = "warning"
    kind: str
    address: str
    reason: str


class MembershipKept(Event, frozen=True, tag="membership_kept"):
    """The operator's file lists other members than the ensemble decided on; ``version`` is what counts."""

    level: ClassVar[str] = "warning"
    version: int


class MembershipProposed(Event, frozen=True, tag="membership_proposed"):
    """A configuration was proposed; from now on quorums of the old one and of this one are needed."""

    version: int
    voters: tuple[int, ...]
    observers: tuple[int, ...]


class MembershipChanged(Event, frozen=True, tag="membership_changed"):
    """A configuration is committed and in force here."""

    version: int
    voters: tuple[int, ...]
    observers: tuple[int, ...]


class LearnerSyncing(Event, frozen=True, tag="learner_syncing"):
    """Leader: how a learner is brought up to date (DIFF, TRUNC, SNAP) and how many proposals that takes."""

    learner: int
    mode: str
    learner_zxid: int
    target_zxid: int
    proposals: int


class LearnerSynced(Event, frozen=True, tag="learner_synced"):
    """Leader: this learner holds the history and takes part."""

    learner: int
    observer: bool


class LearnerLeft(Event, frozen=True, tag="learner_left"):
    """Leader: a learner is gone, and why."""

    learner: int
    reason: str


class LearnersListening(Event, frozen=True, tag="learners_listening"):
    """Follower: observers may join here."""

    address: str


class SyncReceived(Event, frozen=True, tag="sync_received"):
    """Learner: how the leader brought us up to date (DIFF, TRUNC, SNAP)."""

    mode: str
    zxid: int
    proposals: int


class Established(Event, frozen=True, tag="established"):
    """The peer serves in this epoch. ``master`` feeds it: the leader, or for an observer a follower.

    An observer that a follower feeds was only told by the election who leads.
    """

    role: str
    leader: int
    epoch: int
    zxid: int
    master: int = -1


class ReadOnlyBegan(Event, frozen=True, tag="read_only_began"):
    """There is no leader for so long that clients who asked for no more may read what is known here."""

    zxid: int


class Proposed(Event, frozen=True, tag="proposed"):
    """Leader: a batch of proposals left."""

    level: ClassVar[str] = "trace"
    first_zxid: int
    last_zxid: int


class Committed(Event, frozen=True, tag="committed"):
    """Everything up to ``zxid`` is committed here."""

    level: ClassVar[str] = "trace"
    zxid: int


class DatabaseLoaded(Event, frozen=True, tag="database_loaded"):
    """Snapshot and log were read."""

    snapshot_zxid: int
    last_zxid: int
    log_txns: int
    nodes: int
    duration_ms: int


class DataUntrusted(Event, frozen=True, tag="data_untrusted"):
    """The data directory is empty and nobody vouched that it is new: the peer waits for a leader and cannot vote."""

    level: ClassVar[str] = "warning"


class TornTailCut(Event, frozen=True, tag="torn_tail_cut"):
    """The last log ended in a half-written record, as a crash leaves it; it was cut off."""

    level: ClassVar[str] = "warning"
    file: str
    offset: int
    bytes_cut: int


class SnapshotSkipped(Event, frozen=True, tag="snapshot_skipped"):
    """A snapshot could not be used; an older one is tried."""

    level: ClassVar[str] = "warning"
    file: str
    reason: str


class SnapshotTaken(Event, frozen=True, tag="snapshot_taken"):
    """A snapshot is on disk."""

    zxid: int
    size_bytes: int
    duration_ms: int


class FilesPurged(Event, frozen=True, tag="files_purged"):
    """Snapshots and logs that recovery no longer needs were removed."""

    files: tuple[str, ...]


class LogTruncated(Event, frozen=True, tag="log_truncated"):
    """The log was cut back; nothing after ``zxid`` is left."""

    level: ClassVar[str] = "warning"
    zxid: int


class SlowFlush(Event, frozen=True, tag="slow_flush"):
    """A flush of the log took longer than fsync.warningthresholdms."""

    level: ClassVar[str] = "warning"
    duration_ms: int
    size_bytes: int


class DigestMismatch(Event, frozen=True, tag="digest_mismatch"):
    """The tree is not what a snapshot or a transaction says it should be after ``zxid``."""

    level: ClassVar[str] = "warning"
    zxid: int
    expected: int
    found: int


class LogUnusable(Event, frozen=True, tag="log_unusable"):
    """Leader: the log on disk could not be read for a learner, which gets a snapshot instead."""

    level: ClassVar[str] = "warning"
    zxid: int
    reason: str


class SessionCreated(Event, frozen=True, tag="session_created"):
    """A session exists on every peer."""

    level: ClassVar[str] = "debug"
    session: int
    timeout_ms: int


class LocalSessionChanged(Event, frozen=True, tag="local_session_changed"):
    """A session that only this peer knows. ``what``: began, expired, closed, or upgraded, then all peers know it."""

    level: ClassVar[str] = "debug"
    session: int
    what: str


class SessionExpired(Event, frozen=True, tag="session_expired"):
    """Leader: a session was not heard of for its timeout."""

    session: int
    timeout_ms: int


class SessionClosed(Event, frozen=True, tag="session_closed"):
    """A session and its ephemerals are gone."""

    level: ClassVar[str] = "debug"
    session: int


class NodesSwept(Event, frozen=True, tag="nodes_swept"):
    """Leader: so many containers and nodes with a time to live were of no more use, and are being deleted."""

    nodes: int


class QuotaExceeded(Event, frozen=True, tag="quota_exceeded"):
    """Leader: a write goes beyond the quota of ``path``, and is ``refused`` or not; said once a minute and quota.

    ``kind`` is count or bytes, ``found`` what there would be of it.
    """

    level: ClassVar[str] = "warning"
    path: str
    kind: str
    hard: bool
    limit: int
    found: int
    refused: bool


class ClientRefused(Event, frozen=True, tag="client_refused"):
    """A client connection was turned away or cut, and why."""

    level: ClassVar[str] = "debug"
    address: str
    reason: str


class ClientFrameRefused(Event, frozen=True, tag="client_frame_refused"):
    """A client sent a length that is negative or over ``limit_bytes`` (jute.maxbuffer), and its connection was cut."""

    level: ClassVar[str] = "warning"
    address: str
    session: int
    size_bytes: int
    limit_bytes: int


class ClientsListening(Event, frozen=True, tag="clients_listening"):
    """A client port is bound."""

    address: str


EventSink = Callable[[Event], None]


class Events:
    """Hands each event to every reader, at once and in order. Readers must be quick and must not raise."""

    def __init__(self, *readers: EventSink) -> None:
        self._readers = list(readers)

    def subscribe(self, reader: EventSink) -> Callable[[], None]:
        """Add a reader; the returned call removes it."""
        self._readers.append(reader)
        return lambda: self._readers.remove(reader)

    def emit(self, event: Event) -> None:
        """Tell every reader."""
        for reader in self._readers:
            reader(event)
