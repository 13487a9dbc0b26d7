"""The audit log: who changed what, in ZooKeeper's form, on the server that holds the connection."""

from pathlib import Path
from random import Random

import trio

from tests.hostile.kit import OPEN_ACL, Server, buffer, create, get_data, request, text
from trioquorum.config import ServerConfig
from trioquorum.events import Event, Events
from trioquorum.peer.run import Surroundings, serve
from trioquorum.pipeline.audit import Audited
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.transport import Address, Transports

NO_VERSION = b"\xff" * 4
END_OF_MULTI = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff"


def part(op: int, body: bytes) -> bytes:
    return op.to_bytes(4) + b"\0" + NO_VERSION + body


def config(*, audited: bool) -> ServerConfig:
    return ServerConfig(
        my_id=0,
        peers=(),
        client_addresses=(Address("tcp", "127.0.0.1"),),
        data_dir=Path("unused"),
        data_log_dir=Path("unused"),
        audit_enabled=audited,
    )


async def lines_of(*, audited: bool) -> list[str]:
    """The audit log of a server that one client uses and leaves; the session and the user of the server masked."""
    seen: list[Event] = []
    disk = MemoryDisk()
    around = Surroundings(transports=Transports(), disks=(disk, disk), rng=Random(0))
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(serve, config(audited=audited), Events(seen.append), around)
        server = Server([addresses[0].port], seen)
        client = await server.client()
        no_flags = OPEN_ACL + bytes(4)
        for frame in (
            request(-4, 100, bytes(4) + text("digest") + buffer(b"me:secret")),
            create(1, "/a"),
            create(2, "/a"),
            create(3, "/e")[:-4] + b"\0\0\0\1",
            create(4, "/s")[:-4] + b"\0\0\0\2",
            request(5, 5, text("/a") + buffer(b"new") + NO_VERSION),
            get_data(6, "/a"),
            request(7, 7, text("/a") + OPEN_ACL + NO_VERSION),
            request(
                8, 14, part(1, text("/m") + buffer(b"") + no_flags) + part(2, text("/a") + NO_VERSION) + END_OF_MULTI
            ),
            request(9, 14, part(2, text("/m") + NO_VERSION) + part(2, text("/none") + NO_VERSION) + END_OF_MULTI),
            request(10, 2, text("/none") + NO_VERSION),
            request(11, 1, b"\0"),
            request(12, -11),
        ):
            await client.send(frame)
            assert await client.reply() is not None
        server.close()
        nursery.cancel_scope.cancel()
    found = [event.line for event in seen if isinstance(event, Audited)]
    own = found[0].split("\t")[0] if found else ""
    session = f"session={client.session:#x}"
    return [line.replace(own, "user=SERVER").replace(session, "session=S") for line in found]


async def test_every_change_is_told_and_no_read() -> None:
    who = "session=S\tuser=127.0.0.1,me\tip=127.0.0.1\toperation="
    assert await lines_of(audited=True) == [
        "user=SERVER\toperation=serverStart\tresult=success",
        f"{who}create\tznode=/a\tznode_type=persistent\tresult=success",
        f"{who}create\tznode=/a\tznode_type=persistent\tresult=failure",
        f"{who}create\tznode=/e\tznode_type=ephemeral\tresult=success",
        f"{who}create\tznode=/s0000000002\tznode_type=persistent_sequential\tresult=success",
        f"{who}setData\tznode=/a\tresult=success",
        f"{who}setAcl\tznode=/a\tacl=world:anyone:cdrwa\tresult=success",
        f"{who}create\tznode=/m\tznode_type=persistent\tresult=success",
        f"{who}delete\tznode=/a\tresult=success",
        f"{who}multiOperation\tresult=failure",
        f"{who}delete\tznode=/none\tresult=failure",
        f"{who}create\tresult=failure",
        "session=S\tuser=SERVER\toperation=ephemeralZNodeDeletionOnSessionCloseOrExpire\tznode=/e\tresult=success",
        "user=SERVER\toperation=serverStop\tresult=invoked",
    ]


async def test_nothing_is_told_unless_asked_for() -> None:
    assert await lines_of(audited=False) == []
