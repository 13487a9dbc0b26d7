"""A standalone server in this process that asks its clients who they are, and clients that answer frame by frame."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.hostile.kit import AsyncRaw, Server, buffer, request, start, text
from trioquorum.config import ServerConfig
from trioquorum.config_security import AuthSettings
from trioquorum.transport import Address, Transports
from trioquorum.wire.digest_md5 import DigestClient
from trioquorum.wire.ops import Op
from trioquorum.wire.records import SaslToken, WhoAmIResponse

HEADER = struct.Struct(">iqi")

OK = 0
NOAUTH = -102
INVALIDACL = -114
AUTHFAILED = -115
PROVE_FIRST = -124

Reply = tuple[int, bytes]
"""Result code and body."""


@asynccontextmanager
async def serving(auth: AuthSettings | None = None, super_digest: str = "") -> AsyncIterator[Server]:
    """A server with its data in memory; it must not have failed at the end."""
    config = ServerConfig(
        my_id=0,
        peers=(),
        client_addresses=(Address("tcp", "127.0.0.1"),),
        data_dir=Path("unused"),
        data_log_dir=Path("unused"),
        auth=auth or AuthSettings(),
        super_digest=super_digest,
    )
    async with trio.open_nursery() as nursery:
        server = await start(nursery, config, Transports())
        try:
            yield server
        finally:
            server.close()
        nursery.cancel_scope.cancel()


async def ask(client: AsyncRaw, op: int, body: bytes = b"", xid: int = 7) -> Reply | None:
    """One request's reply; None if the connection ended instead."""
    await client.send(request(xid, op, body))
    payload = await client.frame()
    if payload is None:
        return None
    echoed, _, err = HEADER.unpack_from(payload)
    assert echoed == (-2 if op == Op.PING else xid)
    return err, payload[HEADER.size :]


async def addauth(client: AsyncRaw, scheme: str, proof: bytes) -> int | None:
    """The result code of an addauth; None if the connection ended instead."""
    answer = await ask(client, Op.AUTH, struct.pack(">i", 0) + text(scheme) + buffer(proof), xid=-4)
    return None if answer is None else answer[0]


async def login(client: AsyncRaw, user: str, password: str) -> Reply:
    """SASL, up to a refusal or to the end, where the server has proved itself too: the last result code and body."""
    mine = DigestClient(user, password, "f00")
    token = mine.step(None)
    while True:
        answer = await ask(client, Op.SASL, SaslToken(token).encode())
        assert answer is not None, "the server ended the exchange without an answer"
        challenge = SaslToken.decode(answer[1]).token
        if answer[0] != OK or challenge is None:
            return answer
        token = mine.step(challenge)
        if mine.done:
            return answer


async def who(client: AsyncRaw) -> list[tuple[str | None, str | None]]:
    """Scheme and user of everybody the client is."""
    answer = await ask(client, Op.WHO_AM_I)
    assert answer is not None
    assert answer[0] == OK
    return [(each.scheme, each.user) for each in WhoAmIResponse.decode(answer[1]).clients or []]


def create_with(path: str, *entries: tuple[int, str, str]) -> bytes:
    """The body of a create with this ACL: permissions, scheme, id."""
    acl = b"".join(struct.pack(">i", perms) + text(scheme) + text(who) for perms, scheme, who in entries)
    return text(path) + buffer(b"secret") + struct.pack(">i", len(entries)) + acl + struct.pack(">i", 0)


def read_of(path: str) -> bytes:
    """The body of a getData without a watch."""
    return text(path) + b"\0"
