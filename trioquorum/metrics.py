"""Numbers about a peer under ZooKeeper's names (config §7): what is counted where it happens, and what events tell."""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from trioquorum.events import (
    DatabaseLoaded,
    DigestMismatch,
    Elected,
    Established,
    Event,
    LearnerSyncing,
    SessionExpired,
    SnapshotTaken,
    StateChanged,
)

AVERAGE_DIGITS: Final = 4


class Summary(msgspec.Struct, gc=False):
    """How many values there were, their sum and bounds. Times are milliseconds."""

    count: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    last: float = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        if value < self.min or not self.count:
            self.min = value
        if value > self.max:
            self.max = value
        self.count += 1
        self.sum += value
        self.last = value

    def merge(self, other: "Summary") -> None:
        """All values of another one."""
        if other.count:
            self.min = min(self.min, other.min) if self.count else other.min
            self.max = max(self.max, other.max)
            self.count += other.count
            self.sum += other.sum

    @property
    def average(self) -> float:
        """Mean, to as many digits as ZooKeeper tells."""
        return round(self.sum / self.count, AVERAGE_DIGITS) if self.count else 0.0

    def named(self, name: str) -> dict[str, object]:
        """As ZooKeeper names the parts of a summary; whole milliseconds, but for the average."""
        return {
            f"avg_{name}": self.average,
            f"min_{name}": int(self.min),
            f"max_{name}": int(self.max),
            f"cnt_{name}": self.count,
            f"sum_{name}": int(self.sum),
        }


COUNTERS: Final = ("looking_count", "diff_count", "snap_count", "stale_sessions_expired", "digest_mismatches_count")
SUMMARIES: Final = (
    "election_time",
    "unavailable_time",
    "leader_unavailable_time",
    "follower_sync_time",
    "observer_sync_time",
) + ("snapshottime", "dbinittime", "startup_txns_loaded")


class Metrics:
    """What the stream of events tells in numbers, since the start or the last ``reset``.

    ``read`` is the reader to subscribe; ``clock`` gives seconds, to tell how long something took.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started = clock()
        self.led_since: float | None = None
        """When this peer became the leader it is; none if it is none."""
        self._looks_since: float | None = None
        self._joins_since: float | None = None
        self.reset()

    def reset(self) -> None:
        """Start counting anew (``srst``)."""
        self._counters: Counter[str] = Counter()
        self._summaries: dict[str, Summary] = {name: Summary() for name in SUMMARIES}

    def read(self, event: Event) -> None:
        """Take in one event."""
        take = _READERS.get(type(event))
        if take is not None:
            take(self, event)

    def values(self) -> dict[str, object]:
        """Every counter and summary by name."""
        found: dict[str, object] = {name: self._counters[name] for name in COUNTERS}
        for name, summary in self._summaries.items():
            found |= summary.named(name)
        return found

    def ms_since(self, moment: float) -> int:
        """Milliseconds from a moment of the clock until now."""
        return int((self._clock() - moment) * 1000)

    def _state_changed(self, event: StateChanged) -> None:
        now = self._clock()
        self.led_since = None
        if event.new == "looking":
            self._counters["looking_count"] += 1
            self._looks_since = now if self._looks_since is None else self._looks_since
        self._joins_since = now if event.new in ("following", "observing") else None

    def _elected(self, event: Elected) -> None:
        self._summaries["election_time"].add(event.duration_ms)

    def _established(self, event: Established) -> None:
        now = self._clock()
        if event.role == "leader":
            self.led_since = now
        elif self._joins_since is not None:
            self._summaries[f"{event.role}_sync_time"].add((now - self._joins_since) * 1000)
        if self._looks_since is not None:
            unavailable_ms = (now - self._looks_since) * 1000
            self._summaries["unavailable_time"].add(unavailable_ms)
            if event.role == "leader":
                self._summaries["leader_unavailable_time"].add(unavailable_ms)
        self._looks_since = self._joins_since = None

    def _learner_syncing(self, event: LearnerSyncing) -> None:
        if event.mode in ("DIFF", "SNAP"):
            self._counters[f"{event.mode.lower()}_count"] += 1

    def _session_expired(self, event: SessionExpired) -> None:
        del event
        self._counters["stale_sessions_expired"] += 1

    def _digest_mismatch(self, event: DigestMismatch) -> None:
        del event
        self._counters["digest_mismatches_count"] += 1

    def _snapshot_taken(self, event: SnapshotTaken) -> None:
        self._summaries["snapshottime"].add(event.duration_ms)

    def _database_loaded(self, event: DatabaseLoaded) -> None:
        self._summaries["dbinittime"].add(event.duration_ms)
        self._summaries["startup_txns_loaded"].add(event.log_txns)


_READERS: Final[dict[type[Event], Callable[[Metrics, Any], None]]] = {
    StateChanged: Metrics._state_changed,
    Elected: Metrics._elected,
    Established: Metrics._established,
    LearnerSyncing: Metrics._learner_syncing,
    SessionExpired: Metrics._session_expired,
    DigestMismatch: Metrics._digest_mismatch,
    SnapshotTaken: Metrics._snapshot_taken,
    DatabaseLoaded: Metrics._database_loaded,
}
