"""Who a client is: addauth and SASL (client-protocol §12).

A scheme is a function: what the client sent as proof in, identities out. No scheme waits or does I/O.
"""

from collections.abc import Callable, Sequence
from typing import Final

from trioquorum.config_security import DIGEST_ALGORITHMS, AuthSettings
from trioquorum.errors import Code, PeerProtocolError, TrioquorumError
from trioquorum.pipeline.client import Client
from trioquorum.tree.acl import SUPER, AclRules, Identity, digest_id
from trioquorum.wire.client import REQUEST_HEADER, reply
from trioquorum.wire.digest_md5 import DigestServer, SaslFailed
from trioquorum.wire.ops import Op
from trioquorum.wire.records import AuthRequest, SaslToken

IDENTITIES_MAX = 100
IDENTITY_BYTES_MAX = 4096
"""Of one connection; each of its writes takes them all along to the leader."""

BODY_AT: Final = REQUEST_HEADER.size
PROVING: Final = frozenset({Op.AUTH, Op.SASL})
"""Requests by which a client says who it is."""


class AuthRefused(TrioquorumError):
    """What a client sent proves nothing: it is told AUTHFAILED, or nothing if it is to try another server at once."""

    def __init__(self, *, elsewhere: bool = False) -> None:
        super().__init__("the client proved nothing")
        self.elsewhere = elsewhere


Scheme = Callable[[bytes | None, Sequence[Identity]], Sequence[Identity]]
"""What a client sends with addauth, and who it is already → who it proved to be, or ``AuthRefused``."""


class Authentication:
    """The schemes of one server, and what it demands."""

    def __init__(
        self, settings: AuthSettings, nonce: Callable[[], str], super_digest: str = "", *, x509: bool = False
    ) -> None:
        """``nonce`` gives text that nobody can guess. With ``x509`` certificates of clients are looked at."""
        self.required = settings.required_schemes
        self.schemes: dict[str, Scheme] = {"ip": _nothing_new, "ensemble": _ensemble(settings.ensemble_names)}
        if settings.digest_enabled:
            self.schemes["digest"] = _digest(DIGEST_ALGORITHMS[settings.digest_algorithm], super_digest)
        if x509:
            self.schemes["x509"] = _by_certificate
        self._settings = settings
        self._nonce = nonce

    @property
    def acl_rules(self) -> AclRules:
        """Whom ACLs may name."""
        schemes = self.schemes.keys() - {"ensemble"} | ({"sasl"} if self._settings.sasl_users else set())
        return AclRules(schemes=frozenset(schemes), any_sasl_user=self._settings.sasl_any_user)

    def newcomer(self, ip: str, subject: str = "") -> list[Identity]:
        """Who a client is before it says anything; ``subject`` is its certificate's, if it was verified."""
        known: list[Identity] = [("ip", ip)] if ip else []
        if subject:
            known.append(("x509", subject))
        if self._settings.skip_acl or (subject and subject == self._settings.x509_super_user):
            known.append(SUPER)
        return known

    def admits(self, client: Client) -> bool:
        """Whether the client has proved what this server demands."""
        return not self.required or any(scheme in self.required for scheme, _ in client.auth)

    def prove(self, client: Client, op: int, xid: int, payload: bytes) -> None:
        """A request by which a client says who it is: answered at once, whatever else waits."""
        try:
            if op == Op.AUTH:
                self._addauth(client, xid, payload)
            else:
                self._sasl(client, xid, payload)
        except PeerProtocolError:
            client.send(reply(xid, 0, Code.MARSHALLINGERROR))

    def _addauth(self, client: Client, xid: int, payload: bytes) -> None:
        """A scheme that is not known ends the connection, and so does one that is not convinced.

        So does one identity more than ``IDENTITIES_MAX``, and one of more than ``IDENTITY_BYTES_MAX``.
        """
        request, _ = AuthRequest.decode_from(payload, BODY_AT)
        scheme = self.schemes.get(request.scheme or "")
        try:
            if scheme is None:
                raise AuthRefused
            _add(client, scheme(request.auth, client.auth))
        except AuthRefused as refusal:
            if not refusal.elsewhere:
                client.send(reply(xid, 0, Code.AUTHFAILED))
            client.close()
            return
        client.send(reply(xid, 0, Code.OK))

    def _sasl(self, client: Client, xid: int, payload: bytes) -> None:
        """The next token of an exchange. A server without users answers null, as Java does, which proves nothing."""
        request, _ = SaslToken.decode_from(payload, BODY_AT)
        users = self._settings.sasl_users
        answer = None
        if users:
            if client.sasl is None:
                client.sasl = DigestServer(users, self._nonce())
            try:
                answer = client.sasl.step(request.token or b"")
                if client.sasl.user:
                    self._sasl_user(client, client.sasl.user)
            except (SaslFailed, AuthRefused):
                required = "sasl" in self.required
                if required or not self._settings.sasl_failures_allowed:
                    code = Code.SESSIONCLOSEDREQUIRESASLAUTH if required else Code.AUTHFAILED
                    client.send(reply(xid, 0, code, SaslToken(None).encode()))
                    client.close()
                    return
        client.send(reply(xid, 0, Code.OK, SaslToken(answer).encode()))

    def _sasl_user(self, client: Client, user: str) -> None:
        proved = [("sasl", user)]
        if self._settings.sasl_any_user:
            proved.append(("sasl", self._settings.sasl_any_user))
        if user in self._settings.sasl_super_users:
            proved.append(SUPER)
        _add(client, proved)

    def guard(self, take: Callable[[Client, bytes], None], client: Client, payload: bytes) -> None:
        """One frame of an open session, where clients have to prove who they are before anything is answered."""
        if (
            self.admits(client)
            or len(payload) < REQUEST_HEADER.size
            or REQUEST_HEADER.unpack_from(payload)[1] in PROVING
        ):
            take(client, payload)
        else:
            self.refuse(client, payload)

    def refuse(self, client: Client, payload: bytes) -> None:
        """A request of a client that has not proved what is demanded: it is told so, and the connection ends."""
        xid, _ = REQUEST_HEADER.unpack_from(payload)
        client.send(reply(xid, 0, Code.SESSIONCLOSEDREQUIRESASLAUTH))
        client.close()


