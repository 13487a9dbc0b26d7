"""The digest that the tree will have when all that is proposed is applied (disk-format §7), for the leader.

It follows each transaction as ``apply`` will, on the fields alone that a digest is made of, so that no node is copied.
"""

from collections.abc import Sequence
from typing import Final
from zlib import crc32

import msgspec
from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be

from trioquorum.tree.digest import VERSION, WRAP
from trioquorum.tree.node import STAT_BYTES, tail_of
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.owners import ttl_owner
from trioquorum.tree.paths import ROOT, parent_of
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CONTAINER_OWNER, Op
from trioquorum.wire.txn import (
    CloseSessionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
    TxnDigest,
    TxnHeader,
    decode_record,
)

KNOWN_MAX: Final = 1024
"""More nodes than this are looked through for those that nothing proposed changes any more."""

_HIDDEN: Final = "/zookeeper/"
_SIGN: Final = 1 << 63
_SMALL: Final = 1 << 61  # see ``DataTree``
_IN_TREE: Final = -2


class _Node(msgspec.Struct, gc=False):
    """A node as it will be: what its digest is made of.

    ``path_sum`` is the checksum of the path, ``start`` that of path and data, −1 while nobody has asked for them, and
    ``_IN_TREE`` while moreover the data is what the tree has, and ``data`` nothing.
    ``zxid`` is the last transaction that changed anything of it; the digest of a node that will be gone is 0.
    """

    path_sum: int
    start: int
    data: bytes | None
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    owner: int
    zxid: int
    digest: int

    def write(self, out: BytesWriter) -> None:
        """Append what is hashed behind path and data."""
        write_i64_be(out, self.czxid)
        write_i64_be(out, self.mzxid)
        write_i64_be(out, self.pzxid)
        write_i64_be(out, self.ctime)
        write_i64_be(out, self.mtime)
        write_i32_be(out, self.version)
        write_i32_be(out, self.cversion)
        write_i32_be(out, self.aversion)
        write_i64_be(out, self.owner)


