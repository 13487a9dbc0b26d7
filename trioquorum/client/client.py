"""The client for users: ZooKeeper's calls, on Trio or asyncio."""

import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeVar

import anyio
from anyio.abc import ByteStream

from trioquorum.client.core import Decode, State, nothing
from trioquorum.client.session import CLOSE_TIMEOUT_MS, Dial, Observer, Session, task_group
from trioquorum.client.transaction import Result, Transaction, create_request, decode_results
from trioquorum.client.watches import Table, Watcher, WatchEvent
from trioquorum.errors import Code, ConfigError
from trioquorum.wire.digest_md5 import DigestClient
from trioquorum.wire.ops import Op
from trioquorum.wire.records import (
    Acl,
    AclResponse,
    AuthRequest,
    Children2Response,
    ChildrenResponse,
    DataResponse,
    PathRequest,
    PathResponse,
    PathStatResponse,
    PathTypeRequest,
    PathVersionRequest,
    PathWatchRequest,
    ReconfigRequest,
    SetAclRequest,
    SetDataRequest,
    Stat,
    StatResponse,
)

T = TypeVar("T")

SESSION_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_MS = 10_000
CLIENT_PORT = 2181

_ADD_MODES = {Table.PERSISTENT: 0, Table.RECURSIVE: 1}
_REMOVE_KINDS = {Table.PERSISTENT: 4, Table.RECURSIVE: 5}  # client-protocol §11


def _nobody(_: WatchEvent) -> None:
    """The watcher of a request that removes watches."""


CONFIG_NODE = "/zookeeper/config"


@asynccontextmanager
async def connect(
    *dials: Dial,
    session_timeout_ms: int = SESSION_TIMEOUT_MS,
    request_timeout_ms: int | None = None,
    connect_timeout_ms: int = CONNECT_TIMEOUT_MS,
    on_state: Callable[[State], object] | None = None,
    observer: Observer | None = None,
    read_only: bool = False,
    sasl: tuple[str, str] | None = None,
) -> "AsyncIterator[Client]":
    """A client with a session, which is closed when the block ends.

    Servers are tried in the order given, round and round, whenever there is no connection; the session is kept. Every
    call waits at most ``request_timeout_ms`` (None: the granted session timeout) for a connection, and as long again
    for its reply. ``on_state`` is told each new state, synchronously; what it or a watcher raises ends the block.
    ``observer`` sees all that goes over the wire, for histories that are checked later (``trioquorum.testing``).
    With ``read_only`` a server that has lost its ensemble will do as long as no other is found: it shows old data and
    refuses writes with NOTREADONLY, in a session that ends with the connection; one that there was before waits.
    ``sasl`` is a name and its password: every server must be given proof of them by SASL DIGEST-MD5, and prove that
    it knows them; refusal ends the session with AUTHFAILED.

    Raises:
        ConnectFailed: no session within ``connect_timeout_ms``.
    """
    if not dials:
        raise ConfigError("no server to connect to; give at least one")
    login = None if sasl is None else partial(_login, *sasl)
    session = Session(
        dials, session_timeout_ms, request_timeout_ms, on_state, observer, read_only=read_only, login=login
    )
    async with task_group() as tasks:
        tasks.start_soon(session.run)
        try:
            await session.first(connect_timeout_ms / 1000)
            yield Client(session)
        finally:
            with anyio.move_on_after(CLOSE_TIMEOUT_MS / 1000, shield=True):
                await session.goodbye()
            session.end()


