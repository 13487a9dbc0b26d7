"""Digest of a tree, version 2 (disk-format §7): the sum of its nodes' checksums, so it can follow every change."""

from struct import Struct
from zlib import crc32

VERSION = 2
WRAP = 0xFFFFFFFFFFFFFFFF

_STORED = Struct(">16s8s20si4sq")
_NO_CHILDREN = bytes(4)


def node_digest(path: str, data: bytes | None, stat: bytes, cversion: int, owner: int) -> int:
    """Checksum of one node; 0 for what lies below ``/zookeeper``, which peers change on their own.

    ``stat`` is the client's stat (68 bytes); ``cversion`` and ``owner`` are the stored values.
    """
    if path.startswith("/zookeeper/"):
        return 0
    start = b"" if path == "/" else path.encode()
    if data:
        start += data
    if not cversion and not owner and stat[56:60] == _NO_CHILDREN:
        # A plain leaf, the most frequent node by far: what clients see is what is stored.
        return crc32(start + stat[:16] + stat[60:] + stat[16:52])
    return crc32(start + _STORED.pack(stat[:16], stat[60:], stat[16:36], cversion, stat[40:44], owner))
