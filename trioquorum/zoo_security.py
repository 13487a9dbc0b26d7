"""Who may speak to the server, by the keys of ``zoo.cfg`` (config §4, Security)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from trioquorum.config import read_text
from trioquorum.config_security import AuthSettings, TlsSettings
from trioquorum.errors import ConfigError
from trioquorum.jaas import digest_users
from trioquorum.properties import Entry
from trioquorum.zoo_keys import integer, truth

_JAAS_SECTION: Final = "Server"
_JAAS_FILE: Final = "java.security.auth.login.config"

_AUTH: Final = {
    "skipACL": "skip_acl",
    "DigestAuthenticationProvider.enabled": "digest_enabled",
    "DigestAuthenticationProvider.digestAlg": "digest_algorithm",
    "X509AuthenticationProvider.superUser": "x509_super_user",
    "letAnySaslUserDoX": "sasl_any_user",
    "allowSaslFailedClients": "sasl_failures_allowed",
}
_TRUTHS: Final = frozenset(("skip_acl", "digest_enabled", "sasl_failures_allowed"))
_SUPER_USER: Final = "superUser"
_MORE_KEYS: Final = frozenset(
    (_JAAS_FILE, "sasl.serverconfig", "sessionRequireClientSASLAuth", "ensembleAuthName")
    + ("enforce.auth.enabled", "enforce.auth.schemes")
)
_KEY_FILE: Final = "ssl.keyStore.location"
_TLS_TEXTS: Final = {
    _KEY_FILE: "key_file",
    "ssl.keyStore.password": "key_password",
    "ssl.keyStore.passwordPath": "key_password_file",
    "ssl.trustStore.location": "trust_file",
}
_TLS_TRUTHS: Final = {"ssl.crl": "crl", "client.certReload": "reload", "client.portUnification": "port_unification"}
_TLS_KEYS: Final = frozenset(
    (*_TLS_TEXTS, *_TLS_TRUTHS, "ssl.clientAuth", "ssl.enabledProtocols", "ssl.ciphersuites")
    + ("ssl.hostnameVerification", "ssl.clientHostnameVerification", "ssl.handshakeDetectionTimeoutMillis")
    + ("ssl.keyStore.type", "ssl.trustStore.type", "ssl.trustStore.password", "ssl.trustStore.passwordPath")
)

SECURITY: Final = frozenset((*_AUTH, *_MORE_KEYS, _SUPER_USER, *_TLS_KEYS))
"""The keys that are read here."""

NAMES: Final[Mapping[str, str]] = {
    **{f"auth.{name}": key for key, name in _AUTH.items()},
    **{f"tls.{name}": key for key, name in (_TLS_TEXTS | _TLS_TRUTHS).items()},
    "auth.required_schemes": "enforce.auth.schemes",
    "tls.client_auth": "ssl.clientAuth",
    "tls.protocols": "ssl.enabledProtocols",
    "tls.detection_timeout_ms": "ssl.handshakeDetectionTimeoutMillis",
}
"""Setting as ``peers.toml`` names it → key."""

_PROVIDER: Final = "authProvider."
_PROVIDERS: Final = frozenset(
    f"org.apache.zookeeper.server.auth.{name}AuthenticationProvider" for name in ("SASL", "X509", "Ensemble")
)
"""Classes that Java has to be told of and that are always there here."""


def is_security(key: str, entry: Entry) -> bool:
    """Whether ``auth_settings`` or ``tls_settings`` knows this entry."""
    if key.startswith(_PROVIDER):
        return entry.value in _PROVIDERS
    return key in SECURITY or _is_super_user(key)


def _is_super_user(key: str) -> bool:
    return key == _SUPER_USER or key.startswith(f"{_SUPER_USER}.")


def auth_settings(found: Mapping[str, Entry]) -> AuthSettings:
    """Who clients can prove to be, and whether they have to.

    Raises:
        ConfigError: a value or the file with the users cannot be used.
    """
    settings: dict[str, Any] = {}
    for key, name in _AUTH.items():
        if entry := found.get(key):
            settings[name] = truth(entry) if name in _TRUTHS else entry.value
    if names := found.get("ensembleAuthName"):
        settings["ensemble_names"] = _listed(names)
    supers = frozenset(entry.value for key, entry in found.items() if _is_super_user(key))
    return AuthSettings(
        required_schemes=_required(found), sasl_users=_users(found), sasl_super_users=supers, **settings
    )


def _listed(entry: Entry) -> frozenset[str]:
    return frozenset(word.strip() for word in entry.value.split(",") if word.strip())


def _required(found: Mapping[str, Entry]) -> frozenset[str]:
    """``sessionRequireClientSASLAuth`` means SASL and nothing else."""
    if (sasl := found.get("sessionRequireClientSASLAuth")) and truth(sasl):
        return frozenset(("sasl",))
    enabled = found.get("enforce.auth.enabled")
    if enabled is None or not truth(enabled):
        return frozenset()
    schemes = _listed(found["enforce.auth.schemes"]) if "enforce.auth.schemes" in found else frozenset()
    if not schemes:
        raise ConfigError(f"{enabled.where}: {enabled.key} needs enforce.auth.schemes; add enforce.auth.schemes=digest")
    return schemes


def _users(found: Mapping[str, Entry]) -> dict[str, str]:
    """The users of the JAAS file; Java is told its name on its command line, we in the file."""
    if _JAAS_FILE not in found:
        return {}
    path = Path(found[_JAAS_FILE].value)
    section = found["sasl.serverconfig"].value if "sasl.serverconfig" in found else _JAAS_SECTION
    return digest_users(read_text(path), section, str(path))


def tls_settings(found: Mapping[str, Entry]) -> TlsSettings | None:
    """How clients are spoken to in secret; ``None`` without a key.

    Files are PEM, whatever type is named; passwords of stores with certificates alone protect nothing and are not
    looked at.

    Raises:
        ConfigError: a value makes no sense, or TLS is asked for and there is no key.
    """
    truths = {name: truth(found[key]) for key, name in _TLS_TRUTHS.items() if key in found}
    if _KEY_FILE not in found:
        if truths.get("port_unification"):
            entry = found["client.portUnification"]
            raise ConfigError(f"{entry.where}: {entry.key} needs a key for TLS; name its file in {_KEY_FILE}")
        return None
    values: dict[str, Any] = {"reload": False, **truths}
    values |= {name: found[key].value for key, name in _TLS_TEXTS.items() if key in found}
    if auth := found.get("ssl.clientAuth"):
        values["client_auth"] = _one_of(auth, auth.value.lower() or "need", ("none", "want", "need"))
    if protocols := found.get("ssl.enabledProtocols"):
        values["protocols"] = frozenset(_one_of(protocols, name, ("TLSv1.2", "TLSv1.3")) for name in _listed(protocols))
    if suites := found.get("ssl.ciphersuites"):
        values["cipher_suites"] = tuple(name.strip() for name in suites.value.split(","))
    if timeout := found.get("ssl.handshakeDetectionTimeoutMillis"):
        values["detection_timeout_ms"] = integer(timeout)
    names = [found[key] for key in ("ssl.hostnameVerification", "ssl.clientHostnameVerification") if key in found]
    values["client_hostname_verification"] = "ssl.clientHostnameVerification" in found and all(map(truth, names))
    return TlsSettings(**values)


def _one_of(entry: Entry, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ConfigError(f"{entry.where}: {entry.key} is {entry.value!r}; write {' or '.join(known)}")
    return value
