"""Sequences drawn from a seed: a few paths and identities, so that most requests meet something."""

import struct
from collections.abc import Callable
from random import Random
from typing import Final

from tests.interop.differential.deviations import not_sent, watched
from tests.interop.differential.servers import SESSION_TIMEOUT_MS
from tests.interop.differential.steps import SLOTS, Drop, Leave, Open, Request, Return, Say, Step
from trioquorum.wire.jute import Record, Text
from trioquorum.wire.ops import Op
from trioquorum.wire.records import (
    Acl,
    AuthRequest,
    CreateRequest,
    CreateTtlRequest,
    MultiHeader,
    PathRequest,
    PathTypeRequest,
    PathVersionRequest,
    PathWatchRequest,
    ReconfigRequest,
    SaslToken,
    SetAclRequest,
    SetDataRequest,
    SetWatches,
    SetWatches2,
)

PATHS: Final = ("/", "/a", "/b", "/a/b", "/a/c", "/a/b/d", "/a/b/d/e", "/b/c", "/ab", "/é")
SEQUENTIAL: Final = ("/a/s-", "/b/", "/", "/a/b/n")
SEQUENCES: Final = tuple(f"{path}{n:010d}" for path in ("/a/s-", "/b/", "/a/b/n") for n in range(4))
ODD_PATHS: Final = (
    ("", "a", "a/b", "/a/", "//", "/a//b", "/.", "/..", "/a/.", "/a/./b", "/a/../b", "/...", "/.x", "/a\0b", "/\x01")
    + ("/\x7f", "/\x9f", "/\xa0", "/\ud7ff", "/\ue000", "/\uf8ff", "/\uf900", "/\ufff0", "/\uffff", "/\U0001f600")
    + ("/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/x", "/zookeeper/quota/q", "/a ", "/ ", None)
)
DATA: Final = (b"", None, b"x", b"some data", bytes(range(256)), bytes(3000))
UNKNOWN: Final = (0, 10, 23, 77, 99, 108, 1000, -1, -2, -12, 2**31 - 1, -(2**31))
"""Opcodes; each ends the connection, which Java does before it answers what came before."""
QUOTAS: Final = (b"count=3,bytes=-1", b"count=-1,bytes=300", b"count=2,bytes=-1=;byteHardLimit=-1;countHardLimit=3") + (
    b"count=-1,bytes=-1=;byteHardLimit=300;countHardLimit=-1",
    b"count=1,bytes=9=;byteHardLimit=9;countHardLimit=4",
)
VERSIONS: Final = (-1, -1, -1, 0, 0, 1, 2, 3, -2, 2**31 - 1, -(2**31))
NUMBERS: Final = (0, 1, -1, 2, 3, 4, 5, 6, 7, 31, 127, 255, 2**31 - 1, -(2**31))
USERS: Final = ("bob:secret", "alice:x", "bob:other", "eve", ":", "", "a:b:c", "bob:é")
PERMS: Final = (31, 31, 31, 1, 2, 4, 8, 16, 17, 0, 9, 30, 64, -1)
IDS: Final = (
    ("world", "anyone"),
    ("world", "anyone"),
    ("auth", ""),
    ("auth", "x"),
    ("digest", "bob:fyVmFCwVbTJYrznoSu1koqYEYF0="),
    ("digest", "alice:n+sAWvpt+k41C7DlOU1IMEVhwyE="),
    ("digest", "nocolon"),
    ("digest", "a:b:c"),
    ("digest", ""),
    ("ip", "127.0.0.1"),
    ("ip", "127.0.0.0/8"),
    ("ip", "10.1.0.0/16"),
    ("ip", "127.0.0.1/33"),
    ("ip", "127.0.0.1/"),
    ("ip", "x"),
    ("ip", "::1"),
    ("world", "somebody"),
    ("super", ""),
    ("nosuch", "x"),
    ("", ""),
    (None, None),
    ("world", None),
    ("auth", None),
    (None, "anyone"),
)


