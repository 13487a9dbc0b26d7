"""Where the peer's events become the feed: numbered, kept for a while, and handed to every page that is open.

What it costs a peer that nobody looks at: one dictionary look-up an event, and one encoding for each of the few that
are kept (changes of state, elections, links; never one for every batch of transactions). Sessions' events are encoded
only while a page is open, batches of transactions only while a page asks for them.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

import msgspec
import trio

from trioquorum import events as kinds
from trioquorum.admin.feed import EVENT_KINDS, Dropped, EventFrame, History, Sample, encode, message_of
from trioquorum.admin.ring import Kept, Ring
from trioquorum.admin.settings import AdminLimits
from trioquorum.events import Event

US_PER_S: Final = 1_000_000
UNKEPT: Final = -1

HISTORY_CHUNK_BYTES: Final = 256 << 10
"""About what one frame of a history holds."""


class Wanted(Enum):
    """When an event goes over the feed."""

    ELECTION = "always, and kept whatever its age"
    ALWAYS = "always"
    WATCHED = "while a page is open"
    TRACED = "while a page asks for it"


_ELECTIONS: Final = (
    kinds.PeerStarted,
    kinds.PeerStopped,
    kinds.StateChanged,
    kinds.PhaseChanged,
    kinds.RoundStarted,
    kinds.VoteChanged,
    kinds.VoteHeard,
    kinds.Elected,
    kinds.Established,
    kinds.MembershipProposed,
    kinds.MembershipChanged,
    kinds.ReadOnlyBegan,
    kinds.LearnerSyncing,
    kinds.LearnerSynced,
    kinds.LearnerLeft,
)
_BY_LEVEL: Final = {"trace": Wanted.TRACED, "debug": Wanted.WATCHED}
_WANTED: Final = {kind: _BY_LEVEL.get(kind.level, Wanted.ALWAYS) for kind in EVENT_KINDS} | dict.fromkeys(
    _ELECTIONS, Wanted.ELECTION
)

TRACED: Final = frozenset(kind for kind, wanted in _WANTED.items() if wanted is Wanted.TRACED)
"""Events of batches of transactions: all that a busy peer says."""


class Page:
    """One open feed: what waits to be sent to it. Bounded; what finds no room is dropped and counted."""

    def __init__(self, limits: AdminLimits) -> None:
        self.dropped = 0
        self.waiting = trio.Event()
        self._limits = limits
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._missing = 0

    def put(self, frame: bytes) -> None:
        """Queue an encoded frame, never waits."""
        limits = self._limits
        if len(self._frames) >= limits.page_frames_max or self._bytes + len(frame) > limits.page_bytes_max:
            self._missing += 1
            self.dropped += 1
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        self.waiting.set()

    def take(self) -> bytes:
        """The next message: as many frames as fit. Nothing when nothing waits."""
        message: list[bytes] = []
        size = 0
        while self._frames and (not message or size + len(self._frames[0]) <= self._limits.message_bytes_max):
            frame = self._frames.popleft()
            size += len(frame)
            message.append(frame)
        self._bytes -= size
        if not self._frames:
            if self._missing:
                message.append(encode(Dropped(frames=self._missing, total=self.dropped)))
                self._missing = 0
            self.waiting = trio.Event()
        return message_of(message) if message else b""


class Hub:
    """The feed of one peer. ``read`` is the reader to subscribe; ``wall_ms`` is the time of day."""

    def __init__(self, limits: AdminLimits, wall_ms: Callable[[], int]) -> None:
        self.limits = limits
        self.wall_ms = wall_ms
        self.started_wall_ms = wall_ms()
        self.next_seq = 0
        self.watched = trio.Event()
        self._began = trio.current_time()
        self._dropped = 0
        self._pages: dict[Page, None] = {}
        self._tracing: dict[Page, None] = {}
        self._elections = Ring(limits.election_events_max, limits.election_bytes_max)
        self._others = Ring(limits.other_events_max, limits.other_bytes_max, limits.kept_s)
        self._samples = Ring(limits.samples_max, limits.samples_bytes_max, limits.kept_s)

    @property
    def pages(self) -> int:
        """How many feeds are open."""
        return len(self._pages)

    @property
    def dropped(self) -> int:
        """Frames that pages missed because they were slow, since the beginning."""
        return self._dropped + sum(page.dropped for page in self._pages)

    @property
    def oldest_seq(self) -> int:
        """From where on nothing is missing in the history."""
        return max(self._elections.lost_seq, self._others.lost_seq) + 1

    def mono_us(self) -> int:
        """Microseconds since the beginning."""
        return int((trio.current_time() - self._began) * US_PER_S)

    def read(self, event: Event) -> None:
        """Take in one event."""
        wanted = _WANTED.get(type(event))
        if wanted is None:
            return
        if wanted is Wanted.TRACED:
            self.read_traced(event)
        elif wanted is not Wanted.WATCHED or self._pages:
            self._keep(event, self._elections if wanted is Wanted.ELECTION else self._others)

    def _keep(self, event: Event, ring: Ring) -> None:
        seq, self.next_seq = self.next_seq, self.next_seq + 1
        frame = self._framed(seq, event)
        ring.add(Kept(trio.current_time(), seq, frame))
        for page in self._pages:
            page.put(frame)

    def read_traced(self, event: Event) -> None:
        """Take in one event of ``TRACED``."""
        if self._tracing:
            frame = self._framed(UNKEPT, event)
            for page in self._tracing:
                page.put(frame)

    def _framed(self, seq: int, event: Event) -> bytes:
        return encode(EventFrame(seq=seq, wall_ms=self.wall_ms(), mono_us=self.mono_us(), fact=event))

    def sampled(self, sample: Sample) -> None:
        """Keep a sample, and hand it to every page."""
        frame = encode(sample)
        self._samples.add(Kept(trio.current_time(), UNKEPT, frame))
        for page in self._pages:
            page.put(frame)

    @contextmanager
    def open_page(self) -> Iterator[Page]:
        """A page that is open during the block. ``watched`` is set while there is any."""
        page = Page(self.limits)
        self._pages[page] = None
        self.watched.set()
        try:
            yield page
        finally:
            del self._pages[page]
            self._dropped += page.dropped
            self._tracing.pop(page, None)
            if not self._pages:
                self.watched = trio.Event()

    def trace(self, page: Page, *, on: bool) -> bool:
        """Whether this page is told of every batch of transactions; false when as many are as may be."""
        if not on:
            self._tracing.pop(page, None)
            return True
        if page not in self._tracing and len(self._tracing) >= self.limits.tracing_pages_max:
            return False
        self._tracing[page] = None
        return True

    def history(self, since_seq: int) -> Iterator[bytes]:
        """Encoded ``History`` frames from event ``since_seq`` on; what is kept now, while this is read or not."""
        now = trio.current_time()
        self._others.forget(now)
        self._samples.forget(now)
        complete = since_seq >= self.oldest_seq
        rings = (self._elections, self._others)
        events = sorted((item for ring in rings for item in ring.since(since_seq)), key=lambda item: item.seq)
        return _chunks(events, self._samples.all(), complete=complete)


def _chunks(events: list[Kept], samples: list[Kept], *, complete: bool) -> Iterator[bytes]:
    """Events before samples, cut into frames of about ``HISTORY_CHUNK_BYTES``."""
    parts: tuple[list[msgspec.Raw], list[msgspec.Raw]] = ([], [])
    size = 0
    for part, items in zip(parts, (events, samples), strict=True):
        for item in items:
            if size > HISTORY_CHUNK_BYTES:
                yield encode(History(events=list(parts[0]), samples=list(parts[1]), complete=complete, last=False))
                parts[0].clear()
                parts[1].clear()
                size = 0
            part.append(msgspec.Raw(item.data))
            size += len(item.data)
    yield encode(History(events=list(parts[0]), samples=list(parts[1]), complete=complete, last=True))
