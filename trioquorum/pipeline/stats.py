"""Counters of one peer's client side; they outlive roles and feed the four-letter words and metrics."""

from collections.abc import Iterable, Sequence

import msgspec

from trioquorum.metrics import Summary


class Traffic(msgspec.Struct):
    """Packets and latencies of one connection, or of many. Latencies are milliseconds.

    ``updates`` are writes, from their arrival to their reply; ``reads`` are reads that stood behind a write. A read
    with nothing in front is answered in the wake-up that brought it: of those only the number is known, ``at_once``.
    """

    received: int = 0
    sent: int = 0
    at_once: int = 0
    updates: Summary = msgspec.field(default_factory=Summary)
    reads: Summary = msgspec.field(default_factory=Summary)

    def add(self, other: "Traffic") -> None:
        """What another connection had."""
        self.received += other.received
        self.sent += other.sent
        self.at_once += other.at_once
        self.updates.merge(other.updates)
        self.reads.merge(other.reads)

    @property
    def latency(self) -> Summary:
        """Of every request that was answered; at once is 0 ms."""
        found = Summary(count=self.at_once)
        found.merge(self.updates)
        found.merge(self.reads)
        return found

    @property
    def read_latency(self) -> Summary:
        """Of every read."""
        found = Summary(count=self.at_once)
        found.merge(self.reads)
        return found


class ServerStats(msgspec.Struct):
    """What was counted since the last reset. ``gone`` is the traffic of connections that are closed."""

    gone: Traffic = msgspec.field(default_factory=Traffic)
    bytes_received: int = 0
    connections_made: int = 0
    connections_refused: int = 0
    connections_dropped: int = 0
    sessionless_dropped: int = 0
    sessions_asked: int = 0
    sessions_brought: int = 0
    revalidations: int = 0
    frames_refused: int = 0
    writes_refused: int = 0
    large_requests_rejected: int = 0
    stale_requests: int = 0
    stale_requests_dropped: int = 0
    throttled_ops: int = 0
    throttle_waits: int = 0
    proposals: int = 0
    commits: int = 0
    learner_proposals: int = 0
    learner_commits: int = 0
    proposal_bytes_last: int = -1
    proposal_bytes_min: int = -1
    proposal_bytes_max: int = -1

    def proposed(self, sizes: Sequence[int]) -> None:
        """Count one batch of proposals of so many bytes each."""
        self.proposals += len(sizes)
        self.proposal_bytes_last = sizes[-1]
        self.proposal_bytes_max = max(self.proposal_bytes_max, *sizes)
        least = min(sizes)
        self.proposal_bytes_min = least if self.proposal_bytes_min < 0 else min(self.proposal_bytes_min, least)

    def reset(self) -> None:
        """Start counting anew (``srst``)."""
        fresh = ServerStats()
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))


def total(traffics: Iterable[Traffic]) -> Traffic:
    """All of them together."""
    found = Traffic()
    for traffic in traffics:
        found.add(traffic)
    return found
