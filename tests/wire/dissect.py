"""Takes recorded bytes of Java ZooKeeper apart with our codecs, and puts them together again.

``dissect`` gives the (name, value) leaves of a record in wire order, and the bytes our encoders make of what was read.
"""

from collections.abc import Callable

from tests.wire.kit import Leaf, leaves
from trioquorum.errors import PeerProtocolError
from trioquorum.wire import records
from trioquorum.wire.client import (
    REQUEST_HEADER,
    MultiResult,
    decode_connect,
    decode_multi,
    decode_multi_read,
    encode_connect_response,
    encode_multi_response,
    event_frame,
    frame,
    reply,
)
from trioquorum.wire.election import (
    decode_java_hello,
    decode_java_notification,
    encode_java_hello,
    encode_java_notification,
)
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op, Xid
from trioquorum.wire.quorum import (
    PacketType,
    QuorumPacket,
    decode_ack_epoch,
    decode_jute,
    decode_leader_info,
    decode_learner_info,
    decode_request,
    decode_revalidate,
    decode_revalidate_reply,
    decode_touched,
    encode_ack_epoch,
    encode_jute,
    encode_leader_info,
    encode_request,
    encode_revalidate,
    encode_revalidate_reply,
    encode_touched,
)
from trioquorum.wire.txn import MultiTxn, decode_record, decode_txn

Dissected = tuple[list[Leaf], bytes]


# Client port

REQUESTS: dict[str, tuple[Op, type[Record] | None]] = {
    "create": (Op.CREATE, records.CreateRequest),
    "create2": (Op.CREATE2, records.CreateRequest),
    "createContainer": (Op.CREATE_CONTAINER, records.CreateRequest),
    "createTTL": (Op.CREATE_TTL, records.CreateTtlRequest),
    "delete": (Op.DELETE, records.PathVersionRequest),
    "deleteContainer": (Op.DELETE_CONTAINER, records.PathRequest),
    "exists": (Op.EXISTS, records.PathWatchRequest),
    "getData": (Op.GET_DATA, records.PathWatchRequest),
    "getChildren": (Op.GET_CHILDREN, records.PathWatchRequest),
    "getChildren2": (Op.GET_CHILDREN2, records.PathWatchRequest),
    "setData": (Op.SET_DATA, records.SetDataRequest),
    "getACL": (Op.GET_ACL, records.PathRequest),
    "setACL": (Op.SET_ACL, records.SetAclRequest),
    "sync": (Op.SYNC, records.PathRequest),
    "check": (Op.CHECK, records.PathVersionRequest),
    "reconfig": (Op.RECONFIG, records.ReconfigRequest),
    "checkWatches": (Op.CHECK_WATCHES, records.PathTypeRequest),
    "removeWatches": (Op.REMOVE_WATCHES, records.PathTypeRequest),
    "addWatch": (Op.ADD_WATCH, records.PathTypeRequest),
    "auth": (Op.AUTH, records.AuthRequest),
    "sasl": (Op.SASL, records.SaslToken),
    "setWatches": (Op.SET_WATCHES, records.SetWatches),
    "setWatches2": (Op.SET_WATCHES2, records.SetWatches2),
    "getEphemerals": (Op.GET_EPHEMERALS, records.PathRequest),
    "getAllChildrenNumber": (Op.GET_ALL_CHILDREN_NUMBER, records.PathRequest),
    "createSession": (Op.CREATE_SESSION, records.IntResponse),
    "ping": (Op.PING, None),
    "whoAmI": (Op.WHO_AM_I, None),
    "closeSession": (Op.CLOSE_SESSION, None),
    "multi": (Op.MULTI, None),
    "multiRead": (Op.MULTI_READ, None),
}

RESPONSES: dict[int, type[Record]] = {
    Op.CREATE: records.PathResponse,
    Op.CREATE2: records.PathStatResponse,
    Op.CREATE_CONTAINER: records.PathStatResponse,
    Op.CREATE_TTL: records.PathStatResponse,
    Op.EXISTS: records.StatResponse,
    Op.SET_DATA: records.StatResponse,
    Op.SET_ACL: records.StatResponse,
    Op.GET_DATA: records.DataResponse,
    Op.RECONFIG: records.DataResponse,
    Op.GET_ACL: records.AclResponse,
    Op.GET_CHILDREN: records.ChildrenResponse,
    Op.GET_EPHEMERALS: records.ChildrenResponse,
    Op.GET_CHILDREN2: records.Children2Response,
    Op.GET_ALL_CHILDREN_NUMBER: records.IntResponse,
    Op.ADD_WATCH: records.IntResponse,
    Op.SYNC: records.PathResponse,
    Op.SASL: records.SaslToken,
    Op.WHO_AM_I: records.WhoAmIResponse,
    Op.ERROR: records.IntResponse,
}