def connect_tcp(
    hosts: str,
    *,
    session_timeout_ms: int = SESSION_TIMEOUT_MS,
    request_timeout_ms: int | None = None,
    connect_timeout_ms: int = CONNECT_TIMEOUT_MS,
    on_state: Callable[[State], object] | None = None,
    read_only: bool = False,
    sasl: tuple[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> "AbstractAsyncContextManager[Client]":
    """``connect`` to ``host:port,host:port`` (port 2181 if left out, IPv6 addresses in brackets), with ``tls`` by TLS.

    Raises:
        ConfigError: not such a list.
    """
    return connect(
        *(partial(_dial, host, port, tls) for host, port in parse_hosts(hosts)),
        session_timeout_ms=session_timeout_ms,
        request_timeout_ms=request_timeout_ms,
        connect_timeout_ms=connect_timeout_ms,
        on_state=on_state,
        read_only=read_only,
        sasl=sasl,
    )


async def _dial(host: str, port: int, tls: ssl.SSLContext | None) -> ByteStream:
    if tls is None:
        return await anyio.connect_tcp(host, port)
    return await anyio.connect_tcp(host, port, ssl_context=tls)


def _login(user: str, password: str) -> DigestClient:
    return DigestClient(user, password, secrets.token_hex(16))


def parse_hosts(hosts: str) -> list[tuple[str, int]]:
    """The servers in a ZooKeeper connect string, without a chroot.

    Raises:
        ConfigError: not such a list.
    """
    servers = []
    for server in hosts.split(","):
        host, colon, port = server.strip().rpartition(":")
        if not colon or port.endswith("]"):
            host, port = server.strip(), str(CLIENT_PORT)
        bracketed = host.startswith("[") and host.endswith("]")
        if not host or "/" in server or (":" in host and not bracketed) or not (port.isascii() and port.isdigit()):
            raise ConfigError(f"{server.strip()!r} in {hosts!r} is no server; write it like 127.0.0.1:2181")
        servers.append((host[1:-1] if bracketed else host, int(port)))
    return servers


class Client:
    """One session. Made by ``connect``; any number of tasks may call at once, and nobody waits for another's reply.

    Every call may raise ``RequestFailed`` with the server's code, or CONNECTIONLOSS (no server in time, or the
    connection broke: a write may have happened or not), REQUESTTIMEOUT (sent, no answer in time: the same),
    SESSIONEXPIRED and AUTHFAILED (the session is over, every later call raises the same; SESSIONEXPIRED also after
    ``close``). A cancelled call may still happen. ``watch=`` takes a watcher, told once of the next change;
    ``add_watch`` one that is told of all of them.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def state(self) -> State:
        """Of the session, as far as known here."""
        return self._session.core.state

    @property
    def session(self) -> int:
        """The session's id."""
        return self._session.core.session

    @property
    def session_timeout_ms(self) -> int:
        """As granted by the server."""
        return self._session.core.timeout_ms

    @property
    def last_zxid(self) -> int:
        """The newest zxid a reply carried."""
        return self._session.core.last_zxid

    async def create(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        acl: Sequence[Acl] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
    ) -> str:
        """Create a node; its path, which with ``sequence`` has ten digits more. No ``acl``: open to everybody."""
        record = create_request(path, data, acl, ephemeral=ephemeral, sequence=sequence)
        return (await self.call(Op.CREATE, record.encode(), PathResponse.decode_from)).path or ""

    async def create2(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        acl: Sequence[Acl] | None = None,
        ephemeral: bool = False,
        sequence: bool = False,
    ) -> tuple[str, Stat]:
        """Create a node; its path and Stat."""
        record = create_request(path, data, acl, ephemeral=ephemeral, sequence=sequence)
        reply = await self.call(Op.CREATE2, record.encode(), PathStatResponse.decode_from)
        return reply.path or "", reply.stat

    async def delete(self, path: str, version: int = -1) -> None:
        """Delete a node that has ``version`` (−1: any)."""
        await self.call(Op.DELETE, PathVersionRequest(path, version).encode(), nothing)

    async def exists(self, path: str, watch: Watcher | None = None) -> Stat | None:
        """The node's Stat, or None; ``watch`` is set in both cases: creation, deletion or new data."""
        asked = None if watch is None else (Table.DATA, path, watch)
        body = PathWatchRequest(path, watch is not None).encode()
        request = await self._session.ask(Op.EXISTS, body, StatResponse.decode_from, asked)
        return None if request.error is Code.NONODE else request.outcome().stat

    async def get(self, path: str, watch: Watcher | None = None) -> tuple[bytes | None, Stat]:
        """Data (null is None) and Stat; ``watch``: deletion or new data."""
        reply = await self._read(Op.GET_DATA, path, Table.DATA, watch, DataResponse.decode_from)
        return reply.data, reply.stat

    async def set(self, path: str, data: bytes | None, version: int = -1) -> Stat:
        """Write the data of a node that has ``version`` (−1: any); its new Stat."""
        return (
            await self.call(Op.SET_DATA, SetDataRequest(path, data, version).encode(), StatResponse.decode_from)
        ).stat

    async def get_children(self, path: str, watch: Watcher | None = None) -> list[str]:
        """Names of the children, in no order; ``watch``: a child came or went, or the node was deleted."""
        reply = await self._read(Op.GET_CHILDREN, path, Table.CHILD, watch, ChildrenResponse.decode_from)
        return reply.children or []

    async def get_children2(self, path: str, watch: Watcher | None = None) -> tuple[list[str], Stat]:
        """The same with the node's Stat."""
        reply = await self._read(Op.GET_CHILDREN2, path, Table.CHILD, watch, Children2Response.decode_from)
        return reply.children or [], reply.stat

    async def get_acl(self, path: str) -> tuple[list[Acl], Stat]:
        """ACL and Stat."""
        reply = await self.call(Op.GET_ACL, PathRequest(path).encode(), AclResponse.decode_from)
        return reply.acl or [], reply.stat

    async def set_acl(self, path: str, acl: Sequence[Acl], version: int = -1) -> Stat:
        """Replace the ACL of a node whose ACL has ``version`` (−1: any); the new Stat."""
        record = SetAclRequest(path, list(acl), version)
        return (await self.call(Op.SET_ACL, record.encode(), StatResponse.decode_from)).stat

    async def sync(self, path: str = "/") -> None:
        """After this, reads show at least what was committed when it was called."""
        await self.call(Op.SYNC, PathRequest(path).encode(), PathResponse.decode_from)

    async def get_config(self, watch: Watcher | None = None) -> tuple[str, Stat]:
        """The ensemble's configuration, one server a line and its version in the last; ``watch``: it changed."""
        data, stat = await self.get(CONFIG_NODE, watch)
        return (data or b"").decode(), stat

    async def reconfig(
        self,
        joining: Iterable[str] = (),
        leaving: Iterable[int] = (),
        *,
        new_members: Iterable[str] | None = None,
        from_config: int = -1,
    ) -> tuple[str, Stat]:
        """Change the ensemble; the new configuration and the config node's Stat.

        ``joining`` are lines such as ``server.4=10.0.0.4:2888:3888;10.0.0.4:2181`` (``:observer`` behind the election
        port), which add or replace members; ``leaving`` are ids. Or ``new_members`` lists all of them.
        ``from_config`` is the version that must be in force (−1: any).

        Raises:
            RequestFailed: RECONFIGDISABLED, NOAUTH, RECONFIGINPROGRESS, BADVERSION, BADARGUMENTS, NEWCONFIGNOQUORUM
                (those who would decide are not there), or as every request.
        """
        request = ReconfigRequest(
            ",".join(joining) or None,
            ",".join(map(str, leaving)) or None,
            None if new_members is None else ",".join(new_members),
            from_config,
        )
        reply = await self.call(Op.RECONFIG, request.encode(), DataResponse.decode_from)
        return (reply.data or b"").decode(), reply.stat

    async def add_watch(self, path: str, watcher: Watcher, *, recursive: bool = False) -> None:
        """Tell ``watcher`` every change of the node from now on, until ``remove_watch``; it need not be there.

        That is its creation, new data, its end, and that its children changed; with ``recursive`` the creations, new
        data and ends of everything below as well, but no changes of children. What happens while there is no connection
        is not told, and what happened just before it broke may be told again by the next server.
        """
        asked = (Table.RECURSIVE if recursive else Table.PERSISTENT, path, watcher)
        body = PathTypeRequest(path, _ADD_MODES[asked[0]]).encode()
        (await self._session.ask(Op.ADD_WATCH, body, nothing, asked)).outcome()

    async def remove_watch(self, path: str, *, recursive: bool = False) -> None:
        """Give up what ``add_watch`` set on ``path``, whoever watches; NOWATCHER if nobody does."""
        table = Table.RECURSIVE if recursive else Table.PERSISTENT
        body = PathTypeRequest(path, _REMOVE_KINDS[table]).encode()
        (await self._session.ask(Op.REMOVE_WATCHES, body, nothing, (table, path, _nobody))).outcome()

    def transaction(self) -> Transaction:
        """Writes that happen together or not at all."""
        return Transaction(self._commit)

    async def _commit(self, body: bytes) -> list[Result | Code]:
        return await self.call(Op.MULTI, body, decode_results)

    async def add_auth(self, scheme: str, auth: bytes) -> None:
        """Add an identity, for this and every later connection. Refusal ends the session with AUTHFAILED."""
        await self.call(Op.AUTH, AuthRequest(0, scheme, auth).encode(), nothing)

    async def _read(self, op: Op, path: str, table: Table, watch: Watcher | None, decode: Decode[T]) -> T:
        body = PathWatchRequest(path, watch is not None).encode()
        request = await self._session.ask(op, body, decode, None if watch is None else (table, path, watch))
        return request.outcome()

    async def call(self, op: Op, body: bytes, decode: Decode[T]) -> T:
        """Any other request: its encoded record, and what decodes the body of its reply.

        Raises:
            RequestFailed: as every request.
            LocalProtocolError: larger than servers accept.
        """
        return (await self._session.ask(op, body, decode)).outcome()

    async def close(self) -> None:
        """Close the session before the block ends: its ephemerals go now. Idempotent, bounded.

        Without a connection the session is left to expire.
        """
        with anyio.move_on_after(CLOSE_TIMEOUT_MS / 1000):
            await self._session.goodbye()
        self._session.end()
