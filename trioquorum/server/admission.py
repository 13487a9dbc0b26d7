"""Who may connect: how many connections a peer has over all its client ports together, and who gets a session.

Limits and throttle are those of client-protocol §18.
"""

from collections import Counter

from trioquorum.events import ClientRefused, Events
from trioquorum.limits import Limits
from trioquorum.pipeline.stats import ServerStats
from trioquorum.server.connection_throttle import ConnectionThrottle


class Admission:
    """One for all ports of a peer, whatever they are: plain, TLS, links."""

    def __init__(self, limits: Limits, stats: ServerStats, events: Events, throttle: ConnectionThrottle) -> None:
        self._limits = limits
        self._stats = stats
        self._events = events
        self._per_ip: Counter[str] = Counter()
        self.connections = 0
        self.throttle = throttle

    def admit(self, address: str, ip: str) -> bool:
        """Whether one more connection is let in; then ``left`` must be called when it is gone.

        Only the total counts for a connection that has no ``ip``.
        """
        total, per_ip = self._limits.connections_max, self._limits.connections_per_ip_max
        if (total and self.connections >= total) or (ip and per_ip and self._per_ip[ip] >= per_ip):
            self.refused(address, "too many connections")
            return False
        self.connections += 1
        self._stats.connections_made += 1
        if ip:
            self._per_ip[ip] += 1
        return True

    def refused(self, address: str, reason: str) -> None:
        """A connection was turned away at the door."""
        self._stats.connections_refused += 1
        self._events.emit(ClientRefused(address=address, reason=reason))

    def left(self, ip: str) -> None:
        """A connection that was admitted is gone."""
        self.connections -= 1
        if ip:
            self._per_ip[ip] -= 1
            if not self._per_ip[ip]:
                del self._per_ip[ip]
