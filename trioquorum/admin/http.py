"""HTTP as far as the admin port needs it: heads of requests read with bounds, and whole answers. No bodies come in."""

import json
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import h11
import msgspec
import trio

from trioquorum.admin.settings import AdminLimits

END_OF_HEAD: Final = b"\r\n\r\n"
RECEIVE_BYTES: Final = 16 << 10
ONCE: Final = frozenset(("host", "origin", "authorization", "upgrade", "connection", "sec-websocket-protocol"))
"""Headers that mean something to us and so may not come twice."""

REASONS: Final = {
    200: "OK",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

SAFETY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"


class Refused(Exception):
    """A request that is turned away: the answer's status, and what it says. ``fatal`` ones end the connection."""

    def __init__(self, status: int, reason: str, *, fatal: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.fatal = fatal


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A request: ``path`` is decoded and without query, ``headers`` have names in lower case.

    ``raw`` are its bytes, and what has arrived behind them.
    """

    method: str
    path: str
    headers: dict[str, str]
    keep_alive: bool
    raw: bytes

    @property
    def wants_websocket(self) -> bool:
        """Whether it asks for a WebSocket."""
        upgrade = self.headers.get("upgrade", "").lower() == "websocket"
        tokens = {token.strip().lower() for token in self.headers.get("connection", "").split(",")}
        return upgrade and "upgrade" in tokens


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(value: Any, status: int = 200) -> Answer:
    """``value`` as JSON that nobody keeps."""
    body = json.dumps(value, indent=2).encode() + b"\n"
    return Answer(status=status, body=body, type=JSON, headers=(("Cache-Control", "no-store"),))


class Caller:
    """A connection: requests are taken off its stream one after the other."""

    def __init__(self, stream: trio.abc.Stream, limits: AdminLimits) -> None:
        self.stream = stream
        self._limits = limits
        self._buffer = b""

    async def next_head(self) -> Head | None:
        """The next request; ``None`` when the other end is silent too long or gone.

        Raises:
            Refused: it is no request that can be answered, or too large.
        """
        limits = self._limits
        await trio.lowlevel.checkpoint()
        if not self._buffer:
            with trio.move_on_after(limits.idle_s):
                self._buffer = await self._receive()
            if not self._buffer:
                return None
        whole = False
        with trio.move_on_after(limits.head_s):
            whole = await self._complete_head()
        if not whole:
            return None
        raw, self._buffer = self._buffer, b""
        head = _parse(raw, limits.head_bytes_max)
        if not head.wants_websocket:
            self._buffer = raw[raw.index(END_OF_HEAD) + len(END_OF_HEAD) :]
        return head

    async def _complete_head(self) -> bool:
        """Read until the buffer holds a whole head; false when the other end stops before."""
        await trio.lowlevel.checkpoint()
        while END_OF_HEAD not in self._buffer:
            if len(self._buffer) > self._limits.head_bytes_max:
                raise Refused(431, "the head of the request is too large", fatal=True)
            more = await self._receive()
            if not more:
                return False
            self._buffer += more
        return True

    async def _receive(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return bytes(await self.stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return b""

    async def answer(self, head: Head | None, answer: Answer, *, close: bool = False) -> bool:
        """Send an answer; whether the connection is good for another request."""
        keep = head is not None and head.keep_alive and not close
        lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}", f"Content-Type: {answer.type}"]
        lines += [f"{name}: {value}" for name, value in (*SAFETY_HEADERS, *answer.headers)]
        lines += [f"Content-Length: {len(answer.body)}", f"Connection: {'keep-alive' if keep else 'close'}"]
        data = "\r\n".join(lines).encode("latin-1") + END_OF_HEAD
        if head is None or head.method != "HEAD":
            data += answer.body
        try:
            with trio.fail_after(self._limits.send_s):
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            keep = False
        await trio.lowlevel.checkpoint()
        return keep


def _parse(raw: bytes, head_bytes_max: int) -> Head:
    """Read a head that is there as a whole.

    Raises:
        Refused: it makes no sense, or has a body.
    """
    at = raw.index(END_OF_HEAD) + len(END_OF_HEAD)
    if at > head_bytes_max:
        raise Refused(431, "the head of the request is too large", fatal=True)
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=head_bytes_max)
    try:
        connection.receive_data(raw[:at])
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            raise Refused(400, "this is no request", fatal=True)
        target = request.target.decode("ascii")
        path = unquote(urlsplit(target).path, errors="strict")
    except (h11.RemoteProtocolError, UnicodeDecodeError, ValueError) as error:
        raise Refused(400, f"the request makes no sense: {error}", fatal=True) from None
    headers: dict[str, str] = {}
    for name, value in request.headers:
        key = name.decode("ascii")
        if key in ONCE and key in headers:
            raise Refused(400, f"{key} comes twice", fatal=True)
        headers[key] = value.decode("latin-1")
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise Refused(413, "requests have no body here", fatal=True)
    keep = request.http_version == b"1.1" and "close" not in headers.get("connection", "").lower()
    return Head(method=request.method.decode("ascii"), path=path, headers=headers, keep_alive=keep, raw=raw)