_REQUEST_RECORDS = {int(op): record for op, record in REQUESTS.values()}
_END = records.MultiHeader(-1, True, -1)


def connect_request(payload: bytes) -> Dissected:
    request, read_only = decode_connect(payload)
    flag: list[Leaf] = [] if read_only is None else [("read_only", read_only)]
    return leaves(request) + flag, request.encode() + (b"" if read_only is None else bytes((read_only,)))


def connect_response(payload: bytes) -> Dissected:
    response, at = records.ConnectResponse.decode_from(payload)
    read_only = bool(payload[at]) if at < len(payload) else None
    flag: list[Leaf] = [] if read_only is None else [("read_only", read_only)]
    return leaves(response) + flag, encode_connect_response(response, read_only)


def client_request(payload: bytes) -> Dissected:
    header = records.RequestHeader.decode(payload)
    fields, body = request_body(header.op, payload[REQUEST_HEADER.size :])
    return [("xid", header.xid), ("type", header.op), *fields], REQUEST_HEADER.pack(header.xid, header.op) + body


def request_body(op: int, body: bytes) -> Dissected:
    if op in (Op.MULTI, Op.MULTI_READ):
        parts = decode_multi(body) if op == Op.MULTI else decode_multi_read(body)
        headers = [records.MultiHeader(kind, False, -1) for kind, _ in parts]
        fields = [
            leaf for header, (_, part) in zip(headers, parts, strict=True) for leaf in leaves(header) + leaves(part)
        ]
        again = b"".join(header.encode() + part.encode() for header, (_, part) in zip(headers, parts, strict=True))
        return fields + leaves(_END), again + _END.encode()
    record_type = _REQUEST_RECORDS.get(op)
    if record_type is None:
        return [], b""
    record = record_type.decode(body)
    return leaves(record), record.encode()


def client_reply(payload: bytes, op: int) -> Dissected:
    """A reply to a request of type ``op``, or an event."""
    header, at = records.ReplyHeader.decode_from(payload)
    if header.xid == Xid.NOTIFICATION:
        event, _ = records.WatcherEvent.decode_from(payload, at)
        if event.path is None:
            raise PeerProtocolError("event without a path")
        return leaves(header) + leaves(event), event_frame(event.type, event.path, header.zxid)[4:]
    fields, body = _reply_body(payload[at:], op) if header.err == 0 else ([], b"")
    return leaves(header) + fields, reply(header.xid, header.zxid, header.err, body)[4:]


def _reply_body(body: bytes, op: int) -> Dissected:
    if op in (Op.MULTI, Op.MULTI_READ):
        return _multi_response(body)
    if op not in RESPONSES:
        return [], b""
    record = RESPONSES[op].decode(body)
    return leaves(record), record.encode()


def _multi_response(body: bytes) -> Dissected:
    fields: list[Leaf] = []
    results: list[MultiResult] = []
    at = 0
    while True:
        header, at = records.MultiHeader.decode_from(body, at)
        fields += leaves(header)
        if header.done:
            return fields, encode_multi_response(results)
        encoded = b""
        if header.type in RESPONSES:
            record, at = RESPONSES[header.type].decode_from(body, at)
            fields += leaves(record)
            encoded = record.encode()
        results.append(MultiResult(header.type, header.err, encoded))


# Quorum port


def packet(data: bytes) -> Dissected:
    """A packet and what is in it; the outer bytes are made of the packet, whose data was made of the inner fields."""
    decoded, _ = decode_jute(data)
    outer: list[Leaf] = [("type", decoded.type), ("zxid", decoded.zxid)]
    outer.append(("data", None if decoded.data is None else decoded.data.hex()))
    outer.append(("authinfo", -1 if decoded.auth is None else len(decoded.auth)))
    outer += [leaf for scheme, name in decoded.auth or () for leaf in (("scheme", scheme), ("id", name))]
    inner, again = packet_body(decoded.type, decoded.data)
    rebuilt = encode_jute(QuorumPacket(decoded.type, decoded.zxid, again, decoded.auth))
    return outer + inner, rebuilt


def packet_body(kind: int, data: bytes | None) -> tuple[list[Leaf], bytes | None]:
    if data is None:
        return [], None
    dissect_body = _BODIES.get(kind)
    return dissect_body(data) if dissect_body else ([], data)


def _learner_info(data: bytes) -> Dissected:
    info = decode_learner_info(data)
    return leaves(info), info.encode()


def _leader_info(data: bytes) -> Dissected:
    return [("leader_protocol_version", decode_leader_info(data))], encode_leader_info(decode_leader_info(data))


def _ack_epoch(data: bytes) -> Dissected:
    return [("current_epoch", decode_ack_epoch(data))], encode_ack_epoch(decode_ack_epoch(data))


