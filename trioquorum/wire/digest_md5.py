"""SASL DIGEST-MD5 (RFC 2831), both ends, sans-I/O: ZooKeeper's names and passwords (client-protocol §12).

Only authentication is offered (qop ``auth``), with MD5-sess, once per exchange. The server sends a challenge, checks
the answer against its user's password and proves that it knows the password too.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from trioquorum.errors import PeerProtocolError

PROTOCOL: Final = "zookeeper"
SERVER_NAME: Final = "zk-sasl-md5"
"""Stands for every server's name: in the realm, and in the service that a client asks for."""

TOKEN_BYTES_MAX: Final = 4096

_DIRECTIVE: Final = re.compile(
    rb'[ \t,]*([A-Za-z0-9-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))[ \t]*(?:,|$)', re.DOTALL
)
_ONCE: Final = b"00000001"


class SaslFailed(PeerProtocolError):
    """The other end did not prove what it claims, or broke the exchange: it is nobody."""


class DigestServer:
    """The server's side of one exchange. ``user`` is who proved to be it, empty until then."""

    def __init__(
        self, passwords: Mapping[str, str], nonce: str, *, protocol: str = PROTOCOL, server_name: str = SERVER_NAME
    ) -> None:
        """``nonce`` must never have been used before and be impossible to guess."""
        self.user = ""
        self._passwords = passwords
        self._nonce = nonce.encode()
        self._realm = server_name.encode()
        self._uri = f"{protocol}/{server_name}".encode()
        self._steps = 0

    def step(self, token: bytes) -> bytes:
        """The answer to a client's token; what the first one holds does not matter, as with Java.

        Raises:
            SaslFailed: the client is not who it claims to be, or its token is none of this exchange.
        """
        self._steps += 1
        if self._steps == 1:
            return b'realm="%b",nonce="%b",qop="auth",charset=utf-8,algorithm=md5-sess' % (self._realm, self._nonce)
        if self._steps != 2:
            raise SaslFailed("a token out of turn")
        said = _directives(token)
        user = self._claimed(said)
        password = self._passwords.get(user)
        secret = _secret(said, user, password or "")
        if password is None or not hmac.compare_digest(
            said.get("response", b""), _proof(secret, said, b"AUTHENTICATE")
        ):
            raise SaslFailed(f"{user!r} did not prove to know its password")
        self.user = user
        return b"rspauth=" + _proof(secret, said, b"")

    def _claimed(self, said: Mapping[str, bytes]) -> str:
        """Who the client says it is, in an answer to our challenge."""
        expected = {"nonce": self._nonce, "nc": _ONCE, "realm": self._realm}
        if any(said.get(name, value) != value for name, value in expected.items()) or "nonce" not in said:
            raise SaslFailed("an answer to another challenge")
        if said.get("qop", b"auth") != b"auth" or not said.get("cnonce"):
            raise SaslFailed("an answer that the challenge does not allow")
        if said.get("digest-uri", b"").lower() != self._uri:
            raise SaslFailed("an answer for another server")
        return _text(said.get("username", b""))


class DigestClient:
    """The client's side of one exchange. ``done`` when the server has proved that it knows the password."""

    def __init__(self, user: str, password: str, cnonce: str) -> None:
        """``cnonce`` must be impossible to guess."""
        self.done = False
        self._user = user
        self._password = password
        self._cnonce = cnonce.encode()
        self._expected = b""

    def step(self, challenge: bytes | None) -> bytes:
        """The answer to a server's token; None begins. When ``done`` there is nothing more to send.

        Raises:
            SaslFailed: the server does not know the password, or its token is none of this exchange.
        """
        if challenge is None:
            return b""
        said = _directives(challenge)
        if self._expected:
            if not hmac.compare_digest(said.get("rspauth", b""), self._expected):
                raise SaslFailed("the server did not prove to know the password")
            self.done = True
            return b""
        if not said.get("nonce"):
            raise SaslFailed("a challenge without a nonce")
        realm = said.get("realm", b"")
        answer = {
            "username": self._user.encode(),
            "realm": realm,
            "nonce": said["nonce"],
            "cnonce": self._cnonce,
            "nc": _ONCE,
            "qop": b"auth",
            "digest-uri": f"{PROTOCOL}/{SERVER_NAME}".encode(),
            "charset": b"utf-8",
        }
        secret = _secret(answer, self._user, self._password)
        self._expected = _proof(secret, answer, b"")
        answer["response"] = _proof(secret, answer, b"AUTHENTICATE")
        return b",".join(
            name.encode() + (b"=" + value if name in _BARE else b'="' + _QUOTED.sub(rb"\\\g<0>", value) + b'"')
            for name, value in answer.items()
        )


_BARE: Final = frozenset(("nc", "qop", "charset", "response"))
_QUOTED: Final = re.compile(rb'["\\]')


def _directives(token: bytes) -> dict[str, bytes]:
    """``name=value,name="value"``, each name once.

    Raises:
        SaslFailed: it is not that.
    """
    if len(token) > TOKEN_BYTES_MAX:
        raise SaslFailed(f"a token of {len(token)} bytes, at most {TOKEN_BYTES_MAX} are taken")
    found: dict[str, bytes] = {}
    at = 0
    while at < len(token):
        match = _DIRECTIVE.match(token, at)
        if match is None:
            raise SaslFailed("a token that is no list of directives")
        name = match[1].decode().lower()
        if name in found:
            raise SaslFailed(f"a token with two of {name}")
        found[name] = match[3] if match[2] is None else re.sub(rb"\\(.)", rb"\1", match[2], flags=re.DOTALL)
        at = match.end()
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("iso-8859-1")


def _bytes(text: str) -> bytes:
    """Names and passwords are hashed in ISO 8859-1 where that is possible (§2.1.2.1 there)."""
    try:
        return text.encode("iso-8859-1")
    except UnicodeEncodeError:
        return text.encode()


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _secret(said: Mapping[str, bytes], user: str, password: str) -> bytes:
    """H(A1) in hexadecimal: what only somebody with the password can compute, for this exchange alone."""
    shared = _md5(b":".join((_bytes(user), said.get("realm", b""), _bytes(password))))
    parts = [shared, said["nonce"], said["cnonce"]]
    if said.get("authzid"):
        parts.append(said["authzid"])
    return _md5(b":".join(parts)).hex().encode()


def _proof(secret: bytes, said: Mapping[str, bytes], method: bytes) -> bytes:
    a2 = _md5(method + b":" + said["digest-uri"]).hex().encode()
    parts = (secret, said["nonce"], said.get("nc", _ONCE), said["cnonce"], said.get("qop", b"auth"), a2)
    return _md5(b":".join(parts)).hex().encode()