class DigestAhead:
    """``stamp`` every transaction of a term, in order, before it can be applied; a new term begins with a new one.

    When the first is stamped the tree has applied all that was before.
    """

    __slots__ = ("_digest", "_known", "_look_at", "_tree")

    def __init__(self, tree: DataTree) -> None:
        self._tree = tree
        self._digest = -1
        self._known: dict[str, _Node] = {}
        self._look_at = KNOWN_MAX

    def stamp(self, txn: Txn, unlisted: Sequence[str] = ()) -> None:
        """Give ``txn`` the digest of the tree behind it; an error has none, as in ZooKeeper.

        ``unlisted`` are the ephemerals that a closeSession removes without saying so.
        """
        record = txn.record
        if self._digest < 0:
            self._digest = self._tree.digest
        if type(record) is SetDataTxn:  # The most frequent ones first, without a match.
            self._set_data(txn.header, record)
        elif type(record) is CreateTxn:
            self._create(txn.header, record, txn.header.session if record.ephemeral else 0)
        elif type(record) is ErrorTxn:
            return
        elif type(record) is CloseSessionTxn:
            for path in record.paths or unlisted:
                self._delete(txn.header.zxid, path)
        else:
            self._follow(txn.header, record)
        digest = self._digest
        txn.digest = TxnDigest(VERSION, digest if digest < _SIGN else digest - 2 * _SIGN)
        if len(self._known) > self._look_at:
            self._forget_applied()

    def _forget_applied(self) -> None:
        applied = self._tree.last_zxid
        self._known = {path: node for path, node in self._known.items() if node.zxid > applied}
        self._look_at = 2 * len(self._known) + KNOWN_MAX

    def _follow(self, header: TxnHeader, record: Record) -> None:
        match record:
            case SetDataTxn():
                self._set_data(header, record)
            case CreateTxn():
                self._create(header, record, header.session if record.ephemeral else 0)
            case DeleteTxn(path):
                self._delete(header.zxid, path)
            case CreateContainerTxn():
                self._create(header, record, CONTAINER_OWNER)
            case CreateTtlTxn():
                self._create(header, record, ttl_owner(record.ttl))
            case SetAclTxn(path, _, version):
                if not path.startswith(_HIDDEN):
                    node = self._known.get(path) or self._learn(path)
                    node.aversion = version
                    self._changed(header.zxid, path, node)
            case MultiTxn(parts):
                if not any(part.type == Op.ERROR for part in parts or ()):
                    for part in parts or ():
                        self._follow(header, decode_record(part.type, part.data or b"")[0])

    def _set_data(self, header: TxnHeader, record: SetDataTxn) -> None:
        path, data = record.path, record.data
        if path.startswith(_HIDDEN):
            return
        node = self._known.get(path) or self._learn(path)
        node.zxid = node.mzxid = header.zxid
        node.mtime, node.version = header.time_ms, record.version
        node.data, node.start = data, -1
        if node.path_sum < 0:
            node.path_sum = crc32(path.encode())
        out = BytesWriter()
        if data:
            out.write(data)
        node.write(out)
        self._now(node, crc32(out.getvalue(), node.path_sum))

    def _now(self, node: _Node, digest: int) -> None:
        total = self._digest + digest - node.digest
        self._digest = total if 0 <= total < _SMALL else total & WRAP
        node.digest = digest

    def _create(self, header: TxnHeader, record: CreateTxn | CreateContainerTxn | CreateTtlTxn, owner: int) -> None:
        path, zxid = record.path, header.zxid
        if not path.startswith(_HIDDEN):
            data, time_ms = record.data, header.time_ms
            node = _Node(-1, -1, data, zxid, zxid, zxid, time_ms, time_ms, 0, 0, 0, owner, zxid, 0)
            out = BytesWriter()
            out.write(path.encode())
            if data:
                out.write(data)
            node.write(out)
            self._now(node, crc32(out.getvalue()))
            self._known[path] = node
        parent_path = parent_of(path)
        if not parent_path.startswith(_HIDDEN):
            parent = self._known.get(parent_path) or self._learn(parent_path)
            if record.parent_cversion > parent.cversion:
                parent.cversion, parent.pzxid = record.parent_cversion, zxid
                self._changed(zxid, parent_path, parent)

    def _delete(self, zxid: int, path: str) -> None:
        if not path.startswith(_HIDDEN):
            node = self._known.get(path) or self._learn(path)
            self._digest = (self._digest - node.digest) & WRAP
            node.zxid, node.digest = zxid, 0
        parent_path = parent_of(path)
        if not parent_path.startswith(_HIDDEN):
            parent = self._known.get(parent_path) or self._learn(parent_path)
            parent.pzxid = zxid
            self._changed(zxid, parent_path, parent)

    def _changed(self, zxid: int, path: str, node: _Node) -> None:
        """Anything but the data."""
        if node.start < 0:
            if node.path_sum < 0:
                node.path_sum = crc32(path.encode())
            data = self._tree.nodes[path].data if node.start == _IN_TREE else node.data
            node.start = crc32(data, node.path_sum) if data else node.path_sum
        out = BytesWriter()
        node.write(out)
        self._now(node, crc32(out.getvalue(), node.start))
        node.zxid = zxid

    def _learn(self, path: str) -> _Node:
        """A node that nothing proposed changes: as the tree has it."""
        node = self._tree.nodes[path]
        path_sum = crc32(b"" if path == ROOT else path.encode())
        tail = tail_of(node)
        at = len(tail) - STAT_BYTES
        known = self._known[path] = _Node(
            path_sum,
            _IN_TREE,
            None,
            read_i64_be(tail, at),
            read_i64_be(tail, at + 8),
            read_i64_be(tail, at + 60),
            read_i64_be(tail, at + 16),
            read_i64_be(tail, at + 24),
            read_i32_be(tail, at + 32),
            node.cversion,
            read_i32_be(tail, at + 40),
            node.owner,
            0,
            node.digest,
        )
        return known
