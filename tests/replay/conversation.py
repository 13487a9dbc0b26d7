"""Connections that were recorded on ZooKeeper's client port, held again: what is sent, and what must come.

Requests are sent when everything recorded before them has come; what comes must be the recorded bytes, but for what
differs from run to run: session ids, passwords, ports, times, digests of trees, and the order of names that ZooKeeper
keeps in hash tables.
"""

import gzip
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from trioquorum.errors import Code
from trioquorum.wire.client import REQUEST_HEADER
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Children2Response, ChildrenResponse

GAP_S: Final = 0.05
"""Recorded pauses of this length are kept: sessions expire in them."""

PATIENCE_S: Final = 20.0
TIME: Final = re.compile(rb"\x00\x00\x01[\xa0-\xff](?!\x00\x00\x01).{4}", re.DOTALL)
"""Milliseconds since 1970, from 2026 to 2039; not the zxid 0x1000001a0 before one."""

EVENT_XID: Final = -1
LAST_ZXID_SEEN: Final = slice(8, 16)
"""Of a ConnectRequest's frame."""

OTHERWISE: Final = {
    ("create", "c00", 19): "createContainer with the flags of a plain node is refused",
    ("acl-auth", "c01", 10): "exists needs READ on a node that is there, as in later versions",
    **{
        ("watch-persistent", "c01", number): "3.8 does not know persistent watches by their kind, later versions do"
        for number in (24, 25, 26, 27, 34, 35, 36, 37, 40)
    },
    ("quorum-loss-readonly", "c12-to2", 1): "read-only mode needs no local sessions",
}
"""Answers that are others on purpose: scenario, connection and number, with the reason."""

MORE: Final = {
    ("zkcli", "c00", 34): "a recursive watch ended the persistent one of its path in 3.8, in later versions both fire",
    ("zkcli", "c00", 38): "and again",
}
"""Before these answers we say one thing more."""

REFUSED: Final = {
    ("setdata-delete", "c01", 2): "a check outside a multi is unimplemented, as in later versions; 3.8 did not answer",
    ("setdata-delete", "c02", 2): "or told an error",
}
"""Instead of these answers we refuse and close."""

LAST_WORDS: Final = {
    ("reconfig", "c22-to1"): "who removes the leader may hear that it is done before all connections are closed",
}
"""What the server says before it closes these connections is not looked at."""

ENTANGLED: Final = {("pipeline", "c00"): 33, ("pipeline", "c01"): 2}
"""From these answers on two connections talk at once and chance orders them: only xid and error are compared."""


