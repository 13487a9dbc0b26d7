"""Clients over TLS, against a server's own sockets: who is let in, who they are, and what certificates do."""

import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.auth.certificates import SERVER_NAME, Authority, encrypted, subject
from tests.auth.kit import INVALIDACL, NOAUTH, OK, PROVE_FIRST, addauth, ask, create_with, read_of, who
from tests.hostile.kit import CLOSE, PING, AsyncRaw, Server, buffer, connect_frame, start
from trioquorum.config import ServerConfig
from trioquorum.config_security import AuthSettings, TlsSettings
from trioquorum.errors import ConfigError
from trioquorum.events import ClientRefused, ClientsListening
from trioquorum.limits import Limits
from trioquorum.tls import CertificatesKept, CertificatesReloaded, server_context
from trioquorum.transport import Address, Transports
from trioquorum.wire.ops import Op

HERE = ("ip", "127.0.0.1")
ALL = 31


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings(ca: Authority, **more: Any) -> TlsSettings:
    return TlsSettings(key_file=str(ca.issue("server.pem")), trust_file=str(ca.file), **more)


@asynccontextmanager
async def serving(
    tls: TlsSettings, auth: AuthSettings | None = None, schemes: tuple[str, ...] = ("tls",), **limits: int
) -> AsyncIterator["TlsServer"]:
    """A server with its data in memory at a port of each scheme; it must not have failed at the end."""
    config = ServerConfig(
        my_id=0,
        peers=(),
        client_addresses=tuple(Address(scheme, "127.0.0.1") for scheme in schemes),
        data_dir=Path("unused"),
        data_log_dir=Path("unused"),
        auth=auth or AuthSettings(),
        tls=tls,
        limits=Limits(**limits),
    )
    async with trio.open_nursery() as nursery:
        server = TlsServer(await start(nursery, config, Transports()))
        try:
            yield server
        finally:
            server.close()
        nursery.cancel_scope.cancel()


