"""``python -m tests.fuzz.live --connections 100000``: hostile byte streams against the port of a real server.

Every connection must end, what comes back must be frames with result codes of the protocol, the server must answer and
write afterwards as before, and its memory must not follow the number of connections.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Annotated, Final

import trio
import typer
from kazoo.client import KazooClient

from tests.fuzz import recorded
from tests.fuzz.mutating import mutated
from tests.hostile.kit import rss_bytes
from tests.kit.processes import free_ports, mode, wait_until
from trioquorum.errors import Code
from trioquorum.wire.framing import FrameSplitter

INPUT_BYTES_MAX: Final = 2048
AT_ONCE: Final = 50
ENDING_S: Final = 30.0
GROWTH_BYTES_MAX: Final = 64 << 20
RECEIVE_BYTES: Final = 64 << 10
_ERR_AT: Final = 12

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def check_answer(answer: bytes) -> None:
    """Text of a four-letter word, or a handshake's answer and replies with codes that there are."""
    if not answer or answer[:1] != b"\0":
        return
    payloads = FrameSplitter(1 << 30).feed(answer)
    codes = {int.from_bytes(payload[_ERR_AT : _ERR_AT + 4], "big", signed=True) for payload in payloads[1:]}
    assert codes <= set(Code), f"{codes} are not all result codes"


async def talk(port: int, data: bytes) -> bytes:
    """Say ``data`` and leave; what was answered. The connection must end."""
    answer = b""
    with trio.fail_after(ENDING_S):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            try:
                await stream.send_all(data)
                await stream.send_eof()
                while piece := await stream.receive_some(RECEIVE_BYTES):
                    answer += bytes(piece)
            except trio.BrokenResourceError:
                await trio.lowlevel.checkpoint()  # The server has cut it: what came before counts.
    return answer


async def attack(port: int, connections: int, seed: int) -> None:
    """So many connections, ``AT_ONCE`` at a time."""
    conversations = recorded.conversations()
    numbers = iter(range(connections))

    async def caller() -> None:
        for number in numbers:
            chance = Random(f"{seed}/{number}")
            data = b"".join(mutated(chance.choice(conversations), conversations, chance))[:INPUT_BYTES_MAX]
            try:
                check_answer(await talk(port, data))
            except (AssertionError, trio.TooSlowError) as error:
                raise AssertionError(f"connection {number} of seed {seed}: {data.hex()}") from error
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(caller)


def run(folder: Path, connections: int, seed: int) -> tuple[int, int]:
    """Attack a server of our own; its memory before and after, bytes.

    Raises:
        AssertionError: something that must hold did not.
    """
    (port,) = free_ports(1)
    config = folder / "zoo.cfg"
    config.write_text(f"dataDir={folder / 'data'}\nclientPort={port}\nmaxClientCnxns=0\ntickTime=2000\n")
    command = [sys.executable, "-m", "trioquorum", "serve", "--config", str(config), "--log-level", "error"]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        wait_until("it serves", lambda: mode(port) == "standalone")
        trio.run(attack, port, min(connections, 2000), seed + 1)  # Whatever grows once has grown.
        before = rss_bytes(server.pid)
        trio.run(attack, port, connections, seed)
        after = rss_bytes(server.pid)
        assert server.poll() is None, f"it ended with {server.returncode}"
        assert after - before < GROWTH_BYTES_MAX, f"{before} bytes before, {after} after"
        client = KazooClient(hosts=f"127.0.0.1:{port}")
        client.start(timeout=20)
        client.create("/afterwards", b"alive")
        assert client.get("/afterwards")[0] == b"alive"
        client.stop()
        client.close()
    finally:
        server.kill()
        server.wait()
    return before, after


@app.command()
def main(
    connections: Annotated[int, typer.Option(min=1, help="How many.")] = 100_000,
    seed: Annotated[int, typer.Option(help="What they say is drawn from it.")] = 1,
) -> None:
    """Attack a server that is started for it."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = run(Path(folder), connections, seed)
    print(f"{connections} connections, seed {seed}: VmRSS {before >> 20} MiB before, {after >> 20} MiB after")


if __name__ == "__main__":
    app()
