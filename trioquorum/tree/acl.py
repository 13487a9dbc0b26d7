"""ACLs: who may do what (client-protocol §12)."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from trioquorum.errors import Code, CorruptSnapshot, RequestFailed
from trioquorum.tree.names import is_distinguished_name, is_principal
from trioquorum.wire.ops import Perm
from trioquorum.wire.records import OPEN_ACL_LIST, Acl

Identity = tuple[str, str]
"""Scheme and id of somebody, as connections and forwarded writes carry them."""

_NOT_PROVEN = frozenset({"world", "ip", "super"})
"""Schemes that ``auth`` in an ACL does not stand for."""

AclList = tuple[Acl, ...]

SUPER: Identity = ("super", "")
"""Who may do everything."""

OPEN_ACL_ID = -1
OPEN_ACL: AclList = tuple(OPEN_ACL_LIST)
READ_ACL: AclList = (Acl(Perm.READ, "world", "anyone"),)

_Key = tuple[tuple[int, str | None, str | None], ...]


class AclRules(msgspec.Struct, frozen=True, kw_only=True):
    """What ACLs may name: the ``schemes`` that this ensemble knows, apart from ``world`` and ``auth``.

    Everybody who is somebody by SASL is also ``any_sasl_user``, if that is not empty.
    """

    schemes: frozenset[str] = frozenset(("ip", "digest"))
    any_sasl_user: str = ""


DEFAULT_RULES = AclRules()

ACL_ENTRIES_MAX = 5000
"""Entries that ``auth`` may be replaced by: entries times identities would else be millions."""


def _key(acl: Iterable[Acl]) -> _Key:
    return tuple([(entry.perms, entry.scheme, entry.id) for entry in acl])


_OPEN_KEY = _key(OPEN_ACL)


class AclCache:
    """Every distinct ACL once, by a small id, for as long as a node uses it (disk-format §4).

    Ids are this peer's own and are never given twice, so a snapshot that is written while the tree changes can name
    an id that its ACL map lacks, but never a wrong one. Id −1 is the open ACL (world:anyone may do all).
    """

    __slots__ = ("_ids", "_next", "_uses", "by_id")

    def __init__(self) -> None:
        self.by_id: dict[int, AclList] = {}
        self._ids: dict[_Key, int] = {}
        self._uses: dict[int, int] = {}
        self._next = 1

    def acquire(self, acl: Sequence[Acl] | None) -> int:
        """The id of this ACL, for one more node; none at all means the open ACL."""
        if acl is None or acl is OPEN_ACL_LIST:
            return OPEN_ACL_ID
        key = _key(acl)
        if key == _OPEN_KEY:
            return OPEN_ACL_ID
        known = self._ids.get(key)
        if known is None:
            known = self._next
            self._next += 1
            self.by_id[known] = tuple(acl)
            self._ids[key] = known
            self._uses[known] = 1
        else:
            self._uses[known] += 1
        return known

    def release(self, acl_id: int) -> None:
        """One node less has this ACL; the last one takes it along."""
        uses = self._uses.get(acl_id)
        if uses is None:
            return
        if uses > 1:
            self._uses[acl_id] = uses - 1
        else:
            self._forget(acl_id)

    def get(self, acl_id: int) -> AclList:
        """The ACL with this id.

        Raises:
            CorruptSnapshot: a node names an ACL that was never loaded.
        """
        if acl_id == OPEN_ACL_ID:
            return OPEN_ACL
        try:
            return self.by_id[acl_id]
        except KeyError:
            raise CorruptSnapshot(f"no ACL has the id {acl_id}") from None

    def restore(self, acl_id: int, acl: Sequence[Acl]) -> None:
        """Take over one entry of a snapshot's ACL map, id included."""
        self.by_id[acl_id] = tuple(acl)
        self._ids.setdefault(_key(acl), acl_id)
        self._uses[acl_id] = 0
        self._next = max(self._next, acl_id + 1)

    def restore_use(self, acl_id: int) -> None:
        """One node of the snapshot has this ACL.

        It may be missing: the node was made while the snapshot was written, and replaying its create supplies it.
        """
        if acl_id in self._uses:
            self._uses[acl_id] += 1
        self._next = max(self._next, acl_id + 1)

    def drop_unused(self) -> None:
        """End of a snapshot: forget what no node uses."""
        for acl_id in [known for known, uses in self._uses.items() if not uses]:
            self._forget(acl_id)

    def _forget(self, acl_id: int) -> None:
        del self._uses[acl_id]
        key = _key(self.by_id.pop(acl_id))
        if self._ids.get(key) == acl_id:
            del self._ids[key]


