"""kazoo over TLS: an ensemble whose peers have a port for it, and a plain one that takes both."""

import gc
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.security import make_acl

from tests.auth.certificates import Authority, subject
from tests.kit.processes import Ensemble, four_letter, free_ports, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow]


class Secure:
    """Three peers that serve by TLS, and who vouches for them and for clients."""

    def __init__(self, folder: Path) -> None:
        self.ca = Authority(folder)
        self.key = self.ca.issue("server.pem", "localhost", "127.0.0.1")
        tls = f'[tls]\nkey_file = "{self.key}"\ntrust_file = "{self.ca.file}"\nport_unification = true\n'
        self.ensemble = Ensemble(folder, extra=tls)
        self.ports = dict(zip(self.ensemble.ids, free_ports(3), strict=True))
        text = self.ensemble.config.read_text()
        for i, port in self.ports.items():
            plain = f'client = "tcp://127.0.0.1:{self.ensemble.ports[i]}"\n'
            assert plain in text
            text = text.replace(plain, f'{plain}secure_client = "tls://127.0.0.1:{port}"\n')
        self.ensemble.config.write_text(text)

    def client(self, hosts: str, certificate: Path) -> KazooClient:
        """A kazoo client that shows a certificate, connected."""
        options: dict[str, Any] = {"keyfile": str(certificate), "certfile": str(certificate), "ca": str(self.ca.file)}
        client = KazooClient(hosts, timeout=10, handler=SequentialThreadingHandler(), use_ssl=True, **options)
        client.start(20)
        return client

    def host(self, i: int) -> str:
        """The address for TLS of one peer."""
        return f"127.0.0.1:{self.ports[i]}"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    made = Secure(tmp_path_factory.mktemp("tls"))
    with made.ensemble as ensemble:
        ensemble.start().wait_serving()
        yield made
    gc.collect()  # kazoo leaves the sockets of refused connections to it


def test_kazoo_over_tls(secure: Secure) -> None:
    """Over both kinds of port, through a follower: the certificate's subject is what the leader judges by."""
    follower, leader = secure.ensemble.followers()[0], secure.ensemble.leader()
    certificate = secure.ca.issue("bob.pem", common_name="bob")
    bob = secure.client(secure.host(follower), certificate)
    again = secure.client(secure.ensemble.host(leader), certificate)
    other = secure.client(secure.host(follower), secure.ca.issue("al.pem", common_name="al"))
    plain = secure.ensemble.client(follower)
    bob.create("/bob", b"1", acl=[make_acl("x509", subject(certificate), all=True)])
    bob.create("/mine", b"1", acl=[make_acl("auth", "", all=True)])
    for path in ("/bob", "/mine"):
        bob.set(path, b"2")
        again.sync(path)
        again.set(path, b"3")
        for stranger in (other, plain):
            with pytest.raises(NoAuthError):
                stranger.get(path)
            with pytest.raises(NoAuthError):
                stranger.set(path, b"4")
    assert [acl.id.id for acl in bob.get_acls("/mine")[0]] == [subject(certificate)]
    data = bytes(range(256)) * 3000
    bob.create("/large", data)
    assert plain.sync("/large") == "/large"
    assert plain.get("/large")[0] == data
    for client in (bob, again, other, plain):
        client.stop()
        client.close()


def test_a_session_over_tls_moves(secure: Secure) -> None:
    """To another peer, when its own is killed."""
    first, second = secure.ensemble.followers()
    hosts = f"{secure.host(first)},{secure.host(second)}"
    certificate = secure.ca.issue("moving.pem")
    client = secure.client(hosts, certificate)
    client.create("/ephemeral", ephemeral=True)
    session = client.client_id[0]
    home = next(i for i in (first, second) if f"sid={session:#x}" in cons(secure.ensemble, i))
    secure.ensemble.kill(home)
    elsewhere = first + second - home
    wait_until("the session is on the other peer", lambda: f"sid={session:#x}" in cons(secure.ensemble, elsewhere))
    assert client.exists("/ephemeral").ephemeralOwner == session
    client.stop()
    client.close()
    secure.ensemble.start(home).wait_serving()


def trusts(context: ssl.SSLContext, port: int) -> bool:
    """Whether a client with this context accepts the certificate shown at ``port``."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        try:
            context.wrap_socket(sock, server_hostname="127.0.0.1").close()
        except ssl.SSLCertVerificationError:
            return False
        return True


def cons(ensemble: Ensemble, i: int) -> str:
    return four_letter(ensemble.ports[i], "cons")


def test_certificates_are_replaced_while_a_peer_serves(secure: Secure, tmp_path: Path) -> None:
    peer = secure.ensemble.followers()[0]
    old = secure.key.read_bytes()
    renewed = Authority(tmp_path, "renewed").issue("server.pem", "127.0.0.1")
    certificate = secure.ca.issue("client.pem")
    shutil.copyfile(renewed, secure.key)
    try:
        strict = secure.ca.client(certificate)
        wait_until("the new certificate is shown", lambda: not trusts(strict, secure.ports[peer]))
        assert secure.ensemble.events(peer, "certificates_reloaded")
    finally:
        secure.key.write_bytes(old)
    client = secure.client(secure.host(peer), certificate)
    assert client.exists("/") is not None
    client.stop()
    client.close()
