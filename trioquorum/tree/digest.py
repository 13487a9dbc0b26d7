"""Digest of a tree, version 2 (disk-format §7): the sum of its nodes' checksums, so it can follow every change."""

from zlib import crc32

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be

VERSION = 2
WRAP = 0xFFFFFFFFFFFFFFFF

_NO_CHILDREN = bytes(4)


def node_digest(path: str, data: bytes | None, stat: bytes, cversion: int, owner: int) -> int:
    """Checksum of one node; 0 for what lies below ``/zookeeper``, which peers change on their own.

    ``stat`` is the client's stat (68 bytes); ``cversion`` and ``owner`` are the stored values.
    """
    if path.startswith("/zookeeper/"):
        return 0
    start = b"" if path == "/" else path.encode()
    if not cversion and not owner and stat[56:60] == _NO_CHILDREN:
        # A plain leaf, the most frequent node by far: what clients see is what is stored.
        if data:
            start += data
        return crc32(start + stat[:16] + stat[60:] + stat[16:52])
    out = BytesWriter()
    out.write(start)
    if data:
        out.write(data)
    out.write(stat[:16])
    write_i64_be(out, read_i64_be(stat, 60))
    out.write(stat[16:36])
    write_i32_be(out, cversion)
    write_i32_be(out, read_i32_be(stat, 40))
    write_i64_be(out, owner)
    return crc32(out.getvalue())


def new_digest(path: str, data: bytes | None, stat: bytes, owner: int) -> int:
    """The same of a node that was made by the last transaction: all its zxids are one."""
    if owner or path.startswith("/zookeeper/"):
        return node_digest(path, data, stat, 0, owner)
    start = path.encode()
    if data:
        start += data
    return crc32(start + stat[:8] + stat[:52])
