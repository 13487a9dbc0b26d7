"""What a client may try to prove, frame by frame; the answers of Apache ZooKeeper 3.8 are in ``recorded``.

``python -m tests.auth.questions PORT`` asks a server at a port of loopback, with ``CONFIG`` and perhaps ``DEMANDING``.
"""

import struct
import sys
from collections.abc import Iterator

from tests.hostile.kit import Raw, buffer, request, text
from trioquorum.wire.digest_md5 import DigestClient
from trioquorum.wire.ops import Op
from trioquorum.wire.records import SaslToken, WhoAmIResponse

CONFIG = """
authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider
authProvider.2=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider
ensembleAuthName=blue
java.security.auth.login.config={jaas}
"""
DEMANDING = "enforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl\n"
JAAS = """
Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_bob="secret"
    user_super="adm";
};
"""

HEADER = struct.Struct(">iqi")


class Asking:
    """One client with a session."""

    def __init__(self, port: int) -> None:
        self.raw = Raw(port).handshake()

    def ask(self, op: int, body: bytes = b"", xid: int = 7) -> tuple[str, bytes]:
        """The code of the reply and its body; instead of a code, that the connection ended."""
        self.raw.send(request(xid, op, body))
        payload = self.raw.frame()
        if payload is None:
            return "no answer", b""
        echoed, _, err = HEADER.unpack_from(payload)
        assert echoed == xid
        return str(err), payload[HEADER.size :]

    def addauth(self, scheme: str, proof: bytes) -> str:
        """The code of an addauth's reply."""
        return self.ask(Op.AUTH, struct.pack(">i", 0) + text(scheme) + buffer(proof), -4)[0]

    def login(self, user: str, password: str) -> str:
        """The end of a SASL exchange."""
        mine = DigestClient(user, password, "c")
        token = mine.step(None)
        while not mine.done:
            code, body = self.ask(Op.SASL, SaslToken(token).encode())
            challenge = SaslToken.decode(body).token if body else None
            if challenge is None:
                return f"{code} null" if body else code
            token = mine.step(challenge)
        return "proved"

    def create(self, scheme: str, who: str) -> str:
        """The code of a create with an ACL for one identity."""
        acl = struct.pack(">ii", 1, 31) + text(scheme) + text(who)
        code, _ = self.ask(Op.CREATE, text("/acl") + buffer(b"") + acl + struct.pack(">i", 0))
        if code == "0":
            self.ask(Op.DELETE, text("/acl") + struct.pack(">i", -1))
        return code

    def who(self) -> str:
        """Everybody the client is; the order means nothing."""
        found = WhoAmIResponse.decode(self.ask(Op.WHO_AM_I)[1]).clients or []
        return " ".join(sorted(f"{each.scheme}:{each.user}" for each in found))

    def end(self) -> str:
        """Whether the server still answers; then the connection is closed here."""
        with self.raw:
            try:
                code, _ = self.ask(Op.WHO_AM_I, xid=9)
            except ConnectionError:
                return "closed"
            return "closed" if code == "no answer" else "open"


def answers(port: int) -> Iterator[str]:
    """Every question with its answer, a line each."""
    for scheme in ("world", "sasl", "x509", "super", "auth", "nosuch", "", "ip", "digest"):
        client = Asking(port)
        yield f"addauth {scheme!r}: {client.addauth(scheme, b'bob:x')} {client.end()}"
    for name in (b"blue", b"red", b""):
        client = Asking(port)
        yield f"addauth ensemble {name.decode()!r}: {client.addauth('ensemble', name)} {client.end()}"
    for user, password in (("bob", "secret"), ("bob", "wrong"), ("eve", "x"), ("super", "adm")):
        client = Asking(port)
        proved = client.login(user, password)
        yield f"sasl {user} {password}: {proved}"
        if proved == "proved":
            yield f"  is {client.who()}"
            yield f"  creates for auth: {client.create('auth', '')}"
            code, body = client.ask(Op.SASL, SaslToken(b"").encode())
            yield f"  begins again: {code} {body.hex()}"
        yield f"  {client.end()}"
    client = Asking(port)
    client.ask(Op.SASL, SaslToken(b"junk").encode())
    code, body = client.ask(Op.SASL, SaslToken(b"junk").encode())
    yield f"sasl junk: {code} {body.hex()} {client.end()}"
    for op, body in (
        *((Op.PING, b""), (Op.EXISTS, text("/") + b"\0"), (Op.WHO_AM_I, b""), (Op.SYNC, text("/")), (99, b"")),
        *((Op.CLOSE_SESSION, b""), (Op.CREATE, text("/x"))),
    ):
        client = Asking(port)
        code, _ = client.ask(op, body, -2 if op == Op.PING else 7)
        yield f"nobody asks {int(op)}: {code} {client.end()}"
    for scheme, who in (
        *(
            ("sasl", "bob"),
            ("sasl", "a@b@c"),
            ("sasl", "a/b@c"),
            ("sasl", "a/b/c"),
            ("x509", "CN=a"),
            ("ensemble", "x"),
        ),
        *(("digest", "a"), ("digest", "a:b"), ("ip", "10.0.0.0/8"), ("ip", "10.0.0.0/33"), ("super", "")),
    ):
        client = Asking(port)
        client.addauth("digest", b"u:p")
        yield f"an ACL for {scheme}:{who}: {client.create(scheme, who)} {client.end()}"


if __name__ == "__main__":
    for line in answers(int(sys.argv[1])):
        print(line)
