"""Snapshots as bytes (disk-format §4): written in pieces while the tree changes, read in pieces of any size. Pure.

A snapshot is fuzzy: each node is whole, but what is applied while it is written may be in it or not. Replaying the
transactions behind its zxid makes it exact.
"""

from collections.abc import Callable, Iterable, Iterator
from struct import Struct, error as struct_error
from typing import Final
from zlib import adler32

import msgspec
from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be

from trioquorum.errors import CorruptSnapshot, PeerProtocolError
from trioquorum.tree.children import walked
from trioquorum.tree.digest import VERSION, WRAP
from trioquorum.tree.node import Node, write_persisted
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import ROOT
from trioquorum.wire.fields import decode_buffer, decode_text, encode_text, raw_text
from trioquorum.wire.records import Acl

HEADER: Final = b"ZKSN\x00\x00\x00\x02" + b"\xff" * 8
MAGIC: Final = HEADER[:4]
NODES_PER_CHUNK: Final = 512
"""A chunk ends here at the latest, so that making one never holds the loop for long."""

FIELD_BYTES_MAX: Final = 64 << 20
"""No text or data in a snapshot is longer; a longer length is damage."""

TAIL_BYTES_MAX: Final = 256

_INT = Struct(">i")
_LONG = Struct(">q")
_SESSION = Struct(">qi")
_DIGEST = Struct(">qiQ")  # zxid, version, digest
_SEAL = Struct(">qi1s")  # Adler-32, "/"
_STAT_BYTES: Final = 60
_ACL_ID_BYTES: Final = 8
_END_OF_NODES: Final = encode_text("/")


class SnapshotDigest(msgspec.Struct, frozen=True):
    """The tree's digest when it had applied everything up to ``zxid``."""

    zxid: int
    digest: int


def body_chunks(tree: DataTree, chunk_bytes: int) -> Iterator[bytes]:
    """Sessions, ACLs and nodes, as a SNAP carries them: about ``chunk_bytes`` at a time.

    The tree may change between two chunks.
    """
    # Sessions and ACLs come first: what is added later is added again by replay.
    sessions = list(tree.sessions.items())
    acls = list(tree.acls.by_id.items())
    yield from _gathered(_front(sessions, acls), chunk_bytes)
    yield from _nodes(tree, chunk_bytes)
    yield _END_OF_NODES


def snapshot_chunks(tree: DataTree, zxid: int, chunk_bytes: int, *, exact: bool = True) -> Iterator[bytes]:
    """A whole file of the tree as of ``zxid``, the last transaction applied when the first chunk is asked for.

    A tree that is not ``exact``, because it may hold some of what is behind ``zxid``, has no digest to compare.
    """
    yield HEADER
    checksum = adler32(HEADER)
    for chunk in body_chunks(tree, chunk_bytes):
        checksum = adler32(chunk, checksum)
        yield chunk
    # The digest belongs to the end of the walk: replay comes by there after it has made the fuzzy part exact.
    digest_zxid = tree.last_zxid if exact else 0
    digest = tree.digest if digest_zxid else 0
    blocks = [_DIGEST.pack(digest_zxid, VERSION, digest)] if tree.keeps_digest else []
    tail = b""
    for block in (b"", *blocks, _LONG.pack(zxid)):
        checksum = adler32(block, checksum)
        seal = _SEAL.pack(checksum, 1, b"/")
        checksum = adler32(seal, checksum)
        tail += block + seal
    yield tail


def _front(sessions: list[tuple[int, int]], acls: list[tuple[int, tuple[Acl, ...]]]) -> Iterator[bytes]:
    yield _INT.pack(len(sessions))
    for session in sessions:
        yield _SESSION.pack(*session)
    yield _INT.pack(len(acls))
    for acl_id, acl in acls:
        yield _LONG.pack(acl_id) + _INT.pack(len(acl)) + b"".join([entry.encode() for entry in acl])


