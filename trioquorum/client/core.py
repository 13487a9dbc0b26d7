"""A client's side of one session, sans-I/O (client-protocol §1, §3, §4, §11).

The driver sends ``hello()`` on each new connection, then whatever ``take_output()`` gives; it hands what it received
to ``feed`` and performs the effects in the order they come: that order is what makes a watch event precede the reply
that shows the change. Requests are answered in the order they were submitted; ``xid`` only proves it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from struct import Struct
from typing import Any, Generic, TypeVar

import msgspec

from trioquorum.client.watches import Table, Watcher, Watches, WatchEvent
from trioquorum.errors import Code, LocalProtocolError, PeerProtocolError, RequestFailed
from trioquorum.limits import Limits
from trioquorum.wire.client import frame
from trioquorum.wire.digest_md5 import DigestClient, SaslFailed
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import EventType, Op, Xid
from trioquorum.wire.records import ConnectRequest, ConnectResponse, SaslToken, SetWatches2, WatcherEvent

T = TypeVar("T")
Decode = Callable[[bytes, int], tuple[T, int]]

REQUEST_BYTES_MAX = Limits().client_frame_bytes_max  # what a server takes; it cuts the connection on more
REPLY_BYTES_MAX = 16 << 20  # servers do not limit replies: a node may have very many children

_XID_MAX = 2**31 - 1
_REQUEST_HEADER = Struct(">iii")  # frame length, xid, op
_REPLY_HEADER = Struct(">iqi")  # xid, zxid, err
_NO_PASSWORD = bytes(16)
_CODES = {int(code): code for code in Code}


class State(Enum):
    """Of the session, as its client knows it."""

    CONNECTING = "connecting"  # no server; the session, if there was one, may live
    CONNECTED = "connected"
    CONNECTED_READ_ONLY = "connected_read_only"  # to a server without a leader: old data, no writes
    EXPIRED = "expired"
    AUTH_FAILED = "auth_failed"
    CLOSED = "closed"

    @property
    def connected(self) -> bool:
        """Requests can be sent."""
        return self in (State.CONNECTED, State.CONNECTED_READ_ONLY)

    @property
    def ended(self) -> bool:
        """No state follows this one."""
        return self in _ENDED


_ENDED = {
    State.EXPIRED: Code.SESSIONEXPIRED,
    State.AUTH_FAILED: Code.AUTHFAILED,
    State.CLOSED: Code.SESSIONEXPIRED,
}


def nothing(data: bytes, at: int) -> tuple[None, int]:
    """Decode the body of a reply that has none."""
    return None, at


def _never(*_: object) -> None:
    """Wake nobody."""


class Request(Generic[T]):
    """One call on its way, and the effect that tells its end: then ``result`` or ``error`` is set.

    ``zxid`` is that of the server's reply, None while or because there is none. ``watch`` names the table of a
    success, also of one that removes watches. The driver owns ``deadline`` (its clock), ``wake`` (to be called when the
    request ended) and ``abandoned`` (nobody waits any more; the reply is still expected, its watch is not kept).
    """

    __slots__ = ("abandoned", "body", "deadline", "decode", "error", "op", "result", "wake", "watch", "xid", "zxid")

    result: T

    def __init__(self, op: Op, body: bytes, decode: Decode[T], watch: tuple[Table, str, Watcher] | None = None) -> None:
        self.op = op
        self.body = body
        self.decode = decode
        self.watch = watch
        self.xid = 0
        self.zxid: int | None = None
        self.error: Code | None = None
        self.abandoned = False
        self.deadline = 0.0
        self.wake: Callable[[], object] = _never

    def outcome(self) -> T:
        """The result, or raises ``RequestFailed``; only after its end."""
        if self.error is not None:
            raise RequestFailed(self.error)
        return self.result


class StateChanged(msgspec.Struct, frozen=True):
    """The session's state is now this."""

    state: State


class Fired(msgspec.Struct, frozen=True):
    """Tell these watchers, if there are any. ``zxid`` is the change's; −1 where it is not known."""

    event: WatchEvent
    watchers: list[Watcher]
    zxid: int = -1


Effect = Request[Any] | Fired | StateChanged


