"""Counters of one peer's client side; they outlive roles and feed the four-letter words and metrics."""

import msgspec


class ServerStats(msgspec.Struct):
    """Packets and latencies since the last reset. Latencies are milliseconds of requests that had to wait."""

    received: int = 0
    sent: int = 0
    requests: int = 0
    latency_ms_sum: float = 0.0
    latency_ms_min: float = 0.0
    latency_ms_max: float = 0.0
    connections_made: int = 0
    connections_refused: int = 0
    frames_refused: int = 0
    large_requests_rejected: int = 0
    stale_requests: int = 0
    stale_requests_dropped: int = 0
    throttled_ops: int = 0
    throttle_waits: int = 0
    proposal_bytes_last: int = -1
    proposal_bytes_min: int = -1
    proposal_bytes_max: int = -1

    def answered(self, latency_ms: float) -> None:
        """Count one answered request."""
        if not self.requests or latency_ms < self.latency_ms_min:
            self.latency_ms_min = latency_ms
        if latency_ms > self.latency_ms_max:
            self.latency_ms_max = latency_ms
        self.requests += 1
        self.latency_ms_sum += latency_ms

    def proposed(self, size: int) -> None:
        """Count one proposal of ``size`` bytes."""
        self.proposal_bytes_last = size
        self.proposal_bytes_max = max(self.proposal_bytes_max, size)
        self.proposal_bytes_min = size if self.proposal_bytes_min < 0 else min(self.proposal_bytes_min, size)

    @property
    def latency_ms_avg(self) -> float:
        """Mean latency."""
        return self.latency_ms_sum / self.requests if self.requests else 0.0

    def reset(self) -> None:
        """Start counting anew (``srst``)."""
        fresh = ServerStats()
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