def allowed(acl: AclList, perm: int, auth: Sequence[Identity]) -> bool:
    """Whether any of the permission bits ``perm`` is granted to any of these identities."""
    if acl is OPEN_ACL or not acl:
        return True
    for entry in acl:
        if entry.perms & perm and entry.id == "anyone" and entry.scheme == "world":
            return True
    for scheme, who in auth:
        if scheme == "super":
            return True
        for entry in acl:
            if entry.perms & perm and entry.scheme == scheme and _matches(scheme, who, entry.id):
                return True
    return False


def check_acl(acl: AclList, perm: int, auth: Sequence[Identity]) -> None:
    """Refuse who is not allowed.

    Raises:
        RequestFailed: NOAUTH.
    """
    if not allowed(acl, perm, auth):
        raise RequestFailed(Code.NOAUTH)


def _matches(scheme: str, who: str, granted: str | None) -> bool:
    if granted is None:
        return False
    if scheme == "ip":
        return _ip_matches(who, granted)
    return who == granted or (who == "super" and scheme == "sasl")


def _ip_matches(who: str, granted: str) -> bool:
    network = _network(granted)
    try:
        return network is not None and ip_address(who) in network
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def _network(text: str) -> IPv4Network | IPv6Network | None:
    """``address`` or ``address/bits``."""
    _, slash, bits = text.partition("/")
    if slash and not bits.isdecimal():
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


_VALID: dict[str, Callable[[str], bool]] = {
    "digest": lambda who: who.count(":") == 1,
    "ip": lambda who: _network(who) is not None,
    "sasl": is_principal,
    "x509": is_distinguished_name,
}
"""Whether an ACL may name such an id, by scheme."""


def _proven(auth: Sequence[Identity], rules: AclRules) -> list[Identity]:
    """Who asks, as far as that was proved; what SASL users are granted on top of their own id is left out."""
    mine = [identity for identity in auth if identity[0] not in _NOT_PROVEN]
    granted = ("sasl", rules.any_sasl_user)
    if any(identity[0] == "sasl" and identity != granted for identity in mine):
        mine = [identity for identity in mine if identity != granted]
    return mine


def fixup_acl(acl: Sequence[Acl] | None, auth: Sequence[Identity], rules: AclRules = DEFAULT_RULES) -> list[Acl]:
    """The ACL as it is stored: duplicates dropped, ``auth`` replaced by who asks (§12).

    Raises:
        RequestFailed: INVALIDACL, for an empty list, an unknown scheme, a malformed id, ``auth`` without one, or with
            so many that more than ``ACL_ENTRIES_MAX`` would be stored.
    """
    if acl is OPEN_ACL_LIST:
        return OPEN_ACL_LIST
    if not acl:
        raise RequestFailed(Code.INVALIDACL)
    fixed: dict[tuple[int, str, str], Acl] = {}
    for entry in acl:
        scheme, who = entry.scheme, entry.id
        if scheme is None or (who is None and scheme != "auth"):
            raise RequestFailed(Code.INVALIDACL)
        if scheme == "world" and who == "anyone":
            fixed[entry.perms, scheme, who] = entry
        elif scheme == "auth":
            mine = _proven(auth, rules)
            if not mine:
                raise RequestFailed(Code.INVALIDACL)
            for my_scheme, my_id in mine:
                fixed[entry.perms, my_scheme, my_id] = Acl(entry.perms, my_scheme, my_id)
            if len(fixed) > ACL_ENTRIES_MAX:
                raise RequestFailed(Code.INVALIDACL)
        elif who is not None and scheme in rules.schemes and _VALID[scheme](who):
            fixed[entry.perms, scheme, who] = entry
        else:
            raise RequestFailed(Code.INVALIDACL)
    return list(fixed.values())


def redacted(acl: AclList) -> list[Acl]:
    """The ACL as somebody without ADMIN may see it: passwords' hashes are hidden."""
    return [
        Acl(entry.perms, entry.scheme, f"{entry.id.partition(':')[0]}:x")
        if entry.scheme == "digest" and entry.id is not None
        else entry
        for entry in acl
    ]


def digest_id(credentials: bytes, algorithm: str = "sha1") -> str:
    """The id that ``addauth digest`` gives: ``user:BASE64(SHA1("user:password"))``; any text becomes one."""
    text = credentials.decode("utf-8", "replace")
    digest = hashlib.new(algorithm, text.encode(), usedforsecurity=False).digest()
    return f"{text.partition(':')[0]}:{b64encode(digest).decode()}"
