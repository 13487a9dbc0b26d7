"""What goes over the live feed: frames to the page, and what a page may ask for.

A WebSocket message to the page is binary: one msgpack array of frames, at least one. Every frame is a map, ``frame``
names its kind, and every field that is listed here is in every frame of that kind. Unknown kinds and unknown fields are
for newer pages: leave them out.

Numbers named ``zxid`` and ``session`` use all 64 bits: read them as BigInt. A zxid is ``epoch << 32 | counter``, -1 is
none. ``wall_ms`` are milliseconds since 1970 by the peer's own clock; ``mono_us`` are microseconds since the peer's
admin port began, never set back, so that they order what one peer says and tell how long something took. Peers' clocks
differ: two peers are compared by ``wall_ms``.

What is never in here: data of znodes.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trioquorum import events as kinds
from trioquorum.events import Event
from trioquorum.storage.room import DiskHasRoom, DiskIsFull, DiskNearlyFull, SnapshotFailed, VotersLackRoom
from trioquorum.tls import CertificatesKept, CertificatesReloaded

FEED_VERSION: Final = 1
"""Grows when a page of before would be wrong about a frame."""

ARRAY_16: Final = b"\xdc"
"""What a msgpack array with a 2-byte length begins with."""

FEED_PROTOCOL: Final = "trioquorum.feed"
"""The WebSocket subprotocol of the feed."""

NOBODY: Final = -1
"""In place of a peer's id: none, or not known."""


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="frame"):
    """What a peer tells a page."""


class MemberInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A peer of the configuration in force.

    ``role`` is participant or observer; ``group`` is null where the quorum is a majority. Addresses are URLs;
    ``admin`` is where its admin port should be, as this peer's file says, or null.
    """

    id: int
    role: str
    weight: int
    group: int | None
    quorum: str
    election: str
    client: str | None
    admin: str | None


class LinkInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A link that works. ``kind`` is election or quorum, ``address`` what was dialled or who called."""

    kind: str
    peer: int
    address: str


class LearnerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Of a leader: a learner. ``mode`` is how it is brought up to date (DIFF, TRUNC, SNAP), ``synced`` that it is."""

    id: int
    observer: bool
    mode: str
    synced: bool


class VoteInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the peer votes for while it looks, or voted for at last."""

    round: int
    leader: int
    zxid: int
    peer_epoch: int


class TaskInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A Trio task and what its nurseries hold, one list for each nursery, by name.

    ``left_out`` counts children that are not told, because there were too many tasks.
    """

    name: str
    nurseries: list[list["TaskInfo"]]
    left_out: int = 0


class Snapshot(Frame, frozen=True, tag="snapshot"):
    """What is known of the peer now. The first frame of every feed, and again when it is asked for.

    ``feed`` is FEED_VERSION, ``server`` the version of the program. ``role``: starting, looking, leading, following,
    observing, standalone, stopped. ``phase`` inside the role: election, discovery, synchronization, broadcast, or
    empty. ``serving`` says whether clients are served, ``since_wall_ms`` since when the role lasts and ``reason`` why
    it began. ``leader`` and ``master`` (who feeds a learner) are NOBODY when there is none. ``epoch`` is the
    established one, or the one last heard of. ``next_seq`` is the number of the next event: events from ``oldest_seq``
    to there can be asked for. ``dropped`` counts frames that this page missed so far. ``controls`` says whether
    ``/ensemble`` is served here.
    """

    feed: int
    server: str
    peer: int
    wall_ms: int
    mono_us: int
    started_wall_ms: int
    role: str
    phase: str
    serving: bool
    since_wall_ms: int
    reason: str
    leader: int
    master: int
    epoch: int
    zxid: int
    round: int
    vote: VoteInfo | None
    members: list[MemberInfo]
    config_version: int
    pending_version: int | None
    links: list[LinkInfo]
    learners: list[LearnerInfo]
    sessions: int
    watches: int
    znodes: int
    data_bytes: int
    tasks: TaskInfo | None
    oldest_seq: int
    next_seq: int
    dropped: int
    controls: bool


class EventFrame(Frame, frozen=True, tag="event"):
    """Something happened. ``seq`` grows by one with each event of this feed that is kept; -1 for those that are not.

    ``fact`` is an event of ``trioquorum/events.py`` as a map: ``event`` names its kind, the rest are its fields there.
    Kept are all but those of level trace (``proposed``, ``committed``), which are sent only to pages that asked for
    them, and sessions' comings and goings, which are noticed only while a page is open.
    """

    seq: int
    wall_ms: int
    mono_us: int
    fact: Any


class Sample(Frame, frozen=True, tag="sample"):
    """Numbers about the last ``period_ms``, about four times a second; less often with very many pages.

    ``txns`` were committed in that time (so txns per second are ``txns * 1000 / period_ms``). ``commit_ms_p50`` and
    ``commit_ms_p99`` are from proposal to commit; only a leader knows them, and only if there were any, else null.
    ``fsync_ms`` is the mean of ``fsyncs`` flushes of the log and ``fsync_ms_last`` the last of them, null without one.
    ``unflushed_txns`` wait for the disk, ``unapplied_txns`` were logged and are not committed here yet.
    ``loop_lag_ms`` is how much later than due the event loop came round, at worst. ``zxid`` is the last one applied.
    """

    wall_ms: int
    mono_us: int
    period_ms: int
    role: str
    leader: int
    epoch: int
    zxid: int
    txns: int
    commit_ms_p50: float | None
    commit_ms_p99: float | None
    fsyncs: int
    fsync_ms: float | None
    fsync_ms_last: float | None
    unflushed_txns: int
    unapplied_txns: int
    sessions: int
    watches: int
    znodes: int
    data_bytes: int
    loop_lag_ms: float
    pages: int


class History(Frame, frozen=True, tag="history"):
    """Part of the answer to ``AskHistory``: ``event`` and ``sample`` frames of before, each list oldest first.

    ``last`` marks the end of the answer. ``complete`` is false when older events were asked for than are left.
    """

    events: list[Any]
    samples: list[Any]
    complete: bool
    last: bool


class Tasks(Frame, frozen=True, tag="tasks"):
    """The answer to ``AskTasks``: the nursery tree now."""

    wall_ms: int
    mono_us: int
    tasks: TaskInfo


class Dropped(Frame, frozen=True, tag="dropped"):
    """The page was slower than the feed: so many frames are missing before this one, and ``total`` since it began."""

    frames: int
    total: int


class Problem(Frame, frozen=True, tag="problem"):
    """Something that was asked for cannot be had, and why. The feed goes on."""

    what: str
    reason: str


class PeerProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A peer of an ensemble on this machine. ``state``: running, paused, ended; then ``code`` is how, if known."""

    id: int
    state: str
    code: int | None
    admin: str