def _request(data: bytes) -> Dissected:
    session, cxid, op, body = decode_request(data)
    fields, again = request_body(op, body)
    if op == Op.CREATE_SESSION:
        fields = [("timeout_ms", value) for _, value in fields]
    return [("session", session), ("cxid", cxid), ("type", op), *fields], encode_request(session, cxid, op, again)


def _revalidate(data: bytes) -> Dissected:
    if len(data) == 12:
        session, timeout_ms = decode_revalidate(data)
        return [("session", session), ("timeout_ms", timeout_ms)], encode_revalidate(session, timeout_ms)
    session, valid = decode_revalidate_reply(data)
    return [("session", session), ("valid", valid)], encode_revalidate_reply(session, valid=valid)


def _touched(data: bytes) -> Dissected:
    sessions = decode_touched(data)
    fields = [leaf for session, timeout in sessions for leaf in (("session", session), ("timeout_ms", timeout))]
    return list(fields), encode_touched(sessions)


def _designated(data: bytes) -> Dissected:
    """A designated leader in front of nothing or a transaction: raw here, its reader belongs to reconfig."""
    fields, again = txn(data[8:]) if len(data) > 8 else ([], b"")
    return [("suggested_leader", int.from_bytes(data[:8], "big", signed=True)), *fields], data[:8] + again


def txn(payload: bytes) -> Dissected:
    """A transaction's payload, parts of a multi taken apart as well."""
    decoded = decode_txn(payload)
    header = decoded.header
    fields: list[Leaf] = [
        ("session", header.session),
        ("cxid", header.cxid),
        ("zxid", header.zxid),
        ("time_ms", header.time_ms),
        ("type", header.type),
    ]
    if isinstance(decoded.record, MultiTxn):
        parts = decoded.record.txns or []
        fields.append(("txns", len(parts)))
        for part in parts:
            record, _ = decode_record(part.type, part.data or b"")
            fields += leaves(part) + leaves(record)
            part.data = record.encode()
    else:
        fields += leaves(decoded.record)
    if decoded.digest is not None:
        fields += [("version", decoded.digest.version), ("tree_digest", decoded.digest.tree_digest)]
    return fields, decoded.encode()


_BODIES: dict[int, Callable[[bytes], Dissected]] = {
    PacketType.FOLLOWERINFO: _learner_info,
    PacketType.OBSERVERINFO: _learner_info,
    PacketType.LEADERINFO: _leader_info,
    PacketType.ACKEPOCH: _ack_epoch,
    PacketType.REQUEST: _request,
    PacketType.REVALIDATE: _revalidate,
    PacketType.PING: _touched,
    PacketType.PROPOSAL: txn,
    PacketType.INFORM: txn,
    PacketType.COMMITANDACTIVATE: _designated,
    PacketType.INFORMANDACTIVATE: _designated,
}


# Election port


def hello(data: bytes) -> Dissected:
    sid, addresses, _ = decode_java_hello(data)
    text = "|".join(addresses)
    protocol = -65536 if len(addresses) == 1 else -65535
    fields: list[Leaf] = [("protocol_version", protocol), ("sid", sid), ("addr_length", len(text))]
    return [*fields, ("election_addr", text)], encode_java_hello(sid, addresses)


def notification(payload: bytes) -> Dissected:
    note = decode_java_notification(payload)
    fields: list[Leaf] = [("state", int(note.state)), ("leader", note.leader), ("zxid", note.zxid)]
    fields += [("election_epoch", note.round), ("peer_epoch", note.peer_epoch), ("version", note.version)]
    config = note.config or ""
    return [*fields, ("config_length", len(config.encode())), ("config", config)], encode_java_notification(note)


# By kind


def framing_of(kind: str) -> tuple[int, int]:
    """How many bytes of a recorded ``kind`` stand before and behind what ``dissect`` reads."""
    area = kind.split("/")[0]
    if area == "disk":
        return 12, 1
    return (4, 0) if area == "client" or kind.startswith("election/Notification") else (0, 0)


def dissect(kind: str, payload: bytes) -> Dissected:
    area, name = kind.split("/", 1)
    what, _, detail = name.partition(":")
    if kind == "client/req:ConnectRequest":
        return connect_request(payload)
    if kind == "client/rsp:ConnectResponse":
        return connect_response(payload)
    if area == "client" and what == "req":
        return client_request(payload)
    if area == "client":
        operation = detail.split(":")[0]
        return client_reply(payload, REQUESTS[operation][0] if operation in REQUESTS else 0)
    if area == "quorum":
        return packet(payload)
    if area == "election":
        return hello(payload) if what == "InitialMessage" else notification(payload)
    return txn(payload)


def framed(kind: str, payload: bytes) -> bytes:
    """``payload`` the way the recording has it."""
    return frame(payload) if framing_of(kind)[0] == 4 else payload
