"""Digest of a tree, version 2 (disk-format §7): the sum of its nodes' checksums, so it can follow every change."""

from zlib import crc32

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be

from trioquorum.tree.node import Node

VERSION = 2
WRAP = 0xFFFFFFFFFFFFFFFF


def node_digest(path: str, node: Node) -> int:
    """Checksum of one node; 0 for what lies below ``/zookeeper``, which peers change on their own."""
    if path.startswith("/zookeeper/"):
        return 0
    start = b"" if path == "/" else path.encode()
    record = node.record
    if isinstance(record, bytes):
        tail = record
        start += record[4:-52]
    else:
        tail = record.stat
        start += record.data + tail[:16]
    if not node.cversion and not node.owner and node.children is None:
        # A plain leaf, the most frequent node by far: what clients see is what is stored.
        return crc32(start + tail[-8:] + tail[-52:-16])
    out = BytesWriter()
    out.write(start)
    size = len(tail)
    write_i64_be(out, read_i64_be(tail, size - 8))
    out.write(tail[-52:-32])
    write_i32_be(out, node.cversion)
    write_i32_be(out, read_i32_be(tail, size - 28))
    write_i64_be(out, node.owner)
    return crc32(out.getvalue())


def new_digest(path: str, node: Node) -> int:
    """The same of a node that was made by the last transaction: all its zxids are one."""
    if node.owner or path.startswith("/zookeeper/"):
        return node_digest(path, node)
    start = path.encode()
    record = node.record
    if isinstance(record, bytes):
        return crc32(start + record[4:-60] + record[-68:-16])
    return crc32(start + record.data + record.stat[:8] + record.stat[:52])