class Core:
    """One session over any number of connections, one at a time. ``timeout_ms`` is asked for, then what was granted.

    With ``read_only`` a server without a leader will do; the session that it grants ends with the connection.
    ``login`` begins the SASL exchange by which each server must know us before anything else is asked of it.
    """

    def __init__(
        self, timeout_ms: int, *, read_only: bool = False, login: Callable[[], DigestClient] | None = None
    ) -> None:
        self._read_only = read_only
        self._login = login
        self._exchange: DigestClient | None = None
        self.state = State.CONNECTING
        self.session = 0
        self.password = _NO_PASSWORD
        self.timeout_ms = timeout_ms
        self.last_zxid = 0
        self._timeout_ms_asked = timeout_ms
        self._xid = 0
        self._pending: deque[Request[Any]] = deque()
        self._auths: deque[Request[Any] | None] = deque()  # None: sent again for us, nobody waits
        self._credentials: list[bytes] = []
        self._watches = Watches()
        self._granted = State.CONNECTED
        self._handshaking = False
        self._splitter = FrameSplitter(REPLY_BYTES_MAX)
        self._output: list[bytes] = []

    def hello(self) -> bytes:
        """Begin on a new connection: its first frame, which asks for a session or for ours again."""
        self._handshaking = True
        self._exchange = None
        self._splitter = FrameSplitter(REPLY_BYTES_MAX)
        asked = ConnectRequest(0, self.last_zxid, self._timeout_ms_asked, self.session, self.password)
        return frame(asked.encode() + (b"\1" if self._read_only else b"\0"))

    def submit(self, request: Request[Any]) -> None:
        """Queue a request; its end comes as an effect.

        Raises:
            RequestFailed: there is no connection (CONNECTIONLOSS), or the session ended.
            LocalProtocolError: it is larger than servers accept.
        """
        self.require_session()
        if not self.state.connected:
            raise RequestFailed(Code.CONNECTIONLOSS)
        if len(request.body) + 8 > REQUEST_BYTES_MAX:
            raise LocalProtocolError(f"request of {len(request.body) + 8} bytes; servers take {REQUEST_BYTES_MAX}")
        if request.op is Op.AUTH:
            request.xid = Xid.AUTH
            self._auths.append(request)
            if request.body not in self._credentials:
                self._credentials.append(request.body)
        else:
            self._xid = self._xid + 1 if self._xid < _XID_MAX else 1
            request.xid = self._xid
            self._pending.append(request)
        self._emit(request.xid, request.op, request.body)

    def require_session(self) -> None:
        """Raise ``RequestFailed`` if the session ended, with what every call then raises."""
        if self.state.ended:
            raise RequestFailed(_ENDED[self.state])

    def ping(self) -> None:
        """Queue a ping."""
        self._emit(Xid.PING, Op.PING)

    def _emit(self, xid: int, op: int, body: bytes = b"") -> None:
        self._output.append(_REQUEST_HEADER.pack(len(body) + 8, xid, op) + body)

    def take_output(self) -> bytes:
        """Everything queued since the last call, to be sent in one piece."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def feed(self, received: bytes) -> Iterator[Effect]:
        """Take bytes of the connection; yields what they cause, in order. Consume it to the end.

        Raises:
            PeerProtocolError: drop the connection; effects yielded before stand.
        """
        for payload in self._splitter.feed(received):
            if self.state.ended:
                return
            if self._handshaking:
                yield from self._welcome(payload)
            elif self._exchange is not None:
                yield from self._sasl_answer(self._exchange, payload)
            else:
                yield from self._frame(payload)

    def _welcome(self, payload: bytes) -> Iterator[Effect]:
        answer, end = ConnectResponse.decode_from(payload, 0)
        self._handshaking = False
        if answer.timeout_ms <= 0:
            self.state = State.EXPIRED
            yield StateChanged(self.state)
            yield from self._tell_watchers_it_is_over()
            return
        self.timeout_ms = answer.timeout_ms
        self.session = answer.session
        self.password = answer.password or _NO_PASSWORD
        self._granted = State.CONNECTED_READ_ONLY if payload[end:] == b"\1" else State.CONNECTED
        if self._login is None:
            yield self._begin()
        else:
            self._exchange = self._login()
            self._emit_token(self._exchange.step(None))

    def _emit_token(self, token: bytes) -> None:
        self._xid = self._xid + 1 if self._xid < _XID_MAX else 1
        self._emit(self._xid, Op.SASL, SaslToken(token).encode())

    def _sasl_answer(self, exchange: DigestClient, payload: bytes) -> Iterator[Effect]:
        """The server's next token, until both ends know each other; a server that asks for none knows nobody."""
        if len(payload) < _REPLY_HEADER.size:
            raise PeerProtocolError(f"reply of {len(payload)} bytes")
        _, _, err = _REPLY_HEADER.unpack_from(payload)
        token = None if err else SaslToken.decode_from(payload, _REPLY_HEADER.size)[0].token
        try:
            answer = None if token is None else exchange.step(token)
        except SaslFailed:
            answer = None
        if answer is None:
            yield from self.end(State.AUTH_FAILED)
        elif exchange.done:
            self._exchange = None
            yield self._begin()
        else:
            self._emit_token(answer)

    def _begin(self) -> StateChanged:
        """The server will do what we ask of it."""
        self.state = self._granted
        # Identities first: a re-registered watch is delivered only to who may read the node.
        for credentials in self._credentials:
            self._auths.append(None)
            self._emit(Xid.AUTH, Op.AUTH, credentials)
        for watches in self._watches.registrations(self.last_zxid):
            op = Op.SET_WATCHES2 if isinstance(watches, SetWatches2) else Op.SET_WATCHES
            self._emit(Xid.SET_WATCHES, op, watches.encode())
        return StateChanged(self.state)

    def _frame(self, payload: bytes) -> Iterator[Effect]:
        if len(payload) < _REPLY_HEADER.size:
            raise PeerProtocolError(f"reply of {len(payload)} bytes")
        xid, zxid, err = _REPLY_HEADER.unpack_from(payload)
        if xid > 0:
            request = self._answer(xid, err, payload)
            request.zxid = zxid
            self.last_zxid = max(self.last_zxid, zxid)
            yield request
            if request.op is Op.CLOSE_SESSION and not err:
                yield from self.end(State.CLOSED)
        elif xid == Xid.NOTIFICATION:
            # Its zxid is not remembered: events of the same transaction may still be behind it.
            yield self._notification(WatcherEvent.decode_from(payload, _REPLY_HEADER.size)[0], zxid)
        elif xid == Xid.AUTH:
            yield from self._auth_answer(err)
        elif xid == Xid.SET_WATCHES:
            self.last_zxid = max(self.last_zxid, zxid)
        elif xid != Xid.PING:
            raise PeerProtocolError(f"reply with xid {xid}")

    def _answer(self, xid: int, err: int, payload: bytes) -> Request[Any]:
        if not self._pending or self._pending[0].xid != xid:
            expected = self._pending[0].xid if self._pending else "none"
            raise PeerProtocolError(f"reply to xid {xid}, expected {expected}")
        request = self._pending[0]
        if err == 0:
            request.result = request.decode(payload, _REPLY_HEADER.size)[0]
        else:
            request.error = _CODES.get(err, Code.SYSTEMERROR)
        # Only now: had the body been broken, the request would have to fail with the connection.
        self._pending.popleft()
        if request.watch is not None:
            self._keep_watch(request, request.watch, err)
        return request

    def _keep_watch(self, request: Request[Any], watch: tuple[Table, str, Watcher], err: int) -> None:
        """Know of watches what the server does: what it gave up too, even if nobody waits for its answer."""
        table, path, watcher = watch
        if request.op is Op.REMOVE_WATCHES:
            if err == 0:
                self._watches.forget(table, path)
        elif not request.abandoned:
            if err == 0:
                self._watches.add(table, path, watcher)
            elif err == Code.NONODE and request.op is Op.EXISTS:
                self._watches.add(Table.EXIST, path, watcher)

    def _auth_answer(self, err: int) -> Iterator[Effect]:
        if not self._auths:
            raise PeerProtocolError("auth reply without a request")
        request = self._auths[0]
        if err:
            yield from self.end(State.AUTH_FAILED)
            return
        self._auths.popleft()
        if request is not None:
            request.result = None
            yield request

    def _notification(self, event: WatcherEvent, zxid: int) -> Fired:
        try:
            kind = EventType(event.type)
        except ValueError:
            raise PeerProtocolError(f"event of type {event.type}") from None
        path = event.path or ""
        return Fired(WatchEvent(kind, path), self._watches.take(kind, path), zxid)

    def lost(self) -> list[Effect]:
        """The connection is gone: what was on its way fails with CONNECTIONLOSS; whether it was done is unknown."""
        self._output.clear()
        effects = self._fail_all(Code.CONNECTIONLOSS)
        if self._granted is State.CONNECTED_READ_ONLY and (self.state.connected or self._exchange is not None):
            # No other server knows that session; one of theirs would be told that it is over.
            self.session, self.password = 0, _NO_PASSWORD
        if self.state.connected:
            self.state = State.CONNECTING
            effects.append(StateChanged(self.state))
        return effects

    def end(self, state: State) -> list[Effect]:
        """The session is over for us, for the reason ``state``; what was on its way fails. Idempotent."""
        if self.state.ended:
            return []
        self.state = state
        self._output.clear()
        lost = Code.AUTHFAILED if state is State.AUTH_FAILED else Code.CONNECTIONLOSS
        effects = [*self._fail_all(lost), StateChanged(state)]
        if state is not State.CLOSED:
            effects += self._tell_watchers_it_is_over()
        return effects

    def _tell_watchers_it_is_over(self) -> list[Effect]:
        return [Fired(WatchEvent(None, path), watchers) for path, watchers in self._watches.take_all()]

    def _fail_all(self, code: Code) -> list[Effect]:
        requests = [request for request in (*self._pending, *self._auths) if request is not None]
        self._pending.clear()
        self._auths.clear()
        for request in requests:
            request.error = request.error or code
        return list(requests)

    def expire(self, now: float) -> list[Request[Any]]:
        """Requests whose deadline passed: they fail with REQUESTTIMEOUT now, their replies are still expected."""
        late = [request for request in self._waited_for() if request.deadline <= now]
        for request in late:
            request.error = Code.REQUESTTIMEOUT
            request.abandoned = True
        return late

    def next_deadline(self) -> float | None:
        """The earliest deadline of a request somebody waits for."""
        return min((request.deadline for request in self._waited_for()), default=None)

    def _waited_for(self) -> Iterator[Request[Any]]:
        for request in (*self._pending, *self._auths):
            if request is not None and not request.abandoned:
                yield request