class Drawing:
    """One sequence. ``peers``: how many there are to connect to."""

    def __init__(self, seed: int, peers: int = 1) -> None:
        self._chance = Random(seed)
        self._peers = peers
        self._quotas = False  # hard limits count what is applied, of requests under way together some or none
        self._modes: dict[Text, str] = {}
        self._modes_of: list[dict[Text, str]] = [{} for _ in range(SLOTS)]

    def sequence(self, length: int) -> list[Step]:
        """``length`` steps behind the first sessions."""
        steps: list[Step] = [self._open(slot) for slot in range(SLOTS)]
        while len(steps) < length + SLOTS:
            steps.append(self._step())
        return steps

    def _open(self, slot: int) -> Open:
        chance = self._chance
        timeout_ms = chance.choice((SESSION_TIMEOUT_MS, SESSION_TIMEOUT_MS, 2**31 - 1))
        return Open(slot, timeout_ms, chance.choice((False, False, True, None)), chance.randrange(self._peers))

    def _step(self) -> Step:
        chance = self._chance
        slot = chance.randrange(SLOTS)
        draw = chance.random()
        if draw < 0.02:
            return self._open(slot) if chance.random() < 0.3 else Leave(slot)
        if draw < 0.04:
            return Drop(slot)
        if draw < 0.09:
            odd = chance.random()
            return Return(slot, chance.randrange(self._peers), password=odd > 0.15, ahead=odd > 0.9)
        if draw < 0.12:
            return Say(slot, [self._auth()])
        if draw < 0.125:
            return Say(slot, [Request(chance.choice(UNKNOWN))])
        if draw < 0.145:
            return Say(slot, self._quota())
        if draw < 0.85 or self._peers > 1 or self._quotas:
            return Say(slot, [self._request(slot)])
        requests = [self._request(slot) for _ in range(chance.randrange(2, 6))]
        # What SASL is answered does not wait its turn, and what exists leaves behind may have to be taken away.
        return Say(slot, [it for it in requests if it.op != Op.SASL and (it.op != Op.EXISTS or not watched(it))])

    def _quota(self) -> list[Request]:
        """What the command line sends for ``setquota``, whatever is there already."""
        path = self._chance.choice(("/a", "/a", "/b", "/a/b", "/a/b/d"))
        nodes: list[tuple[str, bytes]] = []
        at = "/zookeeper/quota"
        for name in path.split("/")[1:]:
            at += f"/{name}"
            nodes.append((at, b""))
        nodes += [
            (f"{at}/zookeeper_limits", self._chance.choice(QUOTAS)),
            (f"{at}/zookeeper_stats", b"count=0,bytes=0"),
        ]
        acl = [Acl(31, "world", "anyone")]
        self._quotas = True
        return [Request(Op.CREATE, CreateRequest(name, data, acl, 0).encode()) for name, data in nodes]

    def _auth(self) -> Request:
        chance = self._chance
        scheme = chance.choice((*["digest"] * 20, "world", "ip", "nosuch", None))
        user = chance.choice(USERS).encode() if chance.random() < 0.97 else chance.choice((None, b"\xff\xfe:x"))
        return Request(Op.AUTH, AuthRequest(chance.choice((0, 0, 7)), scheme, user).encode())

    def _request(self, slot: int) -> Request:
        """Any request that may come in a burst."""
        chance = self._chance
        self._modes = self._modes_of[slot]
        while True:
            op = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
            if op in _EMPTY:
                request = Request(op)
            elif op in (Op.MULTI, Op.MULTI_READ):
                request = Request(op, self._multi(op))
            else:
                request = Request(op, self._body(op).encode(), chance.choice((0, 0, 1, 2, 5, 20, 1000)))
            if chance.random() < 0.04:
                request.body = self._broken(request.body)
            if not_sent(request, self._modes) is None:
                self._modes.update(watched(request))
                return request

    def _body(self, op: int) -> Record:
        return _BODIES[op](self)

    def _broken(self, body: bytes) -> bytes:
        chance = self._chance
        data = bytearray(body)
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                del data[at:]
            case 1:
                data += chance.randbytes(chance.randrange(1, 9))
            case 2:
                data[at : at + 4] = struct.pack(">i", chance.choice(NUMBERS))
            case 3:
                data[at : at + 1] = chance.randbytes(1)
            case 4:
                del data[at : at + chance.randrange(1, 5)]
        return bytes(data)

    def _multi(self, op: int) -> bytes:
        chance = self._chance
        writes = (Op.CREATE, Op.CREATE, Op.CREATE2, Op.DELETE, Op.SET_DATA, Op.SET_DATA, Op.CHECK, Op.CREATE_CONTAINER)
        reads = (Op.GET_DATA, Op.GET_CHILDREN)
        kinds = (*writes, Op.CREATE_TTL) if op == Op.MULTI else reads
        parts = b""
        for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4, 5))):
            kind = chance.choice(kinds)
            if chance.random() < 0.02:
                kind = chance.choice((*writes, *reads, Op.EXISTS, Op.SET_ACL, Op.SYNC))
            parts += MultiHeader(kind, False, -1).encode() + self._body(kind).encode()
        return parts + MultiHeader(-1, True, -1).encode()

    # Fields

    def path(self) -> str | None:
        """Mostly one that may exist."""
        chance = self._chance
        draw = chance.random()
        if draw < 0.8:
            return chance.choice(PATHS)
        return chance.choice(SEQUENCES) if draw < 0.92 else chance.choice(ODD_PATHS)

    def _data(self) -> bytes | None:
        return self._chance.choice(DATA)

    def _version(self) -> int:
        return self._chance.choice(VERSIONS)

    def acl(self) -> list[Acl] | None:
        """Mostly one that is taken."""
        chance = self._chance
        if chance.random() < 0.75:
            return [Acl(31, "world", "anyone")]
        if chance.random() < 0.06:
            return chance.choice((None, []))
        entries = [Acl(chance.choice(PERMS), *chance.choice(IDS)) for _ in range(chance.choice((1, 1, 2, 3)))]
        return entries + entries[:1] if chance.random() < 0.1 else entries

    def _flags(self, usual: tuple[int, ...]) -> int:
        return self._chance.choice(usual) if self._chance.random() < 0.97 else self._chance.choice(NUMBERS)

    def _created(self, flags: int) -> str | None:
        return self._chance.choice(SEQUENTIAL) if flags in (2, 3, 6) and self._chance.random() < 0.9 else self.path()

    def _create(self) -> CreateRequest:
        flags = self._flags((0, 0, 0, 0, 1, 1, 2, 3))
        return CreateRequest(self._created(flags), self._data(), self.acl(), flags)

    def _create_container(self) -> CreateRequest:
        return CreateRequest(self.path(), self._data(), self.acl(), self._flags((4,)))

    def _create_ttl(self) -> CreateTtlRequest:
        flags = self._flags((5, 6))
        ttl = self._chance.choice((10**8, 1, 2**40 - 1, 2**40, 0, -1, 2**63 - 1))
        return CreateTtlRequest(self._created(flags), self._data(), self.acl(), flags, ttl)

    def _path_only(self) -> PathRequest:
        return PathRequest(self.path())

    def _ephemerals(self) -> PathRequest:
        return PathRequest(self._chance.choice((*PATHS, "/a/", "", " ", None, "a")))

    def _path_watch(self) -> PathWatchRequest:
        path = self.path()
        return PathWatchRequest(path, self._modes.get(path) in (None, "once") and self._chance.random() < 0.5)

    def _path_version(self) -> PathVersionRequest:
        return PathVersionRequest(self.path(), self._version())

    def _set_data(self) -> SetDataRequest:
        return SetDataRequest(self.path(), self._data(), self._version())

    def _set_acl(self) -> SetAclRequest:
        return SetAclRequest(self.path(), self.acl(), self._version())

    def _kind(self) -> PathTypeRequest:
        return PathTypeRequest(self.path(), self._chance.choice((1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6, -1)))

    def _mode(self) -> PathTypeRequest:
        return PathTypeRequest(self.path(), self._chance.choice((0, 1, 0, 1, 0, 1, 0, 1, 2, -1)))

    def _paths(self, how: str) -> list[str] | None:
        """Paths that the client does not watch otherwise."""
        chance = self._chance
        if chance.random() < 0.03:
            return None
        paths = [chance.choice(PATHS) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
        return [path for path in paths if self._modes.setdefault(path, how) == how]

    def _set_watches(self) -> SetWatches:
        return SetWatches(0, *(self._paths("once") for _ in range(3)))

    def _set_watches2(self) -> SetWatches2:
        return SetWatches2(0, *map(self._paths, ("once", "once", "once", "persistent", "recursive")))

    def _reconfig(self) -> ReconfigRequest:
        """Never one that would succeed."""
        joining = self._chance.choice((None, "", "server.9=x", "server.1=127.0.0.1:1:1;1,server.2=127.0.0.1:1:1;2"))
        return ReconfigRequest(joining, self._chance.choice((None, "", "1,2,3", "x")), None, 12345)

    def _sasl(self) -> SaslToken:
        return SaslToken(self._data())


_EMPTY: Final = frozenset({Op.PING, Op.WHO_AM_I})
_BODIES: Final[dict[int, Callable[[Drawing], Record]]] = {
    Op.CREATE: Drawing._create,
    Op.CREATE2: Drawing._create,
    Op.CREATE_CONTAINER: Drawing._create_container,
    Op.CREATE_TTL: Drawing._create_ttl,
    Op.DELETE: Drawing._path_version,
    Op.CHECK: Drawing._path_version,
    Op.SET_DATA: Drawing._set_data,
    Op.SET_ACL: Drawing._set_acl,
    Op.EXISTS: Drawing._path_watch,
    Op.GET_DATA: Drawing._path_watch,
    Op.GET_CHILDREN: Drawing._path_watch,
    Op.GET_CHILDREN2: Drawing._path_watch,
    Op.GET_ACL: Drawing._path_only,
    Op.SYNC: Drawing._path_only,
    Op.GET_ALL_CHILDREN_NUMBER: Drawing._path_only,
    Op.DELETE_CONTAINER: Drawing._path_only,
    Op.GET_EPHEMERALS: Drawing._ephemerals,
    Op.CHECK_WATCHES: Drawing._kind,
    Op.REMOVE_WATCHES: Drawing._kind,
    Op.ADD_WATCH: Drawing._mode,
    Op.SET_WATCHES: Drawing._set_watches,
    Op.SET_WATCHES2: Drawing._set_watches2,
    Op.RECONFIG: Drawing._reconfig,
    Op.SASL: Drawing._sasl,
}
_WEIGHTS: Final[dict[int, float]] = {
    Op.CREATE: 22,
    Op.CREATE2: 14,
    Op.CREATE_CONTAINER: 3,
    Op.CREATE_TTL: 3,
    Op.DELETE: 14,
    Op.SET_DATA: 12,
    Op.SET_ACL: 4,
    Op.MULTI: 12,
    Op.EXISTS: 7,
    Op.GET_DATA: 7,
    Op.GET_CHILDREN: 5,
    Op.GET_CHILDREN2: 6,
    Op.GET_ACL: 4,
    Op.SYNC: 2,
    Op.MULTI_READ: 4,
    Op.ADD_WATCH: 6,
    Op.CHECK_WATCHES: 2,
    Op.REMOVE_WATCHES: 4,
    Op.SET_WATCHES: 3,
    Op.SET_WATCHES2: 3,
    Op.GET_EPHEMERALS: 3,
    Op.GET_ALL_CHILDREN_NUMBER: 2,
    Op.WHO_AM_I: 2,
    Op.PING: 1,
    Op.CHECK: 0.3,
    Op.RECONFIG: 0.5,
    Op.SASL: 0.3,
    Op.DELETE_CONTAINER: 0.3,
}
