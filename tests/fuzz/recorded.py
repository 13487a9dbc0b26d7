"""Conversations that real clients had with Apache ZooKeeper 3.8, to start from: the recordings of other tests."""

import json
import struct
from pathlib import Path
from typing import Final

_TESTS: Final = Path(__file__).parent.parent
_HELLO: Final = struct.pack(">iiqiqi16s?", 45, 0, 0, 5000, 0, 16, bytes(16), False)
_REQUESTS_MAX: Final = 12


def conversations() -> list[list[bytes]]:
    """Each some frames of one connection, handshake first."""
    return [
        [frames[0], *frames[at : at + _REQUESTS_MAX]]
        for frames in _connections()
        for at in range(1, max(2, len(frames)), _REQUESTS_MAX)
    ]


def _connections() -> list[list[bytes]]:
    found = []
    for path in sorted((_TESTS / "client/recorded").glob("*.jsonl")):
        lines = map(json.loads, path.read_text().splitlines())
        found.append([bytes.fromhex(line["hex"]) for line in lines if line["dir"] == "c2s"])
    for line in map(json.loads, (_TESTS / "hostile/bad_frames.jsonl").read_text().splitlines()):
        sent = bytes.fromhex(line["sent"])
        found.append([_HELLO, sent] if line["session"] else [sent])
    for path in sorted((_TESTS / "tree/recorded").glob("*.txt")):
        by_name: dict[str, list[bytes]] = {}
        for text in path.read_text().splitlines():
            name, mark, data = (text + "  ").split(" ", 2)
            if mark == ">":
                by_name.setdefault(name, [_HELLO]).append(_frame(bytes.fromhex(data.strip())))
        found += by_name.values()
    return found


def _frame(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload
