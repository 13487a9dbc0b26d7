"""One znode. Its stat is kept as the 68 bytes that a reply carries, so a read only concatenates."""

from struct import Struct

import msgspec
from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be

from trioquorum.tree.children import Children

STAT = Struct(">qqqqiiiqiiq")
"""czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeralOwner, dataLength, numChildren, pzxid."""

PERSISTED = Struct(">qqqqiiiqq")
"""The same without dataLength and numChildren, with the stored cversion and owner."""


class Node(msgspec.Struct, gc=False):
    """One znode. ``stat`` is what clients see; ``cversion`` and ``owner`` are the stored values behind it.

    ``children`` holds their paths, the very texts by which the tree finds them, so that each is kept once: in the
    order of their creation unless there are very many; it is None while there are none. ``acl`` is an id of the tree's
    ``AclCache``. ``digest`` is the node's part in the tree's digest.
    """

    data: bytes | None
    acl: int
    stat: bytes
    children: Children | None = None
    cversion: int = 0
    owner: int = 0
    digest: int = 0


def client_cversion(cversion: int, children: int) -> int:
    """What clients see of a stored cversion: creates plus deletes, a Java int."""
    shown = 2 * cversion - children
    return shown if -(2**31) <= shown < 2**31 else (shown + 2**31) % 2**32 - 2**31


def data_version(node: Node) -> int:
    """The version that setData and delete compare."""
    return read_i32_be(node.stat, 32)


def both_versions(node: Node) -> tuple[int, int]:
    """``data_version``, and the one that setACL compares."""
    return read_i32_be(node.stat, 32), read_i32_be(node.stat, 40)


def mzxid_of(node: Node) -> int:
    """zxid of the last change of the data."""
    return read_i64_be(node.stat, 8)


def mtime_of(node: Node) -> int:
    """Time of the last change of the data, ms."""
    return read_i64_be(node.stat, 24)


def pzxid_of(node: Node) -> int:
    """zxid of the last change of the child list."""
    return read_i64_be(node.stat, 60)


def persisted_stat(node: Node) -> bytes:
    """The 60 bytes of a snapshot's StatPersisted."""
    out = BytesWriter()
    write_persisted_stat(out, node)
    return out.getvalue()


def write_persisted_stat(out: BytesWriter, node: Node) -> None:
    """Append them."""
    stat = node.stat
    out.write(stat[:36])
    write_i32_be(out, node.cversion)
    out.write(stat[40:44])
    write_i64_be(out, node.owner)
    out.write(stat[60:])
