"""Sessions: ids, deadlines and owners (client-protocol §17). Times are milliseconds of the caller's clock."""

from typing import Final

import msgspec

from trioquorum.errors import Code, RequestFailed
from trioquorum.wire.ops import CONTAINER_OWNER

LOCAL_SESSION: Final[object] = "a session that only its peer knows"
"""The owner of requests in sessions that the leader does not track (§17.9); compared by ``is``."""


class SessionIds:
    """Ids no other peer gives, and this one never gave before (§17.1).

    ``now_ms`` is wall-clock time: a monotonic clock restarts with the machine and would repeat ids.
    """

    def __init__(self, server_id: int, now_ms: int) -> None:
        self._next = (server_id & 0xFF) << 56 | (now_ms & 0xFF_FFFF_FFFF) << 16

    def next(self) -> int:
        """A new id, a signed 64-bit number; never 0 and never the mark of containers."""
        session = 0
        while session in (0, CONTAINER_OWNER):
            session = self._next if self._next < 2**63 else self._next - 2**64
            self._next = (self._next + 1) & 0xFFFFFFFFFFFFFFFF
        return session


class _Session(msgspec.Struct, gc=False):
    timeout_ms: int
    deadline_ms: int
    closing: bool = False
    owner: object = None


class SessionTracker:
    """Deadlines and owners of all sessions, on the leader or a standalone peer.

    A deadline is the first multiple of the tick behind now + timeout, so a touch within the same tick costs nothing
    and sessions expire together. A session that expired or is being closed stays known, but nobody can touch it.
    """

    def __init__(self, tick_time_ms: int) -> None:
        self._tick_ms = tick_time_ms
        self._sessions: dict[int, _Session] = {}
        self._buckets: dict[int, set[int]] = {}
        self._looked_ms = 0

    def __contains__(self, session: int) -> bool:
        return session in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: int, timeout_ms: int, now_ms: int) -> None:
        """Begin to track a session with its full timeout; one that is known is touched."""
        if session in self._sessions:
            self.touch(session, now_ms, timeout_ms)
            return
        deadline = self._deadline(now_ms + timeout_ms)
        self._sessions[session] = _Session(timeout_ms, deadline)
        self._buckets.setdefault(deadline, set()).add(session)

    def touch(self, session: int, now_ms: int, timeout_ms: int | None = None) -> bool:
        """The session was heard of: it gets a new deadline. False if it is unknown, expired or closing."""
        known = self._sessions.get(session)
        if known is None or known.closing:
            return False
        if timeout_ms is None:
            timeout_ms = known.timeout_ms
        else:
            known.timeout_ms = timeout_ms
        deadline = self._deadline(now_ms + timeout_ms)
        if deadline != known.deadline_ms:
            self._leave_bucket(session, known)
            known.deadline_ms = deadline
            self._buckets.setdefault(deadline, set()).add(session)
        return True

    def set_closing(self, session: int) -> None:
        """Its closeSession is under way: from now on every request and touch of the session is refused."""
        known = self._sessions.get(session)
        if known is not None and not known.closing:
            known.closing = True
            self._leave_bucket(session, known)

    def remove(self, session: int) -> None:
        """Its closeSession is committed."""
        known = self._sessions.pop(session, None)
        if known is not None and not known.closing:
            self._leave_bucket(session, known)

    def expired(self, now_ms: int) -> list[int]:
        """Sessions whose deadline has come, each told once and closing from now on; in order of deadline, then id."""
        found: list[int] = []
        for deadline in sorted(due for due in self._buckets if due <= now_ms):
            sessions = sorted(self._buckets.pop(deadline))
            for session in sessions:
                self._sessions[session].closing = True
            found += sessions
        return found

    def begin(self, now_ms: int) -> None:
        """From now on ``look`` is called once a tick."""
        self._looked_ms = now_ms

    def look(self, now_ms: int) -> list[int]:
        """As ``expired``, but time in which this process stood still is not held against sessions.

        It heard of nobody (SIGSTOP, a machine that was asleep): what clients sent meanwhile waits in its sockets.
        """
        stood_still_ms = now_ms - self._looked_ms - self._tick_ms
        if stood_still_ms > self._tick_ms:
            self.postpone(stood_still_ms, now_ms)
        self._looked_ms = now_ms
        return self.expired(now_ms)

    def postpone(self, by_ms: int, now_ms: int) -> None:
        """Nobody could be heard of for ``by_ms``: deadlines come that much later, or where a touch would put them."""
        buckets: dict[int, set[int]] = {}
        for deadline, sessions in self._buckets.items():
            for session in sessions:
                known = self._sessions[session]
                touched = self._deadline(now_ms + known.timeout_ms)
                known.deadline_ms = min(self._deadline(deadline + by_ms - 1), touched)
                buckets.setdefault(known.deadline_ms, set()).add(session)
        self._buckets = buckets

    def next_deadline(self) -> int | None:
        """When the next session may expire; None if none is tracked."""
        return min(self._buckets, default=None)

    def set_owner(self, session: int, owner: object) -> None:
        """The session now belongs to ``owner``: the peer or connection that validated it last (§17.6)."""
        known = self._sessions.get(session)
        if known is not None:
            known.owner = owner

    def check(self, session: int, owner: object) -> None:
        """Whether a request of this session through ``owner`` may go on; the first one to ask owns an unowned session.

        Of a session that is local to a peer nobody else can say anything.

        Raises:
            RequestFailed: SESSIONEXPIRED if unknown or closing, SESSIONMOVED if it belongs to somebody else.
        """
        known = self._sessions.get(session)
        if known is None or known.closing:
            if known is None and owner is LOCAL_SESSION:
                return
            raise RequestFailed(Code.SESSIONEXPIRED)
        if known.owner != owner:
            if known.owner is not None:
                raise RequestFailed(Code.SESSIONMOVED)
            known.owner = owner

    def deadlines(self) -> dict[int, list[int]]:
        """Deadline → sessions, for ``dump``."""
        return {deadline: sorted(self._buckets[deadline]) for deadline in sorted(self._buckets)}

    def _deadline(self, at_ms: int) -> int:
        return (at_ms // self._tick_ms + 1) * self._tick_ms

    def _leave_bucket(self, session: int, known: _Session) -> None:
        bucket = self._buckets[known.deadline_ms]
        bucket.discard(session)
        if not bucket:
            del self._buckets[known.deadline_ms]


class TouchTable:
    """Sessions a learner heard of since its last PING reply (§17.4)."""

    def __init__(self) -> None:
        self._touched: dict[int, int] = {}

    def touch(self, session: int, timeout_ms: int) -> None:
        """The session was heard of."""
        self._touched[session] = timeout_ms

    def swap(self) -> list[tuple[int, int]]:
        """(session, timeout) of everything touched since the last call."""
        touched = list(self._touched.items())
        self._touched = {}
        return touched
