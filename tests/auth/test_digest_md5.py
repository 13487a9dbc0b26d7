"""SASL DIGEST-MD5: RFC 2831's own example, and everything that must not pass for a proof."""

import pytest
from hypothesis import given, strategies as st

from trioquorum.wire.digest_md5 import TOKEN_BYTES_MAX, DigestClient, DigestServer, SaslFailed

USERS = {"bob": "secret", "jürgen": "pässwörd", "Ω": "鍵", 'a"b\\,c': 'd"e\\,f='}
NONCE = "OA6MG9tEQGm2hh"


def challenged(users: dict[str, str] | None = None) -> DigestServer:
    server = DigestServer(USERS if users is None else users, NONCE)
    server.step(b"")
    return server


def answer(user: str = "bob", password: str = "secret", nonce: str = NONCE) -> bytes:
    client = DigestClient(user, password, "OA6MHXh6VqTrRk")
    return client.step(DigestServer({}, nonce).step(b""))


def test_the_example_of_the_rfc() -> None:
    server = DigestServer({"chris": "secret"}, NONCE, protocol="imap", server_name="elwood.innosoft.com")
    assert server.step(b"") == (
        b'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",charset=utf-8,algorithm=md5-sess'
    )
    assert server.user == ""
    final = server.step(
        b'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,'
        b'cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,'
        b"qop=auth"
    )
    assert final == b"rspauth=ea40f60335c427b5527b84dbabcdfffd"
    assert server.user == "chris"


@pytest.mark.parametrize("user", USERS)
def test_both_ends_agree(user: str) -> None:
    server, client = DigestServer(USERS, NONCE), DigestClient(user, USERS[user], "c")
    final = server.step(client.step(server.step(client.step(None) or b"")))
    assert server.user == user
    assert not client.done
    assert client.step(final) == b""
    assert client.done


def test_a_server_that_does_not_know_the_password() -> None:
    client = DigestClient("bob", "secret", "c")
    client.step(DigestServer(USERS, NONCE).step(b""))
    with pytest.raises(SaslFailed, match="did not prove"):
        client.step(b"rspauth=ea40f60335c427b5527b84dbabcdfffd")
    assert not client.done


@pytest.mark.parametrize("challenge", [b"", b'realm="x"', b"nonce=", b'nonce="",realm="x"', b"rspauth=1"])
def test_challenges_that_are_none(challenge: bytes) -> None:
    with pytest.raises(SaslFailed):
        DigestClient("bob", "secret", "c").step(challenge)


GOOD = answer()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'username="bob"', b'username="eve"'),
        (b'username="bob"', b'username=""'),
        (b'username="bob",', b""),
        (b"bob", b"bob\xff"),
        (b'nonce="OA6MG9', b'nonce="XX6MG9'),
        (b"nc=00000001", b"nc=00000002"),
        (b"nc=00000001", b"nc=1"),
        (b'cnonce="OA6MHXh6VqTrRk"', b'cnonce="other"'),
        (b'cnonce="OA6MHXh6VqTrRk",', b""),
        (b'realm="zk-sasl-md5"', b'realm="elsewhere"'),
        (b"qop=auth", b"qop=auth-conf"),
        (b"zookeeper/zk-sasl-md5", b"imap/zk-sasl-md5"),
        (b'digest-uri="zookeeper/zk-sasl-md5",', b""),
        (b"response=", b"respons="),
        (b"response=", b"response=0"),
        (b"charset=utf-8", b'charset=utf-8,username="bob"'),
        (b"charset=utf-8", b"charset=utf-8,authzid=eve"),
        (b"charset=utf-8", b"charset"),
        (b"charset=utf-8", b'charset="utf-8'),
    ],
)
def test_answers_that_prove_nothing(old: bytes, new: bytes) -> None:
    assert old in GOOD
    server = challenged()
    with pytest.raises(SaslFailed):
        server.step(GOOD.replace(old, new, 1))
    assert server.user == ""


def test_what_may_be_left_out_or_added() -> None:
    server = challenged()
    server.step(
        GOOD.replace(b"charset=utf-8", b' charset = utf-8 , , maxbuf=65536, x="a\\"b"').replace(b",qop=auth", b"")
    )
    assert server.user == "bob"


def test_an_answer_serves_once() -> None:
    """Neither again in the same exchange nor in another one."""
    server = challenged()
    server.step(GOOD)
    with pytest.raises(SaslFailed, match="out of turn"):
        server.step(GOOD)
    other = DigestServer(USERS, "another")
    other.step(b"")
    with pytest.raises(SaslFailed, match="another challenge"):
        other.step(GOOD)
    first = DigestServer(USERS, NONCE)
    assert first.step(GOOD) == DigestServer(USERS, NONCE).step(b"")  # no challenge was given
    assert first.user == ""


def test_wrong_passwords() -> None:
    for token in (answer("bob", "wrong"), answer("bob", ""), answer("eve", "secret"), answer("eve", "")):
        with pytest.raises(SaslFailed):
            challenged().step(token)


def test_a_huge_token() -> None:
    with pytest.raises(SaslFailed, match="at most"):
        challenged().step(GOOD + b"," * TOKEN_BYTES_MAX)


@given(st.binary(max_size=200) | st.text(alphabet='abn=",\\ -', max_size=200).map(str.encode))
def test_anything_else_is_refused(token: bytes) -> None:
    with pytest.raises(SaslFailed):
        challenged().step(token)
