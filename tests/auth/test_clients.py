"""Who clients are: schemes, SASL, what a server demands; asked of a real server over sockets, frame by frame."""

import pytest

from tests.auth.kit import (
    AUTHFAILED,
    INVALIDACL,
    NOAUTH,
    OK,
    PROVE_FIRST,
    addauth,
    ask,
    create_with,
    login,
    read_of,
    serving,
    who,
)
from tests.hostile.kit import AsyncRaw, Server, exists
from trioquorum.config_security import AuthSettings
from trioquorum.tree.acl import digest_id
from trioquorum.wire.ops import Op
from trioquorum.wire.records import SaslToken

HERE = ("ip", "127.0.0.1")
USERS = {"bob": "secret", "al": 'pass,word"\\', "super": "admin"}
SASL = AuthSettings(sasl_users=USERS)
ALL = 31


async def fails(server: Server, client: AsyncRaw, code: int | None) -> None:
    """The connection ended, and another client is served."""
    assert await client.rest() == b""
    if code != PROVE_FIRST:
        assert await who(await server.client()) == [HERE]


# Schemes


async def test_addauth() -> None:
    async with serving(super_digest=digest_id(b"root:pw")) as server:
        client = await server.client()
        assert await who(client) == [HERE]
        assert await addauth(client, "ip", b"10.0.0.1") == OK  # nothing is gained by it
        assert await addauth(client, "ensemble", b"whatever") == OK
        assert await addauth(client, "digest", b"bob:secret") == OK
        assert await addauth(client, "digest", b"bob:secret") == OK
        assert await who(client) == [HERE, ("digest", "bob")]
        assert await addauth(client, "digest", b"root:pw") == OK
        assert await who(client) == [HERE, ("digest", "bob"), ("super", ""), ("digest", "root")]


@pytest.mark.parametrize("scheme", ["world", "sasl", "x509", "super", "auth", "nosuch", ""])
async def test_a_scheme_that_proves_nothing(scheme: str) -> None:
    async with serving(SASL) as server:
        client = await server.client()
        assert await addauth(client, scheme, b"bob") == AUTHFAILED
        await fails(server, client, AUTHFAILED)


async def test_a_client_of_another_ensemble_is_sent_away_without_a_word() -> None:
    """An error would end its session; so it tries the next server."""
    async with serving(AuthSettings(ensemble_names=frozenset(("blue", "green")))) as server:
        client = await server.client()
        assert await addauth(client, "ensemble", b"green") == OK
        assert await addauth(client, "ensemble", b"") == OK
        assert await addauth(client, "ensemble", b"red") is None
        await fails(server, client, None)


async def test_another_digest_algorithm() -> None:
    settings = AuthSettings(digest_algorithm="SHA-256")
    async with serving(settings, super_digest=digest_id(b"root:pw", "sha256")) as server:
        client = await server.client()
        assert await addauth(client, "digest", b"root:pw") == OK
        assert ("super", "") in await who(client)
        assert await ask(client, Op.CREATE, create_with("/a", (ALL, "auth", ""))) is not None
        answer = await ask(client, Op.GET_ACL, read_of("/a")[:-1])
        assert answer is not None
        assert digest_id(b"root:pw", "sha256").encode() in answer[1]


async def test_without_digest() -> None:
    async with serving(AuthSettings(digest_enabled=False)) as server:
        client = await server.client()
        answer = await ask(client, Op.CREATE, create_with("/a", (ALL, "digest", "bob:x")))
        assert answer is not None
        assert answer[0] == INVALIDACL
        assert await addauth(client, "digest", b"bob:secret") == AUTHFAILED


async def test_acls_that_are_not_looked_at() -> None:
    async with serving(AuthSettings(skip_acl=True)) as server:
        first, second = await server.client(), await server.client()
        await addauth(first, "digest", b"bob:secret")
        assert await ask(first, Op.CREATE, create_with("/a", (ALL, "auth", ""))) is not None
        answer = await ask(second, Op.GET_DATA, read_of("/a"))
        assert answer is not None
        assert answer[0] == OK


# SASL


@pytest.mark.parametrize("user", USERS)
async def test_sasl(user: str) -> None:
    async with serving(SASL) as server:
        client = await server.client()
        code, _ = await login(client, user, USERS[user])
        assert code == OK
        assert await who(client) == [HERE, ("sasl", user)]


@pytest.mark.parametrize(("user", "password"), [("bob", "wrong"), ("bob", ""), ("nobody", "secret"), ("", "")])
async def test_who_fails_sasl_is_told_and_cut(user: str, password: str) -> None:
    async with serving(SASL) as server:
        client = await server.client()
        assert await login(client, user, password) == (AUTHFAILED, SaslToken(None).encode())
        await fails(server, client, AUTHFAILED)


async def test_who_fails_a_demanded_sasl_is_told_so() -> None:
    async with serving(AuthSettings(sasl_users=USERS, required_schemes=frozenset(("sasl",)))) as server:
        client = await server.client()
        assert await login(client, "bob", "wrong") == (PROVE_FIRST, SaslToken(None).encode())
        assert await client.rest() == b""


