"""Our own client proves who it is, by SASL and by certificate, to a real server and again to the next one."""

from pathlib import Path

import anyio
import pytest
import trio
from anyio.abc import ByteStream

from tests.auth.certificates import SERVER_NAME, Authority, subject
from tests.auth.kit import serving
from tests.auth.test_tls import serving as serving_tls, settings
from trioquorum.client import State, connect, connect_tcp
from trioquorum.client.core import Core, StateChanged
from trioquorum.config_security import AuthSettings
from trioquorum.errors import Code, ConnectFailed, RequestFailed
from trioquorum.wire.client import frame, reply
from trioquorum.wire.digest_md5 import DigestClient, DigestServer
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl, ConnectResponse, SaslToken, WhoAmIResponse

AUTH = AuthSettings(sasl_users={"bob": "secret"}, required_schemes=frozenset(("sasl",)))


async def test_sasl() -> None:
    async with serving(AUTH) as server:
        states: list[State] = []
        async with connect_tcp(f"127.0.0.1:{server.port}", sasl=("bob", "secret"), on_state=states.append) as client:
            who = await client.call(Op.WHO_AM_I, b"", WhoAmIResponse.decode_from)
            assert [(each.scheme, each.user) for each in who.clients or []] == [("ip", "127.0.0.1"), ("sasl", "bob")]
            await client.create("/mine", b"1", acl=[Acl(31, "auth", "")])
            assert (await client.get("/mine"))[0] == b"1"
        assert states == [State.CONNECTED, State.CLOSED]


async def test_sasl_again_after_a_reconnect() -> None:
    async with serving(AUTH) as server:
        streams: list[ByteStream] = []

        async def dial() -> ByteStream:
            streams.append(await anyio.connect_tcp("127.0.0.1", server.port))
            return streams[-1]

        async with connect(dial, sasl=("bob", "secret")) as client:
            session = client.session
            await client.create("/mine", b"1", acl=[Acl(31, "auth", "")])
            await streams[0].aclose()
            with trio.fail_after(10):
                while len(streams) < 2 or client.state is not State.CONNECTED:
                    await trio.sleep(0.01)
            assert client.session == session
            assert (await client.get("/mine"))[0] == b"1"


@pytest.mark.parametrize(("sasl", "auth"), [(("bob", "wrong"), AUTH), (("bob", "secret"), AuthSettings())])
async def test_sasl_that_fails(sasl: tuple[str, str], auth: AuthSettings) -> None:
    """By a wrong password, or because the server has none to compare with."""
    async with serving(auth) as server:
        states: list[State] = []
        with pytest.raises(RequestFailed) as failed:
            async with connect_tcp(f"127.0.0.1:{server.port}", sasl=sasl, on_state=states.append):
                raise AssertionError("it has a session")
        assert failed.value.code is Code.AUTHFAILED
        assert states == [State.AUTH_FAILED]


def test_a_server_that_does_not_know_the_password() -> None:
    core = Core(10_000, login=lambda: DigestClient("bob", "secret", "c"))
    impostor = DigestServer({"bob": "guess"}, "n")
    core.hello()
    assert list(core.feed(frame(ConnectResponse(0, 10_000, 7, bytes(16)).encode() + b"\0"))) == []
    assert list(core.feed(reply(1, 0, 0, SaslToken(impostor.step(b"")).encode()))) == []
    assert not core.state.connected
    false = SaslToken(b"rspauth=00000000000000000000000000000000").encode()
    assert list(core.feed(reply(2, 0, 0, false))) == [StateChanged(State.AUTH_FAILED)]


async def test_tls(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    certificate = ca.issue("bob.pem", common_name="bob")
    async with serving_tls(settings(ca)) as server:
        hosts = f"127.0.0.1:{server.ports['tls']}"
        async with connect_tcp(hosts, tls=ca.client(certificate)) as client:
            who = await client.call(Op.WHO_AM_I, b"", WhoAmIResponse.decode_from)
            assert [each.user for each in who.clients or [] if each.scheme == "x509"] == [subject(certificate)]
            data = bytes(500_000)
            await client.create("/large", data)
            assert (await client.get("/large"))[0] == data


async def test_a_server_with_another_name(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    tls = settings(ca, client_auth="none")
    ca.issue("server.pem", SERVER_NAME)
    async with serving_tls(tls) as server:
        hosts = f"127.0.0.1:{server.ports['tls']}"
        with pytest.raises(ConnectFailed, match="certificate is not valid for"):
            async with connect_tcp(hosts, tls=ca.client(), connect_timeout_ms=500):
                raise AssertionError("it trusts the server")
