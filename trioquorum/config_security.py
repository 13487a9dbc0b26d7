"""What a server is told about who may speak to it: the tables ``[auth]`` and ``[tls]`` (config §4)."""

from typing import Final, Literal

import msgspec

from trioquorum.errors import ConfigError

DIGEST_ALGORITHMS: Final = {
    "MD5": "md5",
    "SHA1": "sha1",
    "SHA-1": "sha1",
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-384": "sha3_384",
    "SHA3-512": "sha3_512",
}
"""Java's names → hashlib's."""


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who clients can prove to be, and whether they have to (client-protocol §12)."""

    required_schemes: frozenset[str] = frozenset()  # enforce.auth.schemes: without an id of one, nothing is answered
    skip_acl: bool = False  # skipACL: everybody may do everything
    digest_enabled: bool = True  # DigestAuthenticationProvider.enabled
    digest_algorithm: str = "SHA1"  # DigestAuthenticationProvider.digestAlg
    ensemble_names: frozenset[str] = frozenset()  # ensembleAuthName: a client that expects another one is sent away
    x509_super_user: str = ""  # X509AuthenticationProvider.superUser: a subject, as in CN=admin,O=Acme
    sasl_users: dict[str, str] = {}  # name = "password", for SASL DIGEST-MD5; Java keeps them in a JAAS file
    sasl_super_users: frozenset[str] = frozenset()  # superUser, superUser.*
    sasl_any_user: str = ""  # letAnySaslUserDoX: an ACL for this user is one for all SASL users
    sasl_failures_allowed: bool = False  # allowSaslFailedClients: who fails goes on as nobody


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How clients are spoken to in secret: what a port for TLS needs. Files are PEM."""

    key_file: str  # ssl.keyStore.location: the private key, its certificate, and those that lead to a root
    key_password: str = ""  # ssl.keyStore.password
    key_password_file: str = ""  # ssl.keyStore.passwordPath; counts more
    trust_file: str = ""  # ssl.trustStore.location: who may vouch for clients, and with crl whose word is revoked
    client_auth: Literal["none", "want", "need"] = "need"  # ssl.clientAuth: must clients have certificates
    client_hostname_verification: bool = False  # ssl.clientHostnameVerification: they must name the client's address
    protocols: frozenset[Literal["TLSv1.2", "TLSv1.3"]] = frozenset(("TLSv1.2", "TLSv1.3"))  # ssl.enabledProtocols
    cipher_suites: tuple[str, ...] = ()  # ssl.ciphersuites, by the standards' names; empty: what the library prefers
    crl: bool = False  # ssl.crl: certificates are looked up in the revocation lists of trust_file
    reload: bool = True  # client.certReload: files that changed are read again, for the next connection
    port_unification: bool = False  # client.portUnification: the plain client port takes TLS too
    detection_timeout_ms: int = 5000  # ssl.handshakeDetectionTimeoutMillis: who is silent for so long is plain


def check_tls(settings: TlsSettings | None, source: str, *, wanted: bool) -> None:
    """Refuse settings that contradict themselves; with ``wanted`` there is a port for TLS.

    Raises:
        ConfigError: what is wrong, and what to do.
    """
    if settings is None:
        if wanted:
            raise ConfigError(f"{source}: a client port for TLS needs a key; name its file in tls.key_file")
        return
    if settings.client_auth != "none" and not settings.trust_file:
        raise ConfigError(
            f"{source}: certificates of clients need somebody who vouches for them; name the authorities' file in "
            f"tls.trust_file, or set tls.client_auth to none"
        )
    if not settings.protocols or settings.detection_timeout_ms < 1:
        raise ConfigError(f"{source}: tls.protocols must name one, and tls.detection_timeout_ms be at least 1")


def check_auth(settings: AuthSettings, source: str, *, certificates: bool = False) -> None:
    """Refuse settings that contradict themselves; ``source`` starts the message.

    With ``certificates`` those of clients are looked at.

    Raises:
        ConfigError: what is wrong, and what to do.
    """
    if settings.digest_algorithm not in DIGEST_ALGORITHMS:
        names = ", ".join(DIGEST_ALGORITHMS)
        raise ConfigError(f"{source}: auth.digest_algorithm is {settings.digest_algorithm!r}; use one of {names}")
    offered = {"ip": True, "digest": settings.digest_enabled, "sasl": bool(settings.sasl_users), "x509": certificates}
    for scheme in sorted(settings.required_schemes):
        if not offered.get(scheme):
            raise ConfigError(
                f"{source}: clients must prove an identity of the scheme {scheme!r}, which is not offered here; "
                f"remove it from auth.required_schemes, or configure it"
            )
