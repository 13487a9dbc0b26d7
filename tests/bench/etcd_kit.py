"""An etcd that knows just enough of gRPC to be asked by the generator, and that can be told to misbehave."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
WINDOW_BYTES = 65_535
UPDATE_BYTES = 20_000

Fields = dict[int, int | bytes]
Spoil = Callable[[str, Fields], Fields | None]
"""Method, good answer → what is answered instead; None is a failed call."""


def honest(method: str, answer: Fields) -> Fields | None:
    return answer


def encode(fields: Fields) -> bytes:
    out = b""
    for number, value in fields.items():
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        else:
            out += _varint(number << 3 | 2) + _varint(len(value)) + value
    return out


def decode(data: bytes) -> Fields:
    found: Fields = {}
    while data:
        tag, data = _take_varint(data)
        value, data = _take_varint(data)
        if tag & 7 == 2:
            found[tag >> 3], data = data[:value], data[value:]
        else:
            found[tag >> 3] = value
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _take_varint(data: bytes) -> tuple[int, bytes]:
    value = 0
    for at, byte in enumerate(data):
        value |= (byte & 127) << 7 * at
        if byte < 128:
            return value, data[at + 1 :]
    raise ValueError(data)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Keys:
    """What is stored: (value, revision of the last put)."""

    def __init__(self) -> None:
        self.revision = 1
        self._values: dict[bytes, tuple[bytes, int]] = {}

    def answer(self, method: str, asked: Fields) -> Fields:
        key, found = asked[1], Fields()
        assert isinstance(key, bytes)
        if method == "Put":
            self.revision += 1
            value = asked.get(2, b"")
            assert isinstance(value, bytes)
            self._values[key] = (value, self.revision)
        elif method == "Range":
            assert asked[7] == 1, "not serializable"
            value, revision = self._values[key]
            found = {2: encode({1: key, 2: 1, 3: revision, 4: 1, 5: value}), 4: 1}
        else:
            self.revision += 1
            gone = [it for it in self._values if key <= it < asked[2]]  # type: ignore[operator]
            for it in gone:
                del self._values[it]
            found = {2: len(gone)}
        return {1: encode({1: 7, 2: 8, 3: self.revision, 4: 2}), **found}


class Side:
    """One connection: HTTP/2 as far as the generator uses it."""

    def __init__(self, keys: Keys, spoil: Spoil) -> None:
        self._keys = keys
        self._spoil = spoil
        self._data = b""
        self._greeted = False
        self._table: list[str] = []
        self._paths: dict[int, str] = {}
        self._taken = 0

    def receive(self, data: bytes) -> bytes:
        """What is sent back."""
        self._data += data
        out = b""
        if not self._greeted and len(self._data) >= len(PREFACE):
            assert self._data.startswith(PREFACE)
            self._data = self._data[len(PREFACE) :]
            self._greeted = True
            out += frame(SETTINGS, 0, 0)
        while self._greeted and len(self._data) >= HEAD_BYTES:
            end = HEAD_BYTES + int.from_bytes(self._data[:3], "big")
            if len(self._data) < end:
                break
            kind, flags, stream = self._data[3], self._data[4], int.from_bytes(self._data[5:9], "big")
            payload, self._data = self._data[HEAD_BYTES:end], self._data[end:]
            if kind == HEADERS:
                self._paths[stream] = self._path(payload)
            elif kind == DATA:
                assert flags == END_STREAM
                out += self._window(len(payload)) + self._called(stream, payload)
            elif kind == SETTINGS and not flags & ACK:
                out += frame(SETTINGS, ACK, 0)
        return out

    def _window(self, taken: int) -> bytes:
        """As etcd does, more room is given only now and then."""
        self._taken += taken
        assert self._taken <= WINDOW_BYTES, "more than there was room for"
        if self._taken < UPDATE_BYTES:
            return b""
        update, self._taken = frame(WINDOW_UPDATE, 0, 0, self._taken.to_bytes(4, "big")), 0
        return update

    def _path(self, block: bytes) -> str:
        """Of the headers; the generator writes them as indexes, or as new entries without Huffman's code."""
        assert block[:2] == b"\x83\x86"  # POST, http
        block, found = block[2:], []
        while block:
            first, block = block[0], block[1:]
            if first & 0x80:
                found.append(self._table[62 - (first & 0x7F) - 1])
                continue
            texts = []
            for _ in range(1 if first & 0x3F else 2):
                size = block[0]
                texts.append(block[1 : 1 + size].decode())
                block = block[1 + size :]
            self._table.append(texts[-1])
            found.append(texts[-1])
        assert found[1:] == ["127.0.0.1", "application/grpc", "trailers"]
        return found[0]

    def _called(self, stream: int, payload: bytes) -> bytes:
        assert payload[0] == 0
        assert int.from_bytes(payload[1:5], "big") == len(payload) - 5
        method = self._paths.pop(stream).removeprefix("/etcdserverpb.KV/")
        answer = self._spoil(method, self._keys.answer(method, decode(payload[5:])))
        out = frame(HEADERS, END_HEADERS, stream, b"\x88")
        if answer is not None:
            message = encode(answer)
            out += frame(DATA, 0, stream, b"\0" + len(message).to_bytes(4, "big") + message)
        return out + frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88")


@asynccontextmanager
async def fake_etcd(spoil: Spoil = honest) -> AsyncIterator[int]:
    """Serves on loopback; the port."""
    async with trio.open_nursery() as nursery:
        serve = partial(_serve, Keys(), spoil)
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _serve(keys: Keys, spoil: Spoil, stream: trio.SocketStream) -> None:
    side = Side(keys, spoil)
    try:
        async for chunk in stream:
            await stream.send_all(side.receive(bytes(chunk)))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
