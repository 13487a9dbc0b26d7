"""Recorded bytes of Java ZooKeeper, and Java's field names beside ours."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from trioquorum.errors import PeerProtocolError
from trioquorum.wire import records, txn as transactions
from trioquorum.wire.jute import Record
from trioquorum.wire.quorum import LearnerInfo

VECTORS = Path(__file__).parent / "vectors"

Leaf = tuple[str, object]


class Vector(msgspec.Struct):
    """A recorded record: its kind, bytes and Java field names with values."""

    kind: str
    data: bytes
    fields: list[Leaf]


def load_vectors() -> list[Vector]:
    lines = (VECTORS / "records.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [Vector(each["kind"], bytes.fromhex(each["hex"]), [(n, v) for n, v in each["fields"]]) for each in found]


class Piece(msgspec.Struct):
    """One record of a recorded connection; ``note`` names those that are neither frame nor packet nor notification."""

    outgoing: bool
    note: str
    data: bytes


def load_conversation(name: str) -> dict[str, list[Piece]]:
    """Connection name → its records in order of time."""
    connections: dict[str, list[Piece]] = {}
    for line in (VECTORS / f"{name}.txt").read_text().splitlines():
        if not line.startswith("#"):
            connection, direction, *note, data = line.split(" ")
            piece = Piece(direction == ">", "".join(note), bytes.fromhex(data))
            connections.setdefault(connection, []).append(piece)
    return connections


RECORDS = sorted(
    {
        each
        for module in (records, transactions)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Record) and each is not Record
    }
    | {LearnerInfo},
    key=lambda each: each.__name__,
)
"""Every kind of record there is, to test them all alike."""


# Java's names and ours

_RENAMED = {
    "auth_scheme": "scheme",
    "child_watches": "child",
    "client_id": "session",
    "client_info": "clients",
    "cur_config_id": "config_id",
    "data_watches": "data",
    "ephemerals": "children",
    "exist_watches": "exist",
    "joining_servers": "joining",
    "leaving_servers": "leaving",
    "mode": "type",
    "parent_c_version": "parent_cversion",
    "passwd": "password",
    "paths2_delete": "paths",
    "persistent_recursive_watches": "recursive",
    "persistent_watches": "persistent",
    "prefix_path": "path",
    "serverid": "server_id",
    "session_id": "session",
    "time": "time_ms",
    "time_out": "timeout_ms",
    "timeout": "timeout_ms",
    "total_number": "value",
}


def our_name(java_name: str) -> str:
    """Name of the last part of ``CreateRequest.acl[0].id.scheme``; a vector's count is named like the vector."""
    last = java_name.removesuffix(".#").rsplit(".", 1)[-1].rsplit(":", 1)[-1].split("[")[0]
    if last.isupper():
        last = last.lower()
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in last).lstrip("_")
    if java_name.endswith("ErrorResponse.err"):
        return "value"
    return _RENAMED.get(snake, snake)


def leaves(record: Record) -> list[Leaf]:
    """The record's fields in order: bytes as hex, a vector as its count (−1 = null) and its items."""
    return [leaf for name in record.__struct_fields__ for leaf in _leaf(name, getattr(record, name), type(record))]


def _leaf(name: str, value: object, owner: type[Record]) -> Iterator[Leaf]:
    if isinstance(value, Record):
        yield from leaves(value)
    elif isinstance(value, list):
        yield name, len(value)
        for item in value:
            yield from _leaf(name, item, owner)
    elif value is None and "list" in str(owner.__annotations__[name]):
        yield name, -1
    else:
        yield name, value.hex() if isinstance(value, bytes) else value


def tolerate(decode: Callable[..., Any], *arguments: Any) -> bool:
    """Call it; true when it gave a result, false when it refused in the one way a decoder may."""
    try:
        decode(*arguments)
    except PeerProtocolError:
        return False
    return True
