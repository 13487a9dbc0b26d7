"""Answers in a form in which two servers must agree: sessions by name, times by whether they can be right."""

import re
from collections.abc import Callable
from typing import Any, Final

from trioquorum.errors import PeerProtocolError
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import (
    AclResponse,
    Children2Response,
    ChildrenResponse,
    DataResponse,
    IntResponse,
    MultiHeader,
    PathResponse,
    PathStatResponse,
    Stat,
    StatResponse,
    WatcherEvent,
    WhoAmIResponse,
)

RESPONSES: Final[dict[int, type[Record]]] = {
    Op.CREATE: PathResponse,
    Op.EXISTS: StatResponse,
    Op.GET_DATA: DataResponse,
    Op.SET_DATA: StatResponse,
    Op.GET_ACL: AclResponse,
    Op.SET_ACL: StatResponse,
    Op.GET_CHILDREN: ChildrenResponse,
    Op.SYNC: PathResponse,
    Op.GET_CHILDREN2: Children2Response,
    Op.CREATE2: PathStatResponse,
    Op.RECONFIG: DataResponse,
    Op.CREATE_CONTAINER: PathStatResponse,
    Op.CREATE_TTL: PathStatResponse,
    Op.GET_EPHEMERALS: ChildrenResponse,
    Op.GET_ALL_CHILDREN_NUMBER: IntResponse,
    Op.ADD_WATCH: IntResponse,
    Op.WHO_AM_I: WhoAmIResponse,
    Op.ERROR: IntResponse,
}
"""Opcode → the body of its reply; multi and multiRead are read part by part, the others have none."""


_ADDRESS: Final = re.compile(rb"127\.0\.0\.1(:\d+)+")
"""In the text of a configuration."""


class Reader:
    """``sessions``: id → name. ``now_ms`` is the clock of this machine; times within ten minutes count as right."""

    def __init__(self, sessions: dict[int, str], now_ms: Callable[[], int]) -> None:
        self._sessions = sessions
        self._now_ms = now_ms

    def body(self, op: int, data: bytes) -> Any:
        """The body of a reply without error."""
        try:
            if op in (Op.MULTI, Op.MULTI_READ):
                return self._parts(data)
            if op in RESPONSES:
                record, end = RESPONSES[op].decode_from(data)
                return (*self._plain(record), *([data[end:].hex()] if end < len(data) else []))
        except PeerProtocolError as error:
            return f"{error}: {data.hex()}"
        return data.hex()

    def _parts(self, data: bytes) -> Any:
        parts: list[Any] = []
        at = 0
        while True:
            header, at = MultiHeader.decode_from(data, at)
            parts.append((header.type, header.done, header.err))
            if header.done:
                return [*parts, data[at:].hex()]
            if header.type in RESPONSES:
                record, at = RESPONSES[header.type].decode_from(data, at)
                parts.append(self._plain(record))

    def _plain(self, value: Any) -> Any:
        """Records as tuples; children, ACLs and identities sorted, since their order is nobody's promise."""
        match value:
            case Stat():
                return {
                    "zxids": (value.czxid, value.mzxid, value.pzxid),
                    "times": (self._time(value.ctime), self._time(value.mtime)),
                    "versions": (value.version, value.cversion, value.aversion),
                    "owner": self._sessions.get(value.ephemeral_owner, value.ephemeral_owner),
                    "sizes": (value.data_length, value.num_children),
                }
            case ChildrenResponse() | Children2Response():
                children = None if value.children is None else sorted(value.children)
                return (children, *((self._plain(value.stat),) if isinstance(value, Children2Response) else ()))
            case DataResponse():
                data = value.data and _ADDRESS.sub(b"127.0.0.1:port", value.data)
                return (data, self._plain(value.stat))
            case AclResponse():
                return (sorted(map(repr, value.acl or [])), self._plain(value.stat))
            case WhoAmIResponse():
                return sorted(map(repr, value.clients or []))
            case Record():
                return tuple(self._plain(getattr(value, name)) for name in value.__struct_fields__)
            case list():
                return [self._plain(item) for item in value]
            case _:
                return value

    def _time(self, ms: int) -> Any:
        return "now" if abs(ms - self._now_ms()) < 600_000 else ms

    def event(self, data: bytes) -> Any:
        """Type, state and path."""
        event, end = WatcherEvent.decode_from(data)
        return event.type, event.state, event.path, data[end:].hex()
