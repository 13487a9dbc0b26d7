"""Requests that need only this peer: reads, watches, pings (client-protocol §5)."""

from collections.abc import Callable

from trioquorum.pipeline.client import Client
from trioquorum.tree import reads
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.client import decode_multi_read, decode_path_watch
from trioquorum.wire.fields import encode_text
from trioquorum.wire.ops import Op
from trioquorum.wire.records import (
    ClientInfo,
    PathRequest,
    PathTypeRequest,
    SetWatches,
    SetWatches2,
    WhoAmIResponse,
)

BODY_AT = 8
"""A payload's body begins behind xid and opcode."""

Answer = Callable[[DataTree, Client, bytes], bytes]


def _exists(tree: DataTree, client: Client, payload: bytes) -> bytes:
    path, watch = decode_path_watch(payload, BODY_AT)
    return reads.exists(tree, path, client.auth, client if watch else None)


def _get_data(tree: DataTree, client: Client, payload: bytes) -> bytes:
    path, watch = decode_path_watch(payload, BODY_AT)
    return reads.get_data(tree, path, client.auth, client if watch else None)


def _get_children(tree: DataTree, client: Client, payload: bytes) -> bytes:
    path, watch = decode_path_watch(payload, BODY_AT)
    return reads.get_children(tree, path, client.auth, client if watch else None)


def _get_children2(tree: DataTree, client: Client, payload: bytes) -> bytes:
    path, watch = decode_path_watch(payload, BODY_AT)
    return reads.get_children2(tree, path, client.auth, client if watch else None)


def _path(payload: bytes) -> str | None:
    return PathRequest.decode_from(payload, BODY_AT)[0].path


def _get_acl(tree: DataTree, client: Client, payload: bytes) -> bytes:
    return reads.get_acl(tree, _path(payload), client.auth)


def _get_all_children_number(tree: DataTree, client: Client, payload: bytes) -> bytes:
    return reads.get_all_children_number(tree, _path(payload), client.auth)


def _get_ephemerals(tree: DataTree, client: Client, payload: bytes) -> bytes:
    return reads.get_ephemerals(tree, client.session, _path(payload))


def _multi_read(tree: DataTree, client: Client, payload: bytes) -> bytes:
    return reads.multi_read(tree, decode_multi_read(payload, BODY_AT), client.auth)


def _add_watch(tree: DataTree, client: Client, payload: bytes) -> bytes:
    request, _ = PathTypeRequest.decode_from(payload, BODY_AT)
    return reads.add_watch(tree, request.path, request.type, client)


def _check_watches(tree: DataTree, client: Client, payload: bytes) -> bytes:
    request, _ = PathTypeRequest.decode_from(payload, BODY_AT)
    return reads.check_watches(tree, request.path, request.type, client)


def _remove_watches(tree: DataTree, client: Client, payload: bytes) -> bytes:
    request, _ = PathTypeRequest.decode_from(payload, BODY_AT)
    return reads.remove_watches(tree, request.path, request.type, client)


def _set_watches(tree: DataTree, client: Client, payload: bytes) -> bytes:
    return reads.set_watches(tree, SetWatches.decode_from(payload, BODY_AT)[0], client)


def _set_watches2(tree: DataTree, client: Client, payload: bytes) -> bytes:
    return reads.set_watches(tree, SetWatches2.decode_from(payload, BODY_AT)[0], client)


def _who_am_i(tree: DataTree, client: Client, payload: bytes) -> bytes:
    del tree, payload
    # Of a digest id the part in front of the hash is the user.
    users = [ClientInfo(scheme, who.split(":")[0] if scheme == "digest" else who) for scheme, who in client.auth]
    return WhoAmIResponse(users).encode()


def _sync(tree: DataTree, client: Client, payload: bytes) -> bytes:
    """On the leader a sync has nothing to wait for but its turn (§20.4)."""
    del tree, client
    return encode_text(_path(payload))


def _ping(tree: DataTree, client: Client, payload: bytes) -> bytes:
    del tree, client, payload
    return b""


ANSWERS: dict[int, Answer] = {
    Op.EXISTS: _exists,
    Op.GET_DATA: _get_data,
    Op.GET_ACL: _get_acl,
    Op.GET_CHILDREN: _get_children,
    Op.GET_CHILDREN2: _get_children2,
    Op.GET_ALL_CHILDREN_NUMBER: _get_all_children_number,
    Op.GET_EPHEMERALS: _get_ephemerals,
    Op.MULTI_READ: _multi_read,
    Op.ADD_WATCH: _add_watch,
    Op.CHECK_WATCHES: _check_watches,
    Op.REMOVE_WATCHES: _remove_watches,
    Op.SET_WATCHES: _set_watches,
    Op.SET_WATCHES2: _set_watches2,
    Op.WHO_AM_I: _who_am_i,
    Op.SYNC: _sync,
    Op.PING: _ping,
}
"""Opcode → the function that answers it from this peer's tree."""
