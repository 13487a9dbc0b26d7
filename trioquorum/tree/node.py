"""One znode. What a getData reply carries is kept as it is sent, so that a read copies nothing or little."""

from struct import Struct
from typing import TYPE_CHECKING, Final

import msgspec
from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be

from trioquorum.tree.children import Children

if TYPE_CHECKING:
    from mypy_extensions import i32

STAT = Struct(">qqqqiiiqiiq")
"""czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeralOwner, dataLength, numChildren, pzxid."""

STAT_BYTES: Final = 68

PERSISTED = Struct(">qqqqiiiqq")
"""The same without dataLength and numChildren, with the stored cversion and owner."""

INLINE_MAX: Final = 1024
"""Longer data is kept apart from the stat: each child that comes or goes gives its parent a new one."""


class Apart(msgspec.Struct, gc=False):
    """Data longer than ``INLINE_MAX``, and the stat. Never modified."""

    data: bytes
    stat: bytes


NodeRecord = bytes | Apart
"""Data and stat as a reply carries them: length (−1 for null), data, and the 68 bytes of the stat."""


class Node(msgspec.Struct, gc=False):
    """One znode. Its ``record`` is what clients see; ``cversion`` and ``owner`` are the stored values behind it.

    ``children`` holds their paths, the very texts by which the tree finds them, so that each is kept once: in the
    order of their creation unless there are very many; it is None while there are none. ``acl`` is an id of the tree's
    ``AclCache``. ``signed_digest`` is ``digest`` as a signed number: compiled, it takes four bytes so.
    """

    record: NodeRecord
    acl: int
    children: Children | None = None
    owner: int = 0
    cversion: "i32" = 0
    signed_digest: "i32" = 0

    @property
    def data(self) -> bytes | None:
        """The data, copied unless there is much of it."""
        record = self.record
        if not isinstance(record, bytes):
            return record.data
        return None if record[0] == 0xFF else record[4:-STAT_BYTES]

    @property
    def digest(self) -> int:
        """The node's part in the tree's digest."""
        signed: int = self.signed_digest
        return signed & 0xFFFFFFFF

    @property
    def stat(self) -> bytes:
        """The 68 bytes of the stat that clients see."""
        return stat_in(self.record)


def stat_in(record: NodeRecord) -> bytes:
    """The stat of a record."""
    return record[-STAT_BYTES:] if isinstance(record, bytes) else record.stat


def tail_of(node: Node) -> bytes:
    """Bytes that end with the stat. Whatever is in front of it is kept in ``set_tail``."""
    record = node.record
    return record if isinstance(record, bytes) else record.stat


def set_tail(node: Node, tail: bytes) -> None:
    """Replace the stat: ``tail`` is what ``tail_of`` gave, with another stat at its end."""
    record = node.record
    node.record = tail if isinstance(record, bytes) else Apart(record.data, tail)


def client_cversion(cversion: int, children: int) -> int:
    """What clients see of a stored cversion: creates plus deletes, a Java int."""
    shown = 2 * cversion - children
    return shown if -(2**31) <= shown < 2**31 else (shown + 2**31) % 2**32 - 2**31


def data_length(node: Node) -> int:
    """Bytes of the data; null has none."""
    tail = tail_of(node)
    return read_i32_be(tail, len(tail) - 16)


def data_version(node: Node) -> int:
    """The version that setData and delete compare."""
    tail = tail_of(node)
    return read_i32_be(tail, len(tail) - 36)


def both_versions(node: Node) -> tuple[int, int]:
    """``data_version``, and the one that setACL compares."""
    tail = tail_of(node)
    size = len(tail)
    return read_i32_be(tail, size - 36), read_i32_be(tail, size - 28)


def mzxid_of(node: Node) -> int:
    """zxid of the last change of the data."""
    tail = tail_of(node)
    return read_i64_be(tail, len(tail) - 60)


def mtime_of(node: Node) -> int:
    """Time of the last change of the data, ms."""
    tail = tail_of(node)
    return read_i64_be(tail, len(tail) - 44)


def pzxid_of(node: Node) -> int:
    """zxid of the last change of the child list."""
    tail = tail_of(node)
    return read_i64_be(tail, len(tail) - 8)


def persisted_stat(node: Node) -> bytes:
    """The 60 bytes of a snapshot's StatPersisted."""
    out = BytesWriter()
    write_persisted(out, node)
    return out.getvalue()[-PERSISTED.size :]


def write_persisted(out: BytesWriter, node: Node) -> None:
    """Append what a snapshot has of a node: its data, its ACL's id and its StatPersisted."""
    record = node.record
    if isinstance(record, bytes):
        out.write(record[:-STAT_BYTES])
        tail = record
    else:
        write_i32_be(out, len(record.data))
        out.write(record.data)
        tail = record.stat
    write_i64_be(out, node.acl)
    if not node.cversion and not node.owner and node.children is None:
        # A plain leaf, the most frequent node by far: what clients see is what is stored.
        out.write(tail[-68:-16])
    else:
        out.write(tail[-68:-32])
        write_i32_be(out, node.cversion)
        out.write(tail[-28:-24])
        write_i64_be(out, node.owner)
    out.write(tail[-8:])