class EnsembleState(Frame, frozen=True, tag="ensemble"):
    """The peers as what runs them sees them: the first frame of ``/ensemble``, and again after every change.

    ``groups`` are the sides of the partition in force; empty when there is none.
    """

    peers: list[PeerProcess]
    groups: list[list[int]]


AnyFrame = Snapshot | EventFrame | Sample | History | Tasks | Dropped | Problem | EnsembleState


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", forbid_unknown_fields=True):
    """What a page sends: one msgpack map a message, ``ask`` names its kind."""


class AskHistory(Ask, frozen=True, tag="history"):
    """All kept events from ``since_seq`` on, and the samples of the last minutes: answered by ``History`` frames."""

    since_seq: int = 0


class AskTasks(Ask, frozen=True, tag="tasks"):
    """The nursery tree now: answered by ``Tasks``."""


class AskSnapshot(Ask, frozen=True, tag="snapshot"):
    """What is known of the peer now: answered by ``Snapshot``."""


class AskTrace(Ask, frozen=True, tag="trace"):
    """From now on every batch of transactions as well (``proposed``, ``committed``), or no more.

    Only so many pages may have them at a time; a further one is told of a ``Problem``, and may ask again later.
    """

    on: bool


AnyAsk = AskHistory | AskTasks | AskSnapshot | AskTrace


EVENT_KINDS: Final[tuple[type[Event], ...]] = (
    *(
        kind
        for kind in vars(kinds).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    ),
    CertificatesKept,
    CertificatesReloaded,
    DiskNearlyFull,
    DiskHasRoom,
    DiskIsFull,
    SnapshotFailed,
    VotersLackRoom,
)
"""What may go over the feed. Others do not, above all not the audit log: who changed which znode is not everybody's."""

_TAGS: Final = {kind.__struct_config__.tag: kind for kind in EVENT_KINDS}
_encoder: Final = msgspec.msgpack.Encoder()
_asks: Final[msgspec.msgpack.Decoder[AnyAsk]] = msgspec.msgpack.Decoder(AnyAsk)

encode: Final = _encoder.encode
"""A frame, ask, order or recorded object as msgpack."""


def message_of(frames: Sequence[bytes]) -> bytes:
    """The message that holds these encoded frames, at most 65535."""
    return ARRAY_16 + len(frames).to_bytes(2, "big") + b"".join(frames)


def frames_of(message: bytes) -> list[AnyFrame]:
    """The frames of a message; those of kinds that this version does not know are left out.

    Raises:
        msgspec.DecodeError: it is no message of a feed.
    """
    found = (frame_of(each) for each in msgspec.msgpack.decode(message, type=list[Any]))
    return [frame for frame in found if frame is not None]


def frame_of(found: Any) -> AnyFrame | None:
    """The frame that a decoded map is; ``None`` when this version does not know it."""
    try:
        frame: AnyFrame = msgspec.convert(found, AnyFrame)
    except msgspec.ValidationError:
        return None
    return frame


def decode_ask(data: bytes) -> AnyAsk:
    """What a page asks for.

    Raises:
        msgspec.DecodeError: it is nothing of that.
    """
    return _asks.decode(data)


def event_of(fact: Any) -> Event | None:
    """The event that ``fact`` of an ``EventFrame`` is; ``None`` when this version does not know it."""
    kind = _TAGS.get(fact.get("event")) if isinstance(fact, dict) else None
    if kind is None:
        return None
    try:
        return msgspec.convert(fact, kind)
    except msgspec.ValidationError:
        return None
