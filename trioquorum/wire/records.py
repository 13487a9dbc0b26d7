"""Client-side records of ZooKeeper's wire (client-protocol §3–§7), in jute field order."""

from typing import Final

from trioquorum.wire.jute import Bool, Buffer, Int, Long, Record, Text, recognize
from trioquorum.wire.ops import Perm


class Id(Record):
    """Who somebody is, by an authentication scheme."""

    scheme: Text
    id: Text


class Acl(Record):
    """Permission bits for one identity (jute nests the identity; the bytes are the same)."""

    perms: Int
    scheme: Text
    id: Text


OPEN_ACL_LIST: Final = [Acl(Perm.ALL, "world", "anyone")]
"""The ACL that nearly every node has. Whoever decodes it gets this list, so that it is known without a look."""
OPEN_ACL_BYTES: Final = recognize(OPEN_ACL_LIST)


class Stat(Record):
    """A znode's stat as clients see it: 68 bytes."""

    czxid: Long
    mzxid: Long
    ctime: Long
    mtime: Long
    version: Int
    cversion: Int
    aversion: Int
    ephemeral_owner: Long
    data_length: Int
    num_children: Int
    pzxid: Long


class StatPersisted(Record):
    """A znode's stat as snapshots hold it: 60 bytes; ``cversion`` counts creates only."""

    czxid: Long
    mzxid: Long
    ctime: Long
    mtime: Long
    version: Int
    cversion: Int
    aversion: Int
    ephemeral_owner: Long
    pzxid: Long


class ConnectRequest(Record):
    """First frame of a client, without the optional trailing readOnly byte."""

    protocol_version: Int
    last_zxid_seen: Long
    timeout_ms: Int
    session: Long
    password: Buffer


class ConnectResponse(Record):
    """Answer to it, without the optional trailing readOnly byte; timeout 0 = no such session."""

    protocol_version: Int
    timeout_ms: Int
    session: Long
    password: Buffer


class RequestHeader(Record):
    """In front of every request but the first frame."""

    xid: Int
    op: Int


class ReplyHeader(Record):
    """In front of every reply and event."""

    xid: Int
    zxid: Long
    err: Int


class WatcherEvent(Record):
    """Body of a notification."""

    type: Int
    state: Int
    path: Text


class CreateRequest(Record):
    """create, create2, createContainer."""

    path: Text
    data: Buffer
    acl: list[Acl] | None
    flags: Int


class CreateTtlRequest(Record):
    """createTTL."""

    path: Text
    data: Buffer
    acl: list[Acl] | None
    flags: Int
    ttl: Long


class PathRequest(Record):
    """getACL, sync, getEphemerals, getAllChildrenNumber, deleteContainer."""

    path: Text


class PathWatchRequest(Record):
    """exists, getData, getChildren, getChildren2."""

    path: Text
    watch: Bool


class PathVersionRequest(Record):
    """delete, check."""

    path: Text
    version: Int


class PathTypeRequest(Record):
    """checkWatches, removeWatches, addWatch (whose second field is the mode)."""

    path: Text
    type: Int


class SetDataRequest(Record):
    """setData."""

    path: Text
    data: Buffer
    version: Int


class SetAclRequest(Record):
    """setACL; ``version`` is the expected aversion."""

    path: Text
    acl: list[Acl] | None
    version: Int


class ReconfigRequest(Record):
    """reconfig."""

    joining: Text
    leaving: Text
    new_members: Text
    config_id: Long


class AuthRequest(Record):
    """addauth; ``type`` is ignored."""

    type: Int
    scheme: Text
    auth: Buffer


class SaslToken(Record):
    """sasl, request and response."""

    token: Buffer


class SetWatches(Record):
    """Re-registration after a reconnect."""

    relative_zxid: Long
    data: list[str] | None
    exist: list[str] | None
    child: list[str] | None


class SetWatches2(Record):
    """The same with persistent watches."""

    relative_zxid: Long
    data: list[str] | None
    exist: list[str] | None
    child: list[str] | None
    persistent: list[str] | None
    recursive: list[str] | None


class MultiHeader(Record):
    """In front of each part of a multi; ``done`` ends it."""

    type: Int
    done: Bool
    err: Int


class PathResponse(Record):
    """create, sync."""

    path: Text


class PathStatResponse(Record):
    """create2, createContainer, createTTL."""

    path: Text
    stat: Stat


class StatResponse(Record):
    """exists, setData, setACL."""

    stat: Stat


class DataResponse(Record):
    """getData, reconfig."""

    data: Buffer
    stat: Stat


class AclResponse(Record):
    """getACL."""

    acl: list[Acl] | None
    stat: Stat


class ChildrenResponse(Record):
    """getChildren, getEphemerals."""

    children: list[str] | None


class Children2Response(Record):
    """getChildren2."""

    children: list[str] | None
    stat: Stat


class IntResponse(Record):
    """getAllChildrenNumber, addWatch, ErrorResponse."""

    value: Int


class ClientInfo(Record):
    """One identity of a connection."""

    scheme: Text
    user: Text


class WhoAmIResponse(Record):
    """whoAmI."""

    clients: list[ClientInfo] | None