def _add(client: Client, proved: Sequence[Identity]) -> None:
    fresh = [identity for identity in dict.fromkeys(proved) if identity not in client.auth]
    if not fresh:
        return
    if len(client.auth) >= IDENTITIES_MAX:
        raise AuthRefused
    # A new list: requests under way keep the identities they were sent with.
    client.auth = [*client.auth, *fresh]


def _nothing_new(proof: bytes | None, known: Sequence[Identity]) -> Sequence[Identity]:
    """Where a client comes from is known without its help."""
    del proof, known
    return ()


def _digest(algorithm: str, super_digest: str) -> Scheme:
    """Name and password are an identity, whoever sends them; that of ``super_digest`` may do everything."""

    def prove(proof: bytes | None, known: Sequence[Identity]) -> Sequence[Identity]:
        if proof is None:
            raise AuthRefused
        identity = ("digest", digest_id(proof, algorithm))
        if identity not in known and len(proof) > IDENTITY_BYTES_MAX:
            raise AuthRefused
        return [SUPER, identity] if identity[1] == super_digest else [identity]

    return prove


def _by_certificate(proof: bytes | None, known: Sequence[Identity]) -> Sequence[Identity]:
    """The handshake has shown the certificate, or there is none."""
    del proof
    if not any(scheme == "x509" for scheme, _ in known):
        raise AuthRefused
    return ()


def _ensemble(names: frozenset[str]) -> Scheme:
    """No identity: a client says which ensemble it expects, and must not be let into another one."""

    def prove(proof: bytes | None, known: Sequence[Identity]) -> Sequence[Identity]:
        del known
        if proof and names and proof.decode("utf-8", "replace") not in names:
            raise AuthRefused(elsewhere=True)
        return ()

    return prove
