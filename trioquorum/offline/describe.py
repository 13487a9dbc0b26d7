"""Transactions and nodes as JSON objects that people and programs read."""

from typing import Any

from trioquorum.tree.node import STAT, Node
from trioquorum.tree.owners import is_ttl, ttl_ms_of
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import CONTAINER_OWNER, Op
from trioquorum.wire.records import Acl
from trioquorum.wire.txn import MultiTxn, Txn, decode_record

Json = dict[str, Any]

_HEX = (1 << 64) - 1


def hexadecimal(number: int) -> str:
    """A zxid or session id as ZooKeeper prints it."""
    return f"{number & _HEX:#x}"


def describe_txn(txn: Txn) -> Json:
    """Header and content of a transaction. Data is ``data`` when it is text, else ``data_hex``."""
    header = txn.header
    said: Json = {
        "zxid": hexadecimal(header.zxid),
        "time_ms": header.time_ms,
        "session": hexadecimal(header.session),
        "cxid": header.cxid,
        "type": _name(header.type),
    }
    said |= _describe(txn.record)
    if txn.digest is not None:
        said["digest"] = {"version": txn.digest.version, "tree": hexadecimal(txn.digest.tree_digest)}
    return said


def paths_of(txn: Txn) -> list[str]:
    """Every path that a transaction names."""
    return list(_paths(txn.record))


def is_below(path: str, top: str) -> bool:
    """Whether ``path`` is ``top`` or a descendant of it."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def _paths(record: Record) -> list[str]:
    if isinstance(record, MultiTxn):
        parts = [decode_record(part.type, part.data or b"")[0] for part in record.txns or []]
        return [path for part in parts for path in _paths(part)]
    path = getattr(record, "path", None)
    return [path] if isinstance(path, str) else list(getattr(record, "paths", None) or [])


def _name(kind: int) -> str:
    return Op(kind).name.lower() if kind in set(Op) else str(kind)


def _describe(record: Record) -> Json:
    if isinstance(record, MultiTxn):
        parts = []
        for part in record.txns or []:
            inner, _ = decode_record(part.type, part.data or b"")
            parts.append({"type": _name(part.type)} | _describe(inner))
        return {"parts": parts}
    said: Json = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if name == "data":
            said |= describe_data(value)
        elif name == "acl":
            said["acl"] = describe_acl(value)
        elif name == "err":
            said["error"] = value
        else:
            said[name] = value
    return said


def describe_data(data: bytes | None) -> Json:
    """``{"data": text}``, or ``data_hex`` for what is no printable text; null stays null."""
    if data is None:
        return {"data": None}
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"data_hex": data.hex()}
    readable = all(character.isprintable() or character in "\t\r\n" for character in text)
    return {"data": text} if readable else {"data_hex": data.hex()}


def describe_acl(acl: "list[Acl] | tuple[Acl, ...] | None") -> list[str] | None:
    """``scheme:id:perms`` an entry, perms in the letters of zkCli."""
    if acl is None:
        return None
    letters = [(1, "r"), (2, "w"), (4, "c"), (8, "d"), (16, "a")]
    return [
        f"{entry.scheme}:{entry.id}:{''.join(letter for bit, letter in letters if entry.perms & bit)}" for entry in acl
    ]


def describe_node(path: str, node: Node, acl: tuple[Acl, ...]) -> Json:
    """One znode with its stat as clients see it."""
    names = ("czxid", "mzxid", "ctime_ms", "mtime_ms", "version", "cversion", "aversion", "owner")
    stat = STAT.unpack(node.stat)
    said: Json = {"path": path} | describe_data(node.data) | dict(zip(names, stat[:8], strict=True))
    said |= {"data_bytes": stat[8], "children": stat[9], "pzxid": hexadecimal(stat[10]), "acl": describe_acl(acl)}
    said |= {"czxid": hexadecimal(stat[0]), "mzxid": hexadecimal(stat[1])}
    del said["owner"]
    return said | _kind(node.owner)


def _kind(owner: int) -> Json:
    if not owner:
        return {"kind": "persistent"}
    if owner == CONTAINER_OWNER:
        return {"kind": "container"}
    if is_ttl(owner):
        return {"kind": "ttl", "ttl_ms": ttl_ms_of(owner)}
    return {"kind": "ephemeral", "session": hexadecimal(owner)}
