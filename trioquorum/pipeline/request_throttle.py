"""Requests that wait in front of the pipeline, where an operator asks for it (client-protocol §18).

The limit on requests under way stops reading from who has any, so each connection has one at least: with many
connections that is many. Here they wait in one queue; who waited too long may be dropped, or told so.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from trioquorum.errors import Code
from trioquorum.events import ClientRefused
from trioquorum.limits import Throttles
from trioquorum.pipeline.client import Client
from trioquorum.wire.client import REQUEST_HEADER
from trioquorum.wire.ops import Op

if TYPE_CHECKING:
    from trioquorum.pipeline.service import Service

NEVER_THROTTLED = frozenset({Op.PING, Op.CREATE_SESSION, Op.CLOSE_SESSION})


class RequestThrottle:
    """In front of a service's ``request``; without any such setting a service has none.

    What waits here is bounded together with what is under way: beyond the limit connections are not read.
    """

    def __init__(self, rules: Throttles, service: "Service", deliver: Callable[[Client, bytes], None]) -> None:
        self.stall_time_ms = rules.request_stall_time_ms
        self._rules = rules
        self._service = service
        self._deliver = deliver
        self._queue: deque[tuple[Client, bytes, float]] = deque()
        self._large: list[tuple[Client, bytes]] = []

    @staticmethod
    def wanted(rules: Throttles) -> bool:
        """Whether anything is to be throttled."""
        return rules.request_max > 0 or rules.large_request_bytes_min >= 0

    @property
    def queued(self) -> int:
        """How many requests wait here."""
        return len(self._queue)

    def take(self, client: Client, payload: bytes) -> None:
        """One frame of an open session: delivered now, or when there is room."""
        service = self._service
        if len(payload) > self._rules.large_request_bytes_min >= 0 and not self._admit_large(client, payload):
            return
        if not self._queue and self._has_room():
            self._deliver(client, payload)
        else:
            self._queue.append((client, payload, service.now))
            service.hold_if_full(client)
            service.stats.throttle_waits += 1

    def look(self) -> None:
        """Deliver what there is room for, and drop what is stale."""
        service, rules = self._service, self._rules
        while self._queue:
            client, payload, since = self._queue[0]
            xid, op = _header(payload)
            waited_ms = (service.terms.clock() - since) * 1000
            stale = self._is_stale(client, op, waited_ms)
            if stale and rules.request_drop_stale:
                self._drop(client)
                continue
            if not self._has_room():
                return
            self._queue.popleft()
            service.stats.stale_requests += stale
            if client.closing:
                service.submit_for_gone(client, xid, op, payload)
            elif op not in NEVER_THROTTLED and 0 < rules.throttled_op_wait_time_ms < waited_ms:
                service.stats.throttled_ops += 1
                service.answer_in_turn(client, xid, Code.THROTTLEDOP)
            else:
                self._deliver(client, payload)

    def _has_room(self) -> bool:
        return not self._rules.request_max or self._service.inflight < self._rules.request_max

    def _is_stale(self, client: Client, op: int, waited_ms: float) -> bool:
        if op == Op.CLOSE_SESSION:
            return False  # its session has to end, whoever still waits for that
        rules = self._rules
        gone = rules.request_stale_connection_check and client.closing
        return gone or (rules.request_stale_latency_check and waited_ms > client.timeout_ms)

    def _drop(self, client: Client) -> None:
        """None of the client's requests may be executed behind one that was not."""
        stats = self._service.stats
        kept = deque(entry for entry in self._queue if entry[0] is not client)
        stats.stale_requests_dropped += len(self._queue) - len(kept)
        self._queue = kept
        self._cut(client, "its requests waited too long")

    def _cut(self, client: Client, reason: str) -> None:
        if not client.closing:
            self._service.events.emit(ClientRefused(address=client.address, reason=reason))
            client.close()

    def _admit_large(self, client: Client, payload: bytes) -> bool:
        """Whether all large requests under way, this one included, come to no more than is allowed."""
        self._large = [it for it in self._large if self._under_way(*it)]
        if sum(len(it) for _, it in self._large) + len(payload) > self._rules.large_requests_bytes_max:
            self._service.stats.large_requests_rejected += 1
            self._cut(client, "too many large requests are under way")
            return False
        self._large.append((client, payload))
        return True

    def _under_way(self, client: Client, payload: bytes) -> bool:
        waits = any(it is payload for _, _, it, _ in client.waiting)
        return waits or any(it is payload for _, it, _ in self._queue)


def _header(payload: bytes) -> tuple[int, int]:
    if len(payload) < REQUEST_HEADER.size:
        return 0, Op.NOTIFICATION
    xid, op = REQUEST_HEADER.unpack_from(payload)
    return xid, op
