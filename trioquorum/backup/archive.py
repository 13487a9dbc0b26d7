"""A backup on disk: a folder with one snapshot in ZooKeeper's format and a manifest that says what must be in it."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from trioquorum import __version__
from trioquorum.errors import CorruptSnapshot, StorageError
from trioquorum.offline.describe import hexadecimal
from trioquorum.offline.snapshots import load
from trioquorum.storage.names import SNAPSHOT, file_name
from trioquorum.storage.snapshot import snapshot_chunks
from trioquorum.tree.digest import VERSION
from trioquorum.tree.node import data_length
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import CONFIG

MANIFEST: Final = "backup.json"
FORMAT: Final = 1
PARTIAL: Final = ".partial"
CHUNK_BYTES: Final = 256 << 10
MANIFEST_BYTES_MAX: Final = 1 << 20


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a tree holds, in numbers."""

    znodes: int
    sessions: int
    ephemerals: int
    containers: int
    ttls: int
    acls: int
    data_bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is of. zxids and digests are hexadecimal text, as ZooKeeper prints them.

    ``source`` is who gave the tree, ``epoch`` the one in which it did. ``membership`` is what ``/zookeeper/config``
    said there, for people to read: nothing is restored from it.
    """

    format: int
    tool: str
    made: str
    source: str
    zxid: str
    epoch: int
    digest_version: int
    digest: str
    counts: Counts
    membership: str
    snapshot: str
    snapshot_bytes: int
    sha256: str


def counts_of(tree: DataTree) -> Counts:
    """Count what is in ``tree``."""
    return Counts(
        znodes=len(tree.nodes),
        sessions=len(tree.sessions),
        ephemerals=sum(map(len, tree.ephemerals.values())),
        containers=len(tree.containers),
        ttls=len(tree.ttls),
        acls=len(tree.acls.by_id),
        data_bytes=sum(data_length(node) for node in tree.nodes.values()),
    )


def write(folder: Path, tree: DataTree, *, source: str, epoch: int, now_ms: int) -> Manifest:
    """Make ``folder`` a backup of ``tree``, durably and whole or not at all.

    Raises:
        StorageError: something is there already.
        OSError: it cannot be written; nothing of it is left under that name.
    """
    require_empty(folder)
    with put_in_place(folder) as partial:
        name = file_name(SNAPSHOT, tree.last_zxid)
        size, sha256 = write_snapshot(partial / name, tree)
        manifest = Manifest(
            format=FORMAT,
            tool=f"trioquorum {__version__}",
            made=datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds"),
            source=source,
            zxid=hexadecimal(tree.last_zxid),
            epoch=epoch,
            digest_version=VERSION,
            digest=hexadecimal(tree.digest),
            counts=counts_of(tree),
            membership=(tree.nodes[CONFIG].data or b"").decode(errors="replace"),
            snapshot=name,
            snapshot_bytes=size,
            sha256=sha256,
        )
        write_durably(partial / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return manifest


def read(folder: Path, done: Callable[[int], object] = lambda _: None) -> tuple[Manifest, DataTree]:
    """The backup in ``folder``, with every promise of its manifest kept; ``done`` is told of bytes that were read.

    Raises:
        StorageError: there is no backup.
        CorruptSnapshot: it is damaged, or not what the manifest says.
    """
    manifest = _manifest(folder)
    file = folder / manifest.snapshot
    if file.name != manifest.snapshot or not file.is_file():
        raise CorruptSnapshot(f"{folder}: its snapshot {manifest.snapshot!r} is missing")
    tree = load(file, done)
    found = (hexadecimal(tree.last_zxid), hexadecimal(tree.digest), counts_of(tree), _sha256(file))
    said = (manifest.zxid, manifest.digest, manifest.counts, manifest.sha256)
    for what, is_there, should_be in zip(("zxid", "digest", "content", "checksum"), found, said, strict=True):
        if is_there != should_be:
            raise CorruptSnapshot(f"{folder}: the {what} is {is_there}, but {MANIFEST} says {should_be}")
    return manifest, tree


def _manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST
    if not file.is_file():
        raise StorageError(f"{folder}: there is no {MANIFEST} in it; name the folder that `trioquorum backup` made")
    try:
        with file.open("rb") as opened:
            manifest = msgspec.json.decode(opened.read(MANIFEST_BYTES_MAX), type=Manifest)
    except msgspec.DecodeError as error:
        raise CorruptSnapshot(f"{file}: cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise StorageError(f"{file}: is of format {manifest.format}; restore it with {manifest.tool} or newer")
    return manifest


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


# Files


def require_empty(folder: Path, allowed: frozenset[str] = frozenset()) -> None:
    """Refuse a folder that holds anything but ``allowed`` names; one that is not there is empty.

    Raises:
        StorageError: it does, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder}: is no directory; name another one")
    found = sorted(file.name for file in folder.iterdir() if file.name not in allowed) if folder.is_dir() else []
    if found:
        raise StorageError(f"{folder}: is not empty, there is {found[0]}; name another one, or move it away yourself")


@contextmanager
def put_in_place(folder: Path) -> Iterator[Path]:
    """A folder to fill, beside ``folder``; it gets that name, durably, when the block ends without an error.

    Raises:
        OSError: it cannot be made, or moved there.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    _remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        flush(partial)
        partial.rename(folder)
    except BaseException:
        _remove(partial)
        raise
    flush(folder.parent)


def _remove(folder: Path) -> None:
    """Remove what an earlier call made and could not finish: plain files only."""
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def write_snapshot(file: Path, tree: DataTree) -> tuple[int, str]:
    """Write ``tree``, which nobody changes meanwhile, durably; its length and SHA-256."""
    size = 0
    sha256 = hashlib.sha256()
    with file.open("xb") as opened:
        for chunk in snapshot_chunks(tree, tree.last_zxid, CHUNK_BYTES):
            opened.write(chunk)
            sha256.update(chunk)
            size += len(chunk)
        opened.flush()
        os.fsync(opened.fileno())
    return size, sha256.hexdigest()


def write_durably(file: Path, data: bytes) -> None:
    """Write a small file and flush it."""
    with file.open("xb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def flush(folder: Path) -> None:
    """Make names in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