class TlsServer:
    """A server whose clients speak TLS."""

    def __init__(self, server: Server) -> None:
        self.seen = server.seen
        addresses = [Address.parse(event.address) for event in self.seen if isinstance(event, ClientsListening)]
        self.ports = {address.scheme: address.port for address in addresses}
        self._streams: list[trio.SSLStream[trio.SocketStream]] = []
        self._plain: list[trio.SocketStream] = []

    def close(self) -> None:
        for stream in self._streams:
            stream.transport_stream.socket.close()
        for plain in self._plain:
            plain.socket.close()

    def reasons(self) -> list[str]:
        """Why clients were refused, oldest first."""
        return [event.reason for event in self.seen if isinstance(event, ClientRefused)]

    async def silent(self, scheme: str = "tls") -> trio.SocketStream:
        """A connection that has said nothing."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.ports[scheme])
        self._plain.append(stream)
        return stream

    async def plain(self, scheme: str = "tcp") -> AsyncRaw:
        """A plain client with a session."""
        client = AsyncRaw(await self.silent(scheme))
        await client.handshake()
        return client

    async def stranger(self, context: ssl.SSLContext, scheme: str = "tls") -> AsyncRaw:
        """A TLS connection without a session."""
        transport = await trio.open_tcp_stream("127.0.0.1", self.ports[scheme])
        stream = trio.SSLStream(transport, context, server_hostname=SERVER_NAME)
        self._streams.append(stream)
        await stream.do_handshake()
        return AsyncRaw(stream)  # type: ignore[arg-type]

    async def client(self, context: ssl.SSLContext, scheme: str = "tls") -> AsyncRaw:
        """A TLS client with a session."""
        client = await self.stranger(context, scheme)
        await client.handshake()
        return client

    async def is_refused(self, context: ssl.SSLContext) -> str:
        """No client with this context is let in; why. In TLS 1.3 it learns so only behind its own handshake."""
        before = len(self.reasons())
        try:
            client = await self.stranger(context)
            await client.send(connect_frame())
            assert await client.rest() == b""
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()
        with trio.fail_after(10):
            while len(self.reasons()) == before:
                await trio.sleep(0.01)
        [reason] = self.reasons()[before:]
        return reason


# Certificates


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_subject_is_who_a_client_is(ca: Authority, version: ssl.TLSVersion) -> None:
    certificate = ca.issue("bob.pem", "127.0.0.1", common_name='bob, the "first"')
    context = ca.client(certificate)
    context.maximum_version = version
    async with serving(settings(ca)) as server:
        bob, other = await server.client(context), await server.client(ca.client(ca.issue("al.pem", common_name="al")))
        [_, (scheme, dn)] = await who(bob)
        assert scheme == "x509"
        assert dn == subject(certificate)
        assert dn is not None
        assert await addauth(bob, "x509", b"") == OK
        for path, entry in (("/auth", (ALL, "auth", "")), ("/named", (ALL, "x509", dn))):
            made = await ask(bob, Op.CREATE, create_with(path, entry))
            assert made is not None
            assert made[0] == OK
            answers = [await ask(client, Op.GET_DATA, read_of(path)) for client in (bob, other)]
            assert [answer[0] for answer in answers if answer] == [OK, NOAUTH]
        bad = await ask(bob, Op.CREATE, create_with("/bad", (ALL, "x509", "bob")))
        assert bad is not None
        assert bad[0] == INVALIDACL


async def test_a_subject_may_be_the_super_user(ca: Authority) -> None:
    certificate = ca.issue("chief.pem", common_name="chief")
    async with serving(settings(ca), AuthSettings(x509_super_user=subject(certificate))) as server:
        assert ("super", "") in await who(await server.client(ca.client(certificate)))
        assert ("super", "") not in await who(await server.client(ca.client(ca.issue("other.pem"))))


async def test_certificates_are_needed(ca: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    async with serving(settings(ca)) as server:
        assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in await server.is_refused(ca.client())
        foreign = await server.is_refused(ca.client(stranger.issue("foreign.pem")))
        assert "CERTIFICATE_VERIFY_FAILED" in foreign
        await (await server.client(ca.client(ca.issue("bob.pem")))).assert_alive()


async def test_certificates_are_wanted(ca: Authority, tmp_path: Path) -> None:
    """Without one a client is let in, with one that nobody vouches for it is not."""
    stranger = Authority(tmp_path, "stranger")
    auth = AuthSettings(required_schemes=frozenset(("x509", "digest")))
    async with serving(settings(ca, client_auth="want"), auth) as server:
        nobody, bob = await server.client(ca.client()), await server.client(ca.client(ca.issue("bob.pem")))
        assert [scheme for scheme, _ in await who(bob)] == ["ip", "x509"]
        assert "CERTIFICATE_VERIFY_FAILED" in await server.is_refused(ca.client(stranger.issue("foreign.pem")))
        answer = await ask(nobody, Op.WHO_AM_I)
        assert answer is not None
        assert answer[0] == PROVE_FIRST


async def test_certificates_are_not_asked_for(ca: Authority) -> None:
    async with serving(TlsSettings(key_file=str(ca.issue("server.pem")), client_auth="none")) as server:
        client = await server.client(ca.client(ca.issue("bob.pem")))
        assert await who(client) == [HERE]
        bad = await ask(client, Op.CREATE, create_with("/a", (ALL, "x509", "CN=bob")))
        assert bad is not None
        assert bad[0] == INVALIDACL


async def test_a_certificate_may_have_to_name_the_address(ca: Authority) -> None:
    async with serving(settings(ca, client_hostname_verification=True)) as server:
        await (await server.client(ca.client(ca.issue("here.pem", "10.0.0.1", "127.0.0.1")))).assert_alive()
        reason = "the client's certificate does not name its address"
        assert await server.is_refused(ca.client(ca.issue("elsewhere.pem", "10.0.0.1"))) == reason
        assert await server.is_refused(ca.client(ca.issue("named.pem", "localhost"))) == reason


async def test_revoked_certificates(ca: Authority, tmp_path: Path) -> None:
    good, bad = ca.issue("good.pem"), ca.issue("bad.pem")
    tls = settings(ca, crl=True)
    with pytest.raises(ConfigError, match="holds no revocation list"):
        server_context(tls)
    vouchers = ca.file.read_bytes()
    ca.file.write_bytes(vouchers + ca.revocations(bad))
    async with serving(tls) as server:
        await (await server.client(ca.client(good))).assert_alive()
        assert "CERTIFICATE_VERIFY_FAILED" in await server.is_refused(ca.client(bad))
        ca.file.write_bytes(vouchers + ca.revocations(bad, good))
        assert "CERTIFICATE_VERIFY_FAILED" in await server.is_refused(ca.client(good))


async def test_files_that_change_are_read_again(ca: Authority, tmp_path: Path) -> None:
    """Who is connected stays; a file that is no use is told of once, and the one before stays in use."""
    tls = settings(ca, client_auth="none")
    other = Authority(tmp_path, "other")
    renewed = other.issue("renewed.pem").read_bytes()
    async with serving(tls) as server:
        first = await server.client(ca.client())
        Path(tls.key_file).write_text("-----BEGIN half a file")
        for _ in range(2):
            await (await server.client(ca.client())).assert_alive()
        [kept] = [event for event in server.seen if isinstance(event, CertificatesKept)]
        assert kept.reason.startswith(f"{tls.key_file}: cannot be used: ")
        Path(tls.key_file).write_bytes(renewed)
        await (await server.client(other.client())).assert_alive()
        assert sum(isinstance(event, CertificatesReloaded) for event in server.seen) == 1
        await first.assert_alive()


async def test_files_that_change_may_be_left_alone(ca: Authority, tmp_path: Path) -> None:
    tls = settings(ca, client_auth="none", reload=False)
    async with serving(tls) as server:
        Path(tls.key_file).unlink()
        await (await server.client(ca.client())).assert_alive()


# Ports


async def test_plain_clients_at_a_tls_port(ca: Authority) -> None:
    async with serving(settings(ca, client_auth="none")) as server:
        plain = AsyncRaw(await server.silent())
        await plain.send(connect_frame())
        assert b"\0\0\0\0" not in await plain.rest()  # a TLS alert at most, never an answer
        await (await server.client(ca.client())).assert_alive()


async def test_tls_clients_at_a_plain_port(ca: Authority) -> None:
    async with serving(settings(ca, client_auth="none"), schemes=("tcp", "tls")) as server:
        with pytest.raises(trio.BrokenResourceError):
            await server.stranger(ca.client(), "tcp")
        await (await server.plain()).assert_alive()
        await (await server.client(ca.client())).assert_alive()


async def test_one_port_for_both(ca: Authority) -> None:
    tls = settings(ca, client_auth="none", port_unification=True, detection_timeout_ms=50)
    async with serving(tls, schemes=("tcp",)) as server:
        plain, secret = await server.plain(), await server.client(ca.client(), "tcp")
        assert await who(plain) == await who(secret) == [HERE]
        silent = AsyncRaw(await server.silent("tcp"))
        await trio.sleep(0.2)  # longer than it takes to be taken for a plain one
        await silent.handshake()
        await silent.assert_alive()
        gone = await server.silent("tcp")
        await gone.send_eof()
        assert await AsyncRaw(gone).rest() == b""
        word = await server.stranger(ca.client(), "tcp")
        await word.send(b"ruok")
        assert await word.rest() == b"imok"
        figures = AsyncRaw(await server.silent("tcp"))
        await figures.send(b"mntr")
        assert b"zk_num_alive_connections\t4\n" in await figures.rest()


async def test_words_over_tls(ca: Authority) -> None:
    async with serving(settings(ca, client_auth="none"), schemes=("tcp", "tls")) as server:
        client = await server.client(ca.client())
        word = await server.stranger(ca.client())
        await word.send(b"conf")
        conf = (await word.rest()).decode()
        assert "secureClientPort=0\n" in conf
        word = await server.stranger(ca.client())
        await word.send(b"cons")
        assert f"sid={client.session:#x}" in (await word.rest()).decode()


async def test_a_goodbye_over_tls(ca: Authority) -> None:
    """The reply comes, then the end, said as TLS wants it."""
    async with serving(settings(ca, client_auth="none")) as server:
        client = await server.client(ca.client())
        await client.send(PING + CLOSE)
        assert await client.reply() == (-2, 0)
        assert await client.reply() == (1, 0)
        assert await client.stream.receive_some(1) == b""  # and no BrokenResourceError


async def test_large_answers_over_tls(ca: Authority) -> None:
    async with serving(settings(ca, client_auth="none")) as server:
        client = await server.client(ca.client())
        data = os.urandom(900_000)
        body = create_with("/a", (ALL, "world", "anyone")).replace(buffer(b"secret"), buffer(data))
        assert (await ask(client, Op.CREATE, body))[0] == OK  # type: ignore[index]
        for _ in range(20):
            answer = await ask(client, Op.GET_DATA, read_of("/a"))
            assert answer is not None
            assert answer[1][4 : 4 + len(data)] == data


# Bounds


async def test_handshakes_at_once_are_bounded(ca: Authority) -> None:
    async with serving(settings(ca, client_auth="none"), tls_handshakes_max=2) as server:
        silent = [await server.silent() for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert await AsyncRaw(await server.silent()).rest() == b""
        assert server.reasons() == ["too many handshakes at once"]
        for stream in silent:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        clients = [await server.client(ca.client()) for _ in range(3)]  # who is through does not count
        for client in clients:
            await client.assert_alive()


async def test_a_handshake_has_its_time(ca: Authority) -> None:
    async with serving(settings(ca, client_auth="none"), handshake_timeout_ms=100) as server:
        stream = await server.silent()
        await stream.send_all(b"\x16\x03\x01")
        assert await AsyncRaw(stream).rest() == b""
        assert server.reasons() == ["no TLS handshake in time"]


async def test_connections_are_counted_with_the_plain_ones(ca: Authority) -> None:
    limits = {"connections_per_ip_max": 2}
    async with serving(settings(ca, client_auth="none"), None, ("tcp", "tls"), **limits) as server:
        plain, secret = await server.plain(), await server.client(ca.client())
        assert await AsyncRaw(await server.silent()).rest() == b""
        assert server.reasons() == ["too many connections"]
        await secret.stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        failed = await server.silent()
        await failed.send_all(b"no handshake at all")
        await AsyncRaw(failed).rest()
        await trio.testing.wait_all_tasks_blocked(0.05)
        await (await server.client(ca.client())).assert_alive()
        await plain.assert_alive()


async def test_a_client_without_a_session_has_its_time(ca: Authority) -> None:
    async with serving(settings(ca, client_auth="none"), client_sessionless_ms=100) as server:
        assert await (await server.stranger(ca.client())).rest() == b""


async def test_garbage_inside_tls(ca: Authority) -> None:
    async with serving(settings(ca, client_auth="none")) as server:
        client = await server.stranger(ca.client())
        await client.send(b"\xff" * 100)
        assert await client.rest() == b""
        await (await server.client(ca.client())).assert_alive()


async def test_a_client_that_is_reset_in_its_handshake(ca: Authority) -> None:
    async with serving(settings(ca, client_auth="none")) as server:
        stream = await server.silent()
        await stream.send_all(b"\x16\x03\x01")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await stream.aclose()
        await (await server.client(ca.client())).assert_alive()


# Settings


@pytest.mark.parametrize(
    ("suites", "protocols", "spoken"),
    [
        ((), ("TLSv1.2", "TLSv1.3"), {"TLSv1.2", "TLSv1.3"}),
        ((), ("TLSv1.3",), {"TLSv1.3"}),
        (("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",), ("TLSv1.2", "TLSv1.3"), {"TLSv1.2"}),
        (
            ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"),
            ("TLSv1.2", "TLSv1.3"),
            {"TLSv1.3"},
        ),
    ],
)
async def test_protocols_and_suites(
    ca: Authority, suites: tuple[str, ...], protocols: tuple[str, ...], spoken: set[str]
) -> None:
    async with serving(
        settings(ca, client_auth="none", cipher_suites=suites, protocols=frozenset(protocols))
    ) as server:
        found = set()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ca.client()
            context.minimum_version = context.maximum_version = version
            try:
                client = await server.client(context)
            except trio.BrokenResourceError:
                continue
            name, protocol, _ = client.stream.cipher()  # type: ignore[attr-defined]
            found.add(client.stream.version())  # type: ignore[attr-defined]
            if protocol == "TLSv1.2" and suites:
                assert name == "ECDHE-ECDSA-AES128-GCM-SHA256"
        assert found == spoken


@pytest.mark.parametrize(
    ("suite", "name"),
    [
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", "DHE-RSA-AES256-SHA256"),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"),
        ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", "ECDHE-RSA-AES256-SHA384"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
    ],
)
def test_names_of_suites(ca: Authority, suite: str, name: str) -> None:
    context = server_context(settings(ca, cipher_suites=(suite,)))
    assert [each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"] == [name]
    assert context.maximum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cipher_suites": ("TLS_NO_SUCH",)}, "tls.cipher_suites: TLS_NO_SUCH is not offered"),
        (
            {"cipher_suites": ("TLS_RSA_WITH_RC4_128_MD5",)},
            "tls.cipher_suites: TLS_RSA_WITH_RC4_128_MD5 is ",
        ),
        ({"cipher_suites": ("TLS_AES_128_GCM_SHA256",)}, "tls.cipher_suites: name all of TLS_AES_128_GCM_SHA256, "),
        (
            {"cipher_suites": ("TLS_RSA_WITH_AES_128_GCM_SHA256",), "protocols": frozenset(("TLSv1.3",))},
            "tls.cipher_suites has none for any of tls.protocols",
        ),
        ({"key_file": "{dir}/absent.pem"}, "{dir}/absent.pem: cannot be read: No such file or directory"),
        ({"key_file": "{dir}/ca.pem"}, "{dir}/ca.pem: cannot be used: "),
        ({"key_file": "{dir}/server.secret.pem"}, "{dir}/server.secret.pem: cannot be used: "),
        ({"key_file": "{dir}/server.secret.pem", "key_password": "no"}, "{dir}/server.secret.pem: cannot be used: "),
        ({"key_file": "{dir}/a.p12"}, "{dir}/a.p12: is no PEM file; convert it: openssl pkcs12 -in {dir}/a.p12 -out "),
        ({"key_file": "{dir}/a.jks"}, "{dir}/a.jks: is no PEM file; convert it: keytool -importkeystore -srckeystore "),
        ({"trust_file": "{dir}/a.jks"}, "{dir}/a.jks: is no PEM file"),
        ({"trust_file": "{dir}/odd.pem"}, "{dir}/odd.pem: cannot be used: "),
    ],
)
def test_settings_refused(ca: Authority, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    tls = settings(ca)
    encrypted(Path(tls.key_file), "pw")
    (tmp_path / "a.p12").write_bytes(b"\x30\x82\x01")
    (tmp_path / "a.jks").write_bytes(b"\xfe\xed\xfe\xed\0\0\0\x02")
    (tmp_path / "odd.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")

    def placed(value: Any) -> Any:
        return value.replace("{dir}", str(tmp_path)) if isinstance(value, str) else value

    fields = {name: getattr(tls, name) for name in tls.__struct_fields__}
    with pytest.raises(ConfigError) as refused:
        server_context(TlsSettings(**fields | {name: placed(value) for name, value in changes.items()}))
    assert str(refused.value).startswith(placed(message))


def test_keys_with_passwords(ca: Authority, tmp_path: Path) -> None:
    key = str(encrypted(ca.issue("server.pem"), "pw"))
    (tmp_path / "password").write_text("pw\n")
    server_context(TlsSettings(key_file=key, key_password="pw", client_auth="none"))
    server_context(TlsSettings(key_file=key, key_password_file=str(tmp_path / "password"), client_auth="none"))
