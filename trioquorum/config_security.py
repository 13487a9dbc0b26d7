"""What a server is told about who may speak to it: the tables ``[auth]`` and ``[tls]`` (config §4)."""

from typing import Final

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


def check_auth(settings: AuthSettings, source: str) -> None:
    """Refuse settings that contradict themselves; ``source`` starts the message.

    Raises:
        ConfigError: what is wrong, and what to do.
    """
    if settings.digest_algorithm not in DIGEST_ALGORITHMS:
        names = ", ".join(DIGEST_ALGORITHMS)
        raise ConfigError(f"{source}: auth.digest_algorithm is {settings.digest_algorithm!r}; use one of {names}")
    offered = {"ip": True, "digest": settings.digest_enabled, "sasl": bool(settings.sasl_users)}
    for scheme in sorted(settings.required_schemes):
        if not offered.get(scheme):
            raise ConfigError(
                f"{source}: clients must prove an identity of the scheme {scheme!r}, which is not offered here; "
                f"remove it from auth.required_schemes, or configure it"
            )
