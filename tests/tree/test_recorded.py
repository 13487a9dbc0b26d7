"""Conversations with ZooKeeper 3.8.0, replayed against prep, apply and reads: every answer and event, byte by byte.

A line of a recording is ``connection > request``, ``connection < reply or event``, ``connection @ session`` for the
handshake or ``connection x`` for its end; frames are hex without their length, times of znodes are one constant.
"""

from pathlib import Path

import pytest

from tests.tree.kit import Connection, Server
from trioquorum.wire.client import REQUEST_HEADER
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Children2Response, ChildrenResponse

RECORDINGS = sorted((Path(__file__).parent / "recorded").glob("*.txt"))


def readable(op: int, reply: bytes) -> object:
    """The reply; the order of child names, which is nobody's promise, is left out."""
    head, body = reply[:16], reply[16:]
    if body and op == Op.GET_CHILDREN:
        return head, sorted(ChildrenResponse.decode(body).children or [])
    if body and op == Op.GET_CHILDREN2:
        answer = Children2Response.decode(body)
        return head, sorted(answer.children or []), answer.stat
    return sorted(reply) if op == Op.MULTI_READ else reply


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_answers_are_zookeepers(recording: Path) -> None:
    server = Server()
    clients: dict[str, Connection] = {}
    asked: dict[str, dict[int, int]] = {}
    compared = 0
    for number, line in enumerate(recording.read_text().splitlines(), 1):
        if line.startswith("#"):
            continue
        name, mark, rest = (line + " ").split(" ", 2)
        data = bytes.fromhex(rest) if mark in "<>" else b""
        if mark == "@":
            session = int(rest, 16)
            if session in server.tracker:
                clients[name] = Connection(session)
            else:
                clients[name] = server.connect(session)
            asked[name] = {}
        elif mark == "x":
            server.tree.watches.remove_watcher(clients[name])
        elif mark == ">":
            xid, op = REQUEST_HEADER.unpack_from(data)
            asked[name][xid] = op
            server.request(clients[name], data)
        else:
            assert clients[name].out, f"line {number}: nothing was sent"
            sent = clients[name].out.pop(0)
            op = asked[name].get(int.from_bytes(data[:4], "big", signed=True), 0)
            assert readable(op, sent) == readable(op, data), f"line {number}"
            compared += 1
    assert compared > 10
    assert not any(client.out for client in clients.values())