async def test_who_fails_may_go_on_as_nobody() -> None:
    async with serving(AuthSettings(sasl_users=USERS, sasl_failures_allowed=True)) as server:
        client = await server.client()
        assert await login(client, "bob", "wrong") == (OK, SaslToken(None).encode())
        assert await who(client) == [HERE]


async def test_a_server_without_users_proves_nothing() -> None:
    async with serving() as server:
        client = await server.client()
        assert await login(client, "bob", "secret") == (OK, SaslToken(None).encode())
        assert await who(client) == [HERE]


async def test_a_second_exchange_is_refused() -> None:
    async with serving(SASL) as server:
        client = await server.client()
        assert (await login(client, "bob", "secret"))[0] == OK
        assert await ask(client, Op.SASL, SaslToken(b"").encode()) == (AUTHFAILED, SaslToken(None).encode())
        await fails(server, client, AUTHFAILED)


async def test_acls_of_sasl_users() -> None:
    settings = AuthSettings(sasl_users=USERS, sasl_super_users=frozenset(("al",)))
    async with serving(settings) as server:
        bob, al, chief, other = [await server.client() for _ in range(4)]
        for client, user in ((bob, "bob"), (al, "al"), (chief, "super")):
            await login(client, user, USERS[user])
        assert (await ask(bob, Op.CREATE, create_with("/auth", (ALL, "auth", ""))))[0] == OK  # type: ignore[index]
        assert (await ask(other, Op.CREATE, create_with("/bob", (ALL, "sasl", "bob"))))[0] == OK  # type: ignore[index]
        for path in ("/auth", "/bob"):
            codes = [await ask(client, Op.GET_DATA, read_of(path)) for client in (bob, al, chief, other)]
            assert [answer[0] for answer in codes if answer] == [OK, OK, OK, NOAUTH]
        assert await who(al) == [HERE, ("sasl", "al"), ("super", "")]
        bad = await ask(bob, Op.CREATE, create_with("/bad", (ALL, "sasl", "a/b@c@d")))
        assert bad is not None
        assert bad[0] == INVALIDACL


async def test_an_acl_for_all_sasl_users() -> None:
    """What everybody is granted is not what ``auth`` stands for."""
    settings = AuthSettings(sasl_users=USERS | {"all": "pw"}, sasl_any_user="all")
    async with serving(settings) as server:
        bob, al, everybody, other = [await server.client() for _ in range(4)]
        for client, user, password in ((bob, "bob", "secret"), (al, "al", USERS["al"]), (everybody, "all", "pw")):
            await login(client, user, password)
        await ask(other, Op.CREATE, create_with("/all", (ALL, "sasl", "all")))
        await ask(bob, Op.CREATE, create_with("/mine", (ALL, "auth", "")))
        assert (await ask(everybody, Op.CREATE, create_with("/theirs", (ALL, "auth", ""))))[0] == OK  # type: ignore[index]
        shared = [await ask(client, Op.GET_DATA, read_of("/all")) for client in (bob, al, everybody, other)]
        assert [answer[0] for answer in shared if answer] == [OK, OK, OK, NOAUTH]
        mine = [await ask(client, Op.GET_DATA, read_of("/mine")) for client in (bob, al, everybody, other)]
        assert [answer[0] for answer in mine if answer] == [OK, NOAUTH, NOAUTH, NOAUTH]


async def test_acls_of_sasl_need_a_server_that_offers_it() -> None:
    async with serving() as server:
        answer = await ask(await server.client(), Op.CREATE, create_with("/a", (ALL, "sasl", "bob")))
        assert answer is not None
        assert answer[0] == INVALIDACL


# What a server demands


@pytest.mark.parametrize("op", [Op.PING, Op.EXISTS, Op.CREATE, Op.CLOSE_SESSION, Op.WHO_AM_I, Op.SYNC, 99])
async def test_nobody_is_answered_nothing(op: int) -> None:
    async with serving(AuthSettings(required_schemes=frozenset(("digest",)))) as server:
        client = await server.client()
        await client.send(exists(1)[:4] + (1).to_bytes(4) + op.to_bytes(4, "big", signed=True) + exists(1)[12:])
        assert await client.reply() == (1, PROVE_FIRST)
        await fails(server, client, PROVE_FIRST)


async def test_who_proves_what_is_demanded_is_served() -> None:
    settings = AuthSettings(required_schemes=frozenset(("digest", "sasl")), sasl_users=USERS)
    async with serving(settings) as server:
        first, second, third = [await server.client() for _ in range(3)]
        assert await addauth(first, "digest", b"bob:secret") == OK
        assert await who(first) == [HERE, ("digest", "bob")]
        assert (await login(second, "bob", "secret"))[0] == OK
        assert await who(second) == [HERE, ("sasl", "bob")]
        assert await addauth(third, "ip", b"") == OK
        answer = await ask(third, Op.WHO_AM_I)
        assert answer is not None
        assert answer[0] == PROVE_FIRST
