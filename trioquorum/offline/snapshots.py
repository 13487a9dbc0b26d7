"""Snapshot files, read without a server."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from trioquorum.errors import CorruptSnapshot
from trioquorum.offline.describe import Json, describe_node, hexadecimal, is_below
from trioquorum.storage.compression import unpacker
from trioquorum.storage.names import SNAPSHOT, zxid_of
from trioquorum.storage.snapshot import SnapshotDigest, SnapshotParser
from trioquorum.tree.node import Node, data_length, mzxid_of, pzxid_of
from trioquorum.tree.nodes import DataTree

READ_BYTES: Final = 256 << 10
LARGEST: Final = 10


class Stats(msgspec.Struct, kw_only=True):
    """Sums over a snapshot; sizes are bytes. ``top`` is znodes and data by the first part of the path."""

    file: str
    zxid: str
    sessions: int
    znodes: int
    ephemerals: int
    containers: int
    ttls: int
    data_bytes: int
    acls: int
    depth: int
    digest: str
    largest: list[tuple[str, int]]
    widest: list[tuple[str, int]]
    top: dict[str, tuple[int, int]]


def load(file: Path, read: Callable[[int], object] = lambda _: None) -> DataTree:
    """The tree in ``file``, compressed or not; ``read`` is told of every so many bytes that were read.

    Its digest is compared when it was taken at the snapshot's own zxid: later changes may be in the file in part.

    Raises:
        CorruptSnapshot: it is damaged; names the file.
        StorageError: what it needs to be unpacked is not installed.
    """
    return _load(file, read)[0]


def reach(file: Path) -> int:
    """The last transaction that may have left something in ``file``; later than its zxid where it is fuzzy.

    One that has no digest, which tells it, shows it by its znodes, but for ACLs that changed.

    Raises:
        CorruptSnapshot: it is damaged; names the file.
    """
    tree, digest = _load(file, lambda _: None)
    seen = digest.zxid if digest is not None else max(max(mzxid_of(it), pzxid_of(it)) for it in tree.nodes.values())
    return max(tree.last_zxid, seen)


def _load(file: Path, read: Callable[[int], object]) -> tuple[DataTree, SnapshotDigest | None]:
    tree = DataTree()
    try:
        parser = SnapshotParser(tree)
        for chunk in _chunks(file, read):
            parser.feed(chunk)
        parser.finish()
        tree.last_zxid = zxid_of(file.name, SNAPSHOT) or 0
        told = parser.digest
        if told is not None and told.zxid == tree.last_zxid and told.digest != tree.digest:
            raise CorruptSnapshot(f"its digest is {told.digest:#x}, its nodes have {tree.digest:#x}")
    except CorruptSnapshot as error:
        raise CorruptSnapshot(f"{file}: {error}") from None
    return tree, told


def _chunks(file: Path, read: Callable[[int], object]) -> Iterator[bytes]:
    unpacking = unpacker(file.name)
    with file.open("rb") as opened:
        while chunk := opened.read(READ_BYTES):
            read(len(chunk))
            yield from unpacking.unpack(chunk)
    unpacking.finish()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a tree: all conditions that are set must hold. ``path`` stands for its subtree too.

    ``first`` and ``last`` bound the zxid at which a znode changed last, its list of children included. Sessions have
    no path and no zxid.
    """

    first: int | None = None
    last: int | None = None
    session: int | None = None
    path: str | None = None

    def wants_session(self, session: int) -> bool:
        """Whether ``session`` is one of them."""
        if self.session is not None and session & _ID != self.session & _ID:
            return False
        return (self.first, self.last, self.path) == (None, None, None)

    def wants(self, path: str, node: Node) -> bool:
        """Whether ``node`` is one of them."""
        if self.path is not None and not is_below(path, self.path):
            return False
        if self.session is not None and (not node.owner or node.owner & _ID != self.session & _ID):
            return False
        changed = max(mzxid_of(node), pzxid_of(node))
        return (self.first is None or self.first <= changed) and (self.last is None or changed <= self.last)


_ID = (1 << 64) - 1


def dump(tree: DataTree, wanted: Wanted) -> Iterator[Json]:
    """Sessions, then znodes, parents first, that are ``wanted``."""
    for session, timeout_ms in sorted(tree.sessions.items()):
        if wanted.wants_session(session):
            yield {"session": hexadecimal(session), "timeout_ms": timeout_ms}
    for path in sorted(tree.nodes):
        node = tree.nodes[path]
        if wanted.wants(path, node):
            yield describe_node(path, node, tree.acls.get(node.acl))


def stats(file: Path, tree: DataTree) -> Stats:
    """What is in ``tree``, in numbers."""
    sizes = {path: data_length(node) for path, node in tree.nodes.items()}
    widths = {path: len(node.children or ()) for path, node in tree.nodes.items()}
    tops: Counter[str] = Counter()
    top_bytes: Counter[str] = Counter()
    for path, size in sizes.items():
        top = "/" + path.split("/", 2)[1]
        tops[top] += 1
        top_bytes[top] += size
    return Stats(
        file=file.name,
        zxid=hexadecimal(tree.last_zxid),
        sessions=len(tree.sessions),
        znodes=len(tree.nodes),
        ephemerals=sum(map(len, tree.ephemerals.values())),
        containers=len(tree.containers),
        ttls=len(tree.ttls),
        data_bytes=sum(sizes.values()),
        acls=len(tree.acls.by_id),
        depth=max(path.count("/") if path != "/" else 0 for path in tree.nodes),
        digest=hexadecimal(tree.digest),
        largest=Counter(sizes).most_common(LARGEST),
        widest=Counter(widths).most_common(LARGEST),
        top={path: (count, top_bytes[path]) for path, count in sorted(tops.items())},
    )


def diff(old: DataTree, new: DataTree) -> Iterator[Json]:
    """What differs, in the order of the paths: nodes that came, went, or have other data, stat, ACL or owner."""
    for path in sorted(old.nodes.keys() | new.nodes.keys()):
        before, after = (_described(tree, path) for tree in (old, new))
        if before is None:
            yield {"path": path, "only_in": "second"}
        elif after is None:
            yield {"path": path, "only_in": "first"}
        elif before != after:
            names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            yield {"path": path, "differs": {name: [before.get(name), after.get(name)] for name in names}}
    for session in sorted(old.sessions.keys() ^ new.sessions.keys()):
        yield {"session": hexadecimal(session), "only_in": "first" if session in old.sessions else "second"}


def _described(tree: DataTree, path: str) -> Json | None:
    node = tree.nodes.get(path)
    return None if node is None else describe_node(path, node, tree.acls.get(node.acl))
