"""What clients did and saw, in order: the material of ``trioquorum.testing.checkers``.

A session's record is the ``observer`` of its connection, so a history holds what went over the wire, whoever called::

    history = History()
    async with connect(*dials, observer=history.session("reader")) as client: ...

Positions count what happened at all clients of a history, from 1 on: of two events at clients of one process the
earlier one has the lower position. Times are seconds of Trio's clock.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import trio

from trioquorum.client import State
from trioquorum.client.core import Core, Effect, Fired, Request, StateChanged
from trioquorum.errors import Code, PeerProtocolError
from trioquorum.invariants import invariant
from trioquorum.wire.ops import EventType, Op

CALLS_MAX: Final = 250_000
"""Calls a history takes; it is ``full`` a little earlier, for those on their way and for goodbyes."""

_ROOM: Final = 10_000


class Call(msgspec.Struct):
    """One request. ``zxid`` is its reply's; None if there was none: what was asked for happened or not.

    ``error`` is the server's code and ``result`` what the reply held (a multi's list may hold codes). ``session``
    and ``xid`` are what its transaction bears. ``watched``: it sets a watch, told to nobody if it was ``given_up``.
    ``read_only``: it was asked of a peer without a leader, which shows what it has.
    """

    client: str
    session: int
    xid: int
    op: Op
    body: bytes
    watched: bool
    began: int
    began_at: float
    ended: int = 0
    ended_at: float = 0.0
    zxid: int | None = None
    error: Code | None = None
    result: Any = None
    given_up: bool = False
    read_only: bool = False

    @property
    def succeeded(self) -> bool:
        """The server did it, and said so."""
        return self.zxid is not None and self.error is None

    @property
    def failed(self) -> bool:
        """The server refused it, and said so."""
        return self.zxid is not None and self.error is not None

    @property
    def unknown(self) -> bool:
        """Nobody said what became of it."""
        return self.zxid is None


class Told(msgspec.Struct):
    """A watch event that a server sent; ``zxid`` is the change's, −1 if it was made up for after a reconnect."""

    type: EventType
    path: str
    zxid: int
    position: int
    at: float


class Turned(msgspec.Struct):
    """The session's state, as its client knew it from then on."""

    state: State
    position: int
    at: float


class SessionRecord:
    """All of one session, and the ``Observer`` that writes it down.

    ``calls`` are in the order of asking, ``seen`` in the order of arrival: each call at its end, events, states.
    ``distrust`` says how servers broke the protocol.
    """

    def __init__(self, history: "History", client: str) -> None:
        self.client = client
        self.session = 0
        self.timeout_ms = 0
        self.calls: list[Call] = []
        self.seen: list[Call | Told | Turned] = []
        self.distrust: list[str] = []
        self._history = history
        self._open: dict[int, Call] = {}

    def sent(self, core: Core, request: Request[Any]) -> None:
        """A call begins; identities (auth) are no calls."""
        if request.op is Op.AUTH:
            return
        position, now = self._history.step()
        call = Call(
            self.client, core.session, request.xid, request.op, request.body, request.watch is not None, position, now
        )
        call.read_only = core.state is State.CONNECTED_READ_ONLY
        self._open[request.xid] = call
        self._history.calls += 1
        self.calls.append(call)

    def distrusted(self, error: PeerProtocolError) -> None:
        """A connection ends because of its server."""
        self.distrust.append(str(error))

    def saw(self, core: Core, effect: Effect) -> None:
        """A call ends, a watch fires or the state changes."""
        position, now = self._history.step()
        if isinstance(effect, Request):
            call = self._open.pop(effect.xid, None)
            if call is not None:
                call.ended, call.ended_at, call.zxid = position, now, effect.zxid
                call.given_up = effect.abandoned
                if effect.zxid is not None:
                    # A late reply leaves the error of its deadline behind.
                    call.result = getattr(effect, "result", None)
                    call.error = None if hasattr(effect, "result") else effect.error
                self.seen.append(call)
        elif isinstance(effect, Fired):
            if effect.event.type is not None:
                self.seen.append(Told(effect.event.type, effect.event.path, effect.zxid, position, now))
        elif isinstance(effect, StateChanged):
            if effect.state is State.CONNECTED:
                self.session, self.timeout_ms = core.session, core.timeout_ms
            self.seen.append(Turned(effect.state, position, now))


class History:
    """All sessions of some clients. ``clock`` tells seconds; ``calls`` is how many there were."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self.sessions: list[SessionRecord] = []
        self.calls = 0
        self._clock = clock
        self._position = 0

    def session(self, client: str) -> SessionRecord:
        """An observer for one new session of ``client``."""
        record = SessionRecord(self, client)
        self.sessions.append(record)
        return record

    def step(self) -> tuple[int, float]:
        """The next position, and the time.

        Raises:
            InvariantViolation: nobody stopped when the history was ``full``.
        """
        invariant(self.calls < CALLS_MAX, "a history has a bound", calls=self.calls, bound=CALLS_MAX)
        self._position += 1
        return self._position, self._clock()

    @property
    def full(self) -> bool:
        """No new calls should be made: there is room only for the ends of those under way."""
        return self.calls >= CALLS_MAX - _ROOM

    def all_calls(self) -> Iterator[Call]:
        """Every call, by session."""
        for record in self.sessions:
            yield from record.calls
