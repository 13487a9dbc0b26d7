"""Numbers of the client protocol: opcodes, special xids, event types, permissions, create modes (§4, §5, §10, §12)."""

from enum import IntEnum, IntFlag


class Op(IntEnum):
    """Request and transaction types."""

    NOTIFICATION = 0
    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    RECONFIG = 16
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    DELETE_CONTAINER = 20
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    SASL = 102
    GET_EPHEMERALS = 103
    GET_ALL_CHILDREN_NUMBER = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107
    CREATE_SESSION = -10
    CLOSE_SESSION = -11
    ERROR = -1


WRITES = frozenset(
    {
        Op.CREATE,
        Op.CREATE2,
        Op.CREATE_CONTAINER,
        Op.CREATE_TTL,
        Op.DELETE,
        Op.DELETE_CONTAINER,
        Op.SET_DATA,
        Op.SET_ACL,
        Op.MULTI,
        Op.RECONFIG,
        Op.CLOSE_SESSION,
    }
)
"""Opcodes that go through the leader and come back as transactions."""

REFUSED_WITHOUT_ROOM = WRITES - {Op.CLOSE_SESSION, Op.RECONFIG}
"""What is not taken while disks are nearly full. Sessions begin, go on and end; an operator may change the members."""


class Xid(IntEnum):
    """xids that mean something."""

    NOTIFICATION = -1
    PING = -2
    AUTH = -4
    SET_WATCHES = -8


class EventType(IntEnum):
    """What a watch tells. Servers send only these."""

    NODE_CREATED = 1
    NODE_DELETED = 2
    NODE_DATA_CHANGED = 3
    NODE_CHILDREN_CHANGED = 4


SYNC_CONNECTED = 3


class Perm(IntFlag):
    """ACL permission bits."""

    READ = 1
    WRITE = 2
    CREATE = 4
    DELETE = 8
    ADMIN = 16
    ALL = 31


class CreateFlag(IntEnum):
    """Create modes (§14)."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    PERSISTENT_WITH_TTL = 5
    PERSISTENT_SEQUENTIAL_WITH_TTL = 6


CONTAINER_OWNER = -(2**63)
TTL_OWNER_MASK = -(2**56)  # top byte 0xff; the low 40 bits are the ttl in ms
TTL_MS_MAX = 2**40 - 1