def _nodes(tree: DataTree, chunk_bytes: int) -> Iterator[bytes]:
    """Every node behind its parent, siblings together, each as it is when its turn comes."""
    waiting: list[Iterator[str]] = [iter((ROOT,))]
    while waiting:
        if chunk := _next_nodes(tree.nodes, waiting, chunk_bytes):
            yield chunk


def _next_nodes(nodes: dict[str, Node], waiting: list[Iterator[str]], chunk_bytes: int) -> bytes:
    """The next chunk; ``waiting`` has the paths that are still to be written, the last first."""
    out = BytesWriter()
    count = 0
    while waiting:
        for path in waiting[-1]:
            node = nodes.get(path)
            if node is None:
                continue  # deleted since its parent was written
            raw = raw_text(path) if path != ROOT else b""
            write_i32_be(out, len(raw))
            out.write(raw)
            write_persisted(out, node)
            count += 1
            children = node.children
            if children is not None:
                waiting.append(walked(children))
            if count >= NODES_PER_CHUNK or len(out) >= chunk_bytes:
                return out.getvalue()
            if children is not None:
                break
        else:
            waiting.pop()
    return out.getvalue()


def _gathered(parts: Iterable[bytes], chunk_bytes: int) -> Iterator[bytes]:
    chunk: list[bytes] = []
    size = 0
    for part in parts:
        chunk.append(part)
        size += len(part)
        if size >= chunk_bytes or len(chunk) >= NODES_PER_CHUNK:
            yield b"".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield b"".join(chunk)


