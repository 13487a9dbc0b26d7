"""kazoo proves who it is to an ensemble, and its writes through followers are judged by that."""

from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import make_acl

from tests.kit.processes import Ensemble
from trioquorum.tree.acl import digest_id

pytestmark = [pytest.mark.interop, pytest.mark.slow]

USERS = '\n[auth]\nsasl_super_users = ["root"]\n[auth.sasl_users]\nbob = "secret"\nroot = "pw"\n'


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    with Ensemble(tmp_path_factory.mktemp("sasl"), extra=USERS) as started:
        started.start().wait_serving()
        yield started


def sasl(user: str, password: str) -> dict[str, str]:
    return {"mechanism": "DIGEST-MD5", "username": user, "password": password}


def test_sasl_through_a_follower(ensemble: Ensemble) -> None:
    follower = ensemble.followers()[0]
    bob = ensemble.client(follower, sasl_options=sasl("bob", "secret"))
    root = ensemble.client(ensemble.leader(), sasl_options=sasl("root", "pw"))
    nobody = ensemble.client(follower)
    bob.create("/bob", b"1", acl=[make_acl("sasl", "bob", all=True)])
    bob.set("/bob", b"2")
    assert bob.get("/bob")[0] == b"2"
    with pytest.raises(NoAuthError):
        nobody.set("/bob", b"3")
    with pytest.raises(NoAuthError):
        nobody.get("/bob")
    root.set("/bob", b"4")
    bob.create("/mine", b"", acl=[make_acl("auth", "", all=True)])
    assert [(acl.id.scheme, acl.id.id) for acl in bob.get_acls("/mine")[0]] == [("sasl", "bob")]
    nobody.add_auth("digest", "al:pw")
    nobody.create("/al", b"", acl=[make_acl("auth", "", all=True)])
    assert nobody.get_acls("/al")[0][0].id.id == digest_id(b"al:pw")
    for client in (bob, root, nobody):
        client.stop()
        client.close()


def test_sasl_after_a_reconnect(ensemble: Ensemble) -> None:
    """Identities are those of a connection: the next server asks again."""
    first, second = ensemble.followers()
    client = KazooClient(
        hosts=f"{ensemble.host(first)},{ensemble.host(second)}",
        sasl_options=sasl("bob", "secret"),
        randomize_hosts=False,
    )
    client.start(10)
    client.create("/again", b"", acl=[make_acl("sasl", "bob", all=True)])
    session = client.client_id[0]
    ensemble.kill(first)
    client.retry(client.sync, "/again")  # the first one may be lost with its connection
    assert client.get("/again")[0] == b""
    assert client.client_id[0] == session
    client.stop()
    client.close()
    ensemble.start(first).wait_serving()
