"""A write that an ACL forbids, refused where its client is (``enableEagerACLCheck``, client-protocol §12)."""

from struct import error as struct_error
from typing import Final

from trioquorum.errors import Code, PeerProtocolError, RequestFailed
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.local import BODY_AT
from trioquorum.tree.acl import AclRules, check_acl, fixup_acl
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import SPECIAL, parent_of, roughly_valid
from trioquorum.wire.jute import Text
from trioquorum.wire.ops import Op, Perm
from trioquorum.wire.records import CreateRequest, PathVersionRequest, SetAclRequest, SetDataRequest

_NEEDED: Final[dict[int, Perm]] = {
    Op.CREATE: Perm.CREATE,
    Op.CREATE2: Perm.CREATE,
    Op.DELETE: Perm.DELETE,
    Op.SET_DATA: Perm.WRITE,
    Op.SET_ACL: Perm.ADMIN,
}


def refusal(tree: DataTree, client: Client, op: int, payload: bytes, rules: AclRules) -> Code:
    """NOAUTH or INVALIDACL, as far as this peer's tree can tell; OK for whatever the leader must see."""
    try:
        path = _checked(client, op, payload, rules)
        node = None if path is None else tree.nodes.get(path)
        if node is not None:
            check_acl(tree.acls.get(node.acl), _NEEDED[op], client.auth)
    except RequestFailed as failure:
        return failure.code
    except (PeerProtocolError, struct_error):
        return Code.OK
    return Code.OK


def _checked(client: Client, op: int, payload: bytes, rules: AclRules) -> str | None:
    """The path whose ACL decides; ``None`` if there is none to be checked."""
    if op in (Op.CREATE, Op.CREATE2):
        create, _ = CreateRequest.decode_from(payload, BODY_AT)
        path = _parent(create.path)
        if path is not None:
            fixup_acl(create.acl, client.auth, rules)
        return path
    if op == Op.DELETE:
        return _parent(PathVersionRequest.decode_from(payload, BODY_AT)[0].path)
    if op == Op.SET_DATA:
        return SetDataRequest.decode_from(payload, BODY_AT)[0].path
    if op == Op.SET_ACL:
        set_acl, _ = SetAclRequest.decode_from(payload, BODY_AT)
        fixup_acl(set_acl.acl, client.auth, rules)
        return set_acl.path
    return None


def _parent(path: Text) -> str | None:
    return parent_of(path) if path is not None and roughly_valid(path) and path not in SPECIAL else None