class SnapshotParser:
    """Fills ``tree``, emptied first, from the chunks of a file, or of a SNAP (``body``).

    ``digest`` is known after ``finish``; the caller sets the tree's ``last_zxid``, which is in the file's name.
    """

    def __init__(self, tree: DataTree, *, body: bool = False) -> None:
        tree.clear()
        self.digest: SnapshotDigest | None = None
        self._tree = tree
        self._body = body
        self._data = b""
        self._at = 0
        self._checksum = 1
        self._step: Callable[[], bool] = self._sessions_count if body else self._header
        self._left = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            CorruptSnapshot: this is no snapshot.
        """
        self._data += chunk
        try:
            while self._step():
                pass
        except (PeerProtocolError, struct_error) as error:
            raise CorruptSnapshot(str(error)) from None
        self._drop_parsed()

    def finish(self) -> None:
        """End of the chunks: check the rest and complete the tree.

        Raises:
            CorruptSnapshot: something is missing, or a checksum is wrong.
        """
        if self._step != self._tail:
            raise CorruptSnapshot("it ends too early")
        if not self._body:
            self._seals()
        self._tree.restored()

    def _drop_parsed(self) -> None:
        if not self._body:
            self._checksum = adler32(memoryview(self._data)[: self._at], self._checksum)
        self._data = self._data[self._at :]
        self._at = 0

    # One step each: parse one thing if all of it is there, and say so

    def _header(self) -> bool:
        if len(self._data) < len(HEADER):
            return False
        if not self._data.startswith(MAGIC):
            raise CorruptSnapshot("it does not begin like a snapshot")
        self._at = len(HEADER)
        self._step = self._sessions_count
        return True

    def _sessions_count(self) -> bool:
        return self._count(self._session)

    def _count(self, step: Callable[[], bool]) -> bool:
        if len(self._data) - self._at < _INT.size:
            return False
        (self._left,) = _INT.unpack_from(self._data, self._at)
        self._at += _INT.size
        if self._left < 0:
            raise CorruptSnapshot(f"a list of {self._left}")
        self._step = step
        return True

    def _session(self) -> bool:
        if not self._left:
            self._step = self._acls_count
            return True
        if len(self._data) - self._at < _SESSION.size:
            return False
        session, timeout_ms = _SESSION.unpack_from(self._data, self._at)
        self._tree.sessions[session] = timeout_ms
        self._at += _SESSION.size
        self._left -= 1
        return True

    def _acls_count(self) -> bool:
        return self._count(self._acl)

    def _acl(self) -> bool:
        if not self._left:
            self._step = self._node
            return True
        size = len(self._data)
        if size - self._at < _LONG.size + _INT.size:
            return False
        (acl_id,) = _LONG.unpack_from(self._data, self._at)
        (count,) = _INT.unpack_from(self._data, self._at + _LONG.size)
        if not 0 <= count <= FIELD_BYTES_MAX:
            raise CorruptSnapshot(f"an ACL of {count} entries")
        at = self._at + _LONG.size + _INT.size
        acl = []
        for _ in range(count):
            end = self._field_end(self._field_end(at + _INT.size))
            if end > size:
                return False
            acl.append(Acl.decode_from(self._data, at)[0])
            at = end
        self._tree.restore_acl(acl_id, acl)
        self._at = at
        self._left -= 1
        return True

    def _field_end(self, at: int) -> int:
        """Offset behind the text or buffer at ``at``; behind the data if it is not all there."""
        if at + _INT.size > len(self._data):
            return len(self._data) + 1
        length: int = read_i32_be(self._data, at)
        if length > FIELD_BYTES_MAX:
            raise CorruptSnapshot(f"a field of {length} bytes")
        return at + _INT.size + max(length, 0)

    def _node(self) -> bool:
        """As many nodes as there are: this is where nearly all of the time goes."""
        data, at, tree = self._data, self._at, self._tree
        size = len(data)
        while True:
            data_at = self._field_end(at)
            if data_at > size:
                break
            if data_at - at == len(_END_OF_NODES) and data.startswith(_END_OF_NODES, at):
                at = data_at
                self._step = self._tail
                break
            fixed_at = self._field_end(data_at)
            end = fixed_at + _ACL_ID_BYTES + _STAT_BYTES
            if end > size:
                break
            path = decode_text(data, at)[0]
            if path is None or (path and not path.startswith("/")):
                raise CorruptSnapshot(f"a node {path!r}")
            acl_id: int = read_i64_be(data, fixed_at)
            tree.restore_node(path, decode_buffer(data, data_at)[0], acl_id, data[fixed_at + _ACL_ID_BYTES : end])
            at = end
        self._at = at
        return self._step == self._tail

    def _tail(self) -> bool:
        if len(self._data) - self._at > (0 if self._body else TAIL_BYTES_MAX):
            raise CorruptSnapshot("something follows its end")
        return False

    def _seals(self) -> None:
        """What follows the nodes: a seal, then perhaps a digest and perhaps the zxid, each sealed (disk-format §4)."""
        at = self._sealed(0, 0)
        rest = len(self._data) - at
        if rest > _LONG.size + _SEAL.size:
            at = self._digest_block(at)
            rest = len(self._data) - at
        if rest:
            if rest != _LONG.size + _SEAL.size:
                raise CorruptSnapshot(f"{rest} bytes follow its end")
            self._sealed(at, _LONG.size)

    def _digest_block(self, at: int) -> int:
        zxid, version = _SESSION.unpack_from(self._data, at)
        if version >= VERSION:
            if len(self._data) < at + _DIGEST.size:
                raise CorruptSnapshot("it ends too early")
            digest: int = _DIGEST.unpack_from(self._data, at)[2]
            size = _DIGEST.size
            if version == VERSION and zxid:
                self.digest = SnapshotDigest(zxid, digest & WRAP)
        else:
            # Digests of the first version are hex text and comparable with nothing.
            size = self._field_end(at + _SESSION.size) - at
        return self._sealed(at, size)

    def _sealed(self, at: int, size: int) -> int:
        """Check the seal behind a block of ``size`` bytes at ``at``; returns the offset behind the seal."""
        end = at + size + _SEAL.size
        if end > len(self._data):
            raise CorruptSnapshot("it ends too early")
        checksum, length, text = _SEAL.unpack_from(self._data, at + size)
        found = adler32(memoryview(self._data)[at : at + size], self._checksum)
        if (checksum, length, text) != (found, 1, b"/"):
            raise CorruptSnapshot(f"checksum {checksum} where {found} is right")
        self._checksum = adler32(memoryview(self._data)[at + size : end], found)
        return end
