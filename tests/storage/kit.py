"""Directories as ZooKeeper left them, transactions of our own, and trees to compare."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from trioquorum.events import Event, Events
from trioquorum.limits import Limits
from trioquorum.storage.database import Database
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.tree.node import STAT
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import CreateTxn, SetDataTxn, Txn, TxnHeader

E = TypeVar("E", bound=Event)
IMAGES = Path(__file__).parent / "images"
PLAIN = "standalone-plain"
TIME_MS = 1_700_000_000_000

STAT_FIELDS = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion") + (
    "ephemeralOwner",
    "dataLength",
    "numChildren",
    "pzxid",
)


def image(name: str) -> dict[str, bytes]:
    """The files of a directory; a damaged one is the plain one with a file replaced."""
    folder = IMAGES / name
    if not folder.exists():
        return image(PLAIN) | image(f"damaged/{name}")
    files = {}
    for path in folder.iterdir():
        if path.name == "log.1.gz":
            files["log.1"] = gzip.decompress(path.read_bytes())
        elif path.name != "tree.json.gz":
            files[path.name] = path.read_bytes()
    return files


def expected_tree(name: str) -> dict[str, dict[str, Any]]:
    """What a client saw in the server that wrote the image."""
    nodes = json.loads(gzip.decompress((IMAGES / name / "tree.json.gz").read_bytes()))
    return {
        node["path"]: {
            "data": None if node["data_hex"] is None else bytes.fromhex(node["data_hex"]),
            "stat": node["stat"],
            "acl": [(acl["perms"], acl["id"]["scheme"], acl["id"]["id"]) for acl in node["acl"]],
            "children": set(node["children"]),
        }
        for node in nodes
    }


def seen_tree(tree: DataTree) -> dict[str, dict[str, Any]]:
    """The same of ours."""
    return {
        path: {
            "data": node.data,
            "stat": dict(zip(STAT_FIELDS, STAT.unpack(node.stat), strict=True)),
            "acl": [(acl.perms, acl.scheme, acl.id) for acl in tree.acls.get(node.acl)],
            "children": {child[child.rfind("/") + 1 :] for child in node.children or ()},
        }
        for path, node in tree.nodes.items()
    }


def content(tree: DataTree) -> dict[str, Any]:
    """Everything that must survive: nodes, sessions, last zxid and every index."""
    return {
        "nodes": seen_tree(tree),
        "stored": {path: (node.cversion, node.owner) for path, node in tree.nodes.items()},
        "sessions": tree.sessions,
        "last_zxid": tree.last_zxid,
        "ephemerals": tree.ephemerals,
        "containers": tree.containers,
        "ttls": tree.ttls,
        "digest": tree.digest,
    }


def create(zxid: int, path: str, data: bytes = b"", parent_cversion: int = -1) -> bytes:
    """The payload of a create; only one with a ``parent_cversion`` may be replayed over a fuzzy snapshot."""
    record = CreateTxn(path, data, None, False, parent_cversion)
    return Txn(TxnHeader(1, 0, zxid, TIME_MS, Op.CREATE), record).encode()


def set_data(zxid: int, path: str, data: bytes, version: int = 1) -> bytes:
    """The payload of a setData."""
    return Txn(TxnHeader(1, 0, zxid, TIME_MS, Op.SET_DATA), SetDataTxn(path, data, version)).encode()


def creates(zxids: Iterable[int]) -> list[tuple[int, bytes]]:
    """One node per zxid."""
    return [(zxid, create(zxid, f"/n{zxid:x}")) for zxid in zxids]


class Heard:
    """Events as they came."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self.events = Events(self.all.append)

    def of(self, kind: type[E]) -> list[E]:
        """Those of one kind."""
        return [event for event in self.all if isinstance(event, kind)]


async def load(
    disk: MemoryDisk, log_disk: MemoryDisk | None = None, *, heard: Heard | None = None, limits: Limits | None = None
) -> Database:
    """A database of these disks."""
    events = (heard or Heard()).events
    return await Database.load(disk, log_disk or disk, limits or Limits(), events, slow_flush_ms=1000)
