"""Containers and TTL nodes of real processes go by themselves, under the names that ZooKeeper's file has for it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.kit.processes import free_ports, mode, wait_until
from trioquorum.client import connect_tcp
from trioquorum.client.transaction import OPEN_ACL
from trioquorum.wire.ops import CreateFlag, Op
from trioquorum.wire.records import CreateRequest, CreateTtlRequest, PathStatResponse

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ZOO_CFG = """\
tickTime=500
dataDir={folder}
clientPort={port}
clientPortAddress=127.0.0.1
extendedTypesEnabled=true
znode.container.checkIntervalMs=100
znode.container.maxNeverUsedIntervalMs=400
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server on its own; its address."""
    (port,) = free_ports(1)
    config = tmp_path / "zoo.cfg"
    config.write_text(ZOO_CFG.format(folder=tmp_path, port=port))
    command = [sys.executable, "-m", "trioquorum", "serve", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until("the server serves", lambda: mode(port), 30)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


async def test_a_server_cleans_up(server: str) -> None:
    open_acl = list(OPEN_ACL)
    bodies: dict[str, tuple[Op, bytes]] = {
        "/ttl": (Op.CREATE_TTL, CreateTtlRequest("/ttl", b"", open_acl, CreateFlag.PERSISTENT_WITH_TTL, 300).encode()),
        "/used": (Op.CREATE_CONTAINER, CreateRequest("/used", b"", open_acl, CreateFlag.CONTAINER).encode()),
        "/unused": (Op.CREATE_CONTAINER, CreateRequest("/unused", b"", open_acl, CreateFlag.CONTAINER).encode()),
    }
    async with connect_tcp(server) as client:
        gone: dict[str, trio.Event] = {path: trio.Event() for path in bodies}
        for op, body in bodies.values():
            await client.call(op, body, PathStatResponse.decode_from)
        await client.create("/used/child")
        for path, event in gone.items():
            await client.exists(path, watch=lambda _, event=event: event.set())  # type: ignore[misc]
        await gone["/ttl"].wait()
        await gone["/unused"].wait()
        assert await client.exists("/used")
        await client.delete("/used/child")
        await gone["/used"].wait()
