"""Opcodes that a client may not use, or that do not exist: told so with zxid −1, then cut off (as ZooKeeper 3.8)."""

import anyio
import pytest
from trio.testing import MockClock

from trioquorum.errors import Code
from trioquorum.testing import dial_over, open_ensemble
from trioquorum.transport import Address
from trioquorum.wire.client import REQUEST_HEADER, frame
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import Op
from trioquorum.wire.records import ConnectRequest, PathVersionRequest
from trioquorum_transports.memory import MemoryNetwork


@pytest.mark.parametrize("op", [Op.NOTIFICATION, Op.CHECK, Op.ERROR, Op.CREATE_SESSION, 10, 23, 99, 108, -2])
@pytest.mark.parametrize("leads", [True, False])
async def test_what_is_no_request(op: int, leads: bool, autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        peer = leader if leads else leader % 3 + 1
        stream = await dial_over(ensemble.network.transport("client"), Address("memory", f"peer{peer}", 2181))()
        splitter, frames = FrameSplitter(1 << 20), list[bytes]()
        await stream.send(frame(ConnectRequest(0, 0, 10_000, 0, bytes(16)).encode()))
        while not frames:
            frames += splitter.feed(await stream.receive())
        before = ensemble.peers[leader].database.last_zxid
        await stream.send(frame(REQUEST_HEADER.pack(7, op) + PathVersionRequest("/", -1).encode()))
        while len(frames) < 2:
            frames += splitter.feed(await stream.receive())
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        (_, answer) = frames
        assert answer == (7).to_bytes(4) + b"\xff" * 8 + int(Code.UNIMPLEMENTED).to_bytes(4, signed=True)
        assert ensemble.peers[leader].database.last_zxid == before
        await stream.aclose()