class Conversation:
    """One connection, as it was recorded and as it is now."""

    def __init__(
        self, scenario: str, name: str, port: int, sessions: dict[bytes, bytes], ports: Mapping[bytes, bytes]
    ) -> None:
        self.name = name
        self._scenario = scenario
        self.closed = False
        self.answers = 0
        self._sessions = sessions  # what was recorded → what it is now, of ids and passwords
        self._ports = ports
        self._ops: dict[int, int] = {}
        self._introduced = False
        self._port = port
        self._hello = b""
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)

    def send(self, data: bytes) -> None:
        """Send what was recorded, under our session and of our servers."""
        data = _renamed(data, self._ports)
        if not self._introduced:
            data = self._hello = _renamed(data, self._sessions)
        elif len(data) >= 12:
            xid, op = REQUEST_HEADER.unpack_from(data, 4)
            self._ops[xid] = op
        self._sock.sendall(data)

    def compare_frame(self, recorded: bytes) -> None:
        """Read a frame; it must be the recorded one."""
        self.answers += 1
        if (self._scenario, self.name, self.answers) in MORE:
            self._frame()
        if (self._scenario, self.name, self.answers) in REFUSED:
            assert int.from_bytes(self._frame()[16:20], "big", signed=True) == Code.UNIMPLEMENTED
            self.expect_close()
            return
        if self._introduced:
            frame = self._frame()
        else:
            frame = self._welcome()
            self._introduced = True
            self._learn(recorded, frame)
        same = self._readable(frame) == self._readable(recorded)
        if (self._scenario, self.name, self.answers) in OTHERWISE:
            assert not same, "this is no difference any more"
        elif self.answers >= ENTANGLED.get((self._scenario, self.name), sys.maxsize):
            assert (frame[4:8], frame[16:20]) == (recorded[4:8], recorded[16:20])
        else:
            assert same, f"{self.name}, answer {self.answers}: {frame.hex()} was {recorded.hex()}"

    def compare_word(self, recorded: bytes) -> None:
        """Read to the end; it begins with the same kind of line."""
        found = b""
        while chunk := self._sock.recv(65536):
            found += chunk
        self.answers += 1
        assert _kind(found) == _kind(recorded), f"{self.name}, answer {self.answers}"

    def go_on(self, event: dict[str, Any]) -> bool:
        """One event of it; whether it was an answer."""
        if "ev" in event:
            self.expect_close() if event["dir"] == "s2c" else self.close()
        elif event["dir"] == "c2s":
            self.send(bytes.fromhex(event["hex"]))
        else:
            compare = self.compare_frame if event["kind"] == "frame" else self.compare_word
            compare(bytes.fromhex(event["hex"]))
            return True
        return False

    def expect_close(self) -> None:
        """The server closes, and has nothing more to say."""
        with suppress(ConnectionResetError):
            more = self._sock.recv(65536)
            if (self._scenario, self.name) in LAST_WORDS:
                more = more and self._sock.recv(1)
            assert more == b"", f"{self.name}: {more!r} was not recorded"
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        self._sock.close()

    def _learn(self, recorded: bytes, frame: bytes) -> None:
        for at, size in ((12, 8), (24, 16)):
            if any(recorded[at : at + size]):
                self._sessions[recorded[at : at + size]] = frame[at : at + size]

    def _readable(self, frame: bytes) -> object:
        frame = TIME.sub(bytes(8), _renamed(_renamed(frame, self._sessions), self._ports))
        xid = int.from_bytes(frame[4:8], "big", signed=True)
        head, body = frame[:20], frame[20:]
        if xid == EVENT_XID:
            return frame[:8], frame[16:]  # 3.8 does not say which transaction an event tells of, later versions do.
        match self._ops.get(xid, 0) if body else 0:
            case Op.GET_CHILDREN:
                return head, sorted(ChildrenResponse.decode(body).children or [])
            case Op.GET_CHILDREN2:
                answer = Children2Response.decode(body)
                return head, sorted(answer.children or []), answer.stat
            case Op.MULTI_READ | Op.WHO_AM_I | Op.GET_EPHEMERALS:
                return head, sorted(body)
        return frame

    def _welcome(self) -> bytes:
        """The first answer. A server that has not yet seen what the client has seen closes, and is asked again."""
        seen = int.from_bytes(self._hello[LAST_ZXID_SEEN], "big")
        deadline = time.monotonic() + PATIENCE_S
        while seen and not self._sock.recv(1, socket.MSG_PEEK) and time.monotonic() < deadline:
            self._sock.close()
            time.sleep(GAP_S)
            self._sock = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S)
            self._sock.sendall(self._hello)
        return self._frame()

    def _frame(self) -> bytes:
        head = self._read(4)
        return head + self._read(int.from_bytes(head, "big"))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self._sock.recv(count - len(data))
            assert chunk, f"{self.name}, answer {self.answers}: closed after {data!r}"
            data += chunk
        return data


def _kind(answer: bytes) -> str:
    """What the first line of a word's answer is about: its text without numbers, up to the value."""
    name, *_ = re.split(r"[:=\t(]", answer.decode().partition("\n")[0])
    return re.sub(r"0x[\da-f]+|[\d/.]+", "", name).strip()


def _renamed(data: bytes, names: Mapping[bytes, bytes]) -> bytes:
    for recorded, ours in names.items():
        data = data.replace(recorded, ours)
    return data


def load(scenario: Path) -> Iterator[dict[str, Any]]:
    """The settings, then what happened."""
    with gzip.open(scenario, "rt") as lines:
        yield from map(json.loads, lines)


def hold(
    scenario: str,
    events: Iterable[dict[str, Any]],
    port: Callable[[str], int],
    act: Callable[[dict[str, Any]], object],
    ports: Mapping[bytes, bytes] | None = None,
) -> int:
    """Hold all conversations of a scenario; how many answers were compared.

    ``port`` is the port of a connection's name, ``act`` does to the servers what was done to them, ``ports`` are what
    the recorded ports are now, both in digits.
    """
    events = list(events)
    conversations: dict[str, Conversation] = {}
    sessions: dict[bytes, bytes] = {}
    refused = {event["conn"] for event in events if event.get("ev") == "rst" and event["dir"] == "s2c"}
    refused -= {event["conn"] for event in events if "hex" in event}
    before_s, compared = 0.0, 0
    with ExitStack() as stack:
        for event in events:
            name = event.get("conn", "")
            if event.get("dir") != "s2c":
                time.sleep(event["t"] - before_s if event["t"] - before_s > GAP_S else 0)
            before_s = event["t"]
            if "do" in event:
                act(event)
            elif name in refused:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port(name)), PATIENCE_S)
            elif event.get("ev") == "syn":
                conversations[name] = Conversation(scenario, name, port(name), sessions, ports or {})
                stack.callback(conversations[name].close)
            elif not conversations[name].closed:
                compared += conversations[name].go_on(event)
    return compared
