"""The audit log: who changed what, told by the peer that the client is connected to, when it is applied (config §8)."""

from collections.abc import Mapping, Sequence
from typing import Final

from trioquorum.errors import PeerProtocolError
from trioquorum.events import Event, Events
from trioquorum.pipeline.client import Client
from trioquorum.tree.apply import Applied
from trioquorum.wire.client import REQUEST_HEADER, decode_multi
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CreateFlag, Op, Perm
from trioquorum.wire.records import Acl, CreateRequest, CreateTtlRequest, PathRequest, SetAclRequest

_CREATES: Final = frozenset((Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL))
_NAMES: Final[Mapping[int, str]] = {
    **dict.fromkeys(_CREATES, "create"),
    Op.DELETE: "delete",
    Op.DELETE_CONTAINER: "delete",
    Op.SET_DATA: "setData",
    Op.SET_ACL: "setAcl",
    Op.MULTI: "multiOperation",
    Op.RECONFIG: "reconfig",
}
_PERMISSIONS: Final = ((Perm.CREATE, "c"), (Perm.DELETE, "d"), (Perm.READ, "r"), (Perm.WRITE, "w"), (Perm.ADMIN, "a"))


class Audited(Event, frozen=True, tag="audit"):
    """One line of the audit log, as ZooKeeper writes it: ``key=value``, parted by tabs."""

    line: str


class Audit:
    """Writes the audit log into the stream of events. ``server_user`` is who runs this server."""

    def __init__(self, events: Events, server_user: str) -> None:
        self._events = events
        self._server_user = server_user

    def server(self, operation: str, result: str) -> None:
        """The server itself starts or stops."""
        self._tell(user=self._server_user, operation=operation, result=result)

    def session_ended(self, session: int, paths: Sequence[str]) -> None:
        """These ephemerals went with their session."""
        for path in paths:
            self._tell(
                session=_hexadecimal(session),
                user=self._server_user,
                operation="ephemeralZNodeDeletionOnSessionCloseOrExpire",
                znode=path,
                result="success",
            )

    def applied(self, client: Client, op: int, payload: bytes, applied: Applied) -> None:
        """A client's write was applied, or failed. ``payload`` is its request, header included."""
        if op not in _NAMES:
            return
        try:
            if applied.parts is not None:
                self._multi(client, payload, applied.parts)
            else:
                self._one(client, op, _request(op, payload), applied)
        except PeerProtocolError:  # it failed because it made no sense
            self._write(client, op, None, failed=True)

    def _multi(self, client: Client, payload: bytes, parts: Sequence[Applied]) -> None:
        if any(part.type == Op.ERROR for part in parts):
            self._write(client, Op.MULTI, None, failed=True)
            return
        for part, (op, request) in zip(parts, decode_multi(payload, REQUEST_HEADER.size), strict=False):
            if op != Op.CHECK:
                self._one(client, op, request, part)

    def _one(self, client: Client, op: int, request: Record | None, applied: Applied) -> None:
        path = applied.path or getattr(request, "path", None)
        kind = acl = None
        if isinstance(request, CreateRequest | CreateTtlRequest) and request.flags in list(CreateFlag):
            kind = CreateFlag(request.flags).name.lower()
        if isinstance(request, SetAclRequest):
            acl = ",".join(map(_acl_text, request.acl or ()))
        self._write(client, op, path, failed=bool(applied.err), kind=kind, acl=acl)

    def _write(
        self,
        client: Client,
        op: int,
        path: str | None,
        *,
        failed: bool,
        kind: str | None = None,
        acl: str | None = None,
    ) -> None:
        self._tell(
            session=_hexadecimal(client.session),
            user=",".join(filter(None, (_user(scheme, who) for scheme, who in client.auth))),
            ip=client.address.rpartition(":")[0],
            operation=_NAMES[op],
            znode=path,
            znode_type=kind,
            acl=acl,
            result="failure" if failed else "success",
        )

    def _tell(self, **fields: str | None) -> None:
        self._events.emit(Audited(line="\t".join(f"{name}={value}" for name, value in fields.items() if value)))


def _request(op: int, payload: bytes) -> Record | None:
    """What was asked for, as far as the log tells it."""
    if op == Op.RECONFIG:
        return None
    kind = PathRequest if op not in _CREATES else CreateTtlRequest if op == Op.CREATE_TTL else CreateRequest
    if op == Op.SET_ACL:
        return SetAclRequest.decode_from(payload, REQUEST_HEADER.size)[0]
    return kind.decode_from(payload, REQUEST_HEADER.size)[0]


def _user(scheme: str, who: str) -> str:
    """Of a digest id only the user: the rest proves the password."""
    return who.partition(":")[0] if scheme == "digest" else who


def _acl_text(acl: Acl) -> str:
    letters = "".join(letter for bit, letter in _PERMISSIONS if acl.perms & bit)
    return f"{acl.scheme}:{acl.id}:{letters}"


def _hexadecimal(session: int) -> str:
    return f"{session & (1 << 64) - 1:#x}"
