"""TLS as a server offers it: contexts made from PEM files, and made anew when the files change (config §4).

Java reads its own kinds of key store as well; here they have to be converted once.
"""

import re
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Final

from trioquorum.config_security import TlsSettings
from trioquorum.errors import ConfigError
from trioquorum.events import Event, Events

_CLIENT_AUTH: Final = {"none": ssl.CERT_NONE, "want": ssl.CERT_OPTIONAL, "need": ssl.CERT_REQUIRED}
_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_TLS13_SUITES: Final = frozenset(("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"))
_SUITE: Final = re.compile(
    r"TLS_(?:RSA|(?P<exchange>(?:EC)?DHE_(?:RSA|ECDSA)))_WITH_"
    r"(?:AES_(?P<aes>128|256)_(?:(?P<gcm>GCM)|CBC)_(?P<mac>SHA[0-9]*)|(?P<chacha>CHACHA20_POLY1305)_SHA256)"
)
_JKS: Final = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")

_Signature = tuple[tuple[int, int, int], ...]


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """What a port that listens needs.

    Raises:
        ConfigError: a file is missing or no use, or there is no such cipher suite.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    _set_ciphers(context, settings)
    _load_key(context, settings)
    context.verify_mode = _CLIENT_AUTH[settings.client_auth]
    if context.verify_mode is not ssl.CERT_NONE:
        _load_trust(context, settings)
    return context


def _load_key(context: ssl.SSLContext, settings: TlsSettings) -> None:
    _require_pem(settings.key_file)
    # Without any password the library would ask at the terminal.
    password = settings.key_password
    if settings.key_password_file:
        password = _read(settings.key_password_file).decode("utf-8", "replace").strip()
    try:
        context.load_cert_chain(settings.key_file, password=password)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{settings.key_file}: cannot be used: {error.reason or error}; it must hold a private key, then its "
            f"certificate and those that lead to a root, and the password must be right"
        ) from None


def _load_trust(context: ssl.SSLContext, settings: TlsSettings) -> None:
    _require_pem(settings.trust_file)
    try:
        context.load_verify_locations(settings.trust_file)
    except ssl.SSLError as error:
        raise ConfigError(f"{settings.trust_file}: cannot be used: {error.reason or error}") from None
    if settings.crl:
        if not context.cert_store_stats()["crl"]:
            raise ConfigError(
                f"{settings.trust_file}: holds no revocation list, which tls.crl asks for; append that of every "
                f"authority to the file, in PEM"
            )
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _require_pem(path: str) -> None:
    data = _read(path)
    if b"-----BEGIN " in data:
        return
    store = path
    first = ""
    if data.startswith(_JKS):
        store = "store.p12"
        first = f"keytool -importkeystore -srckeystore {path} -destkeystore {store} -deststoretype PKCS12 && "
    raise ConfigError(f"{path}: is no PEM file; convert it: {first}openssl pkcs12 -in {store} -out store.pem -nodes")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


# -- Protocols and ciphers ---------------------------------------------------------------------------------------------


def _set_ciphers(context: ssl.SSLContext, settings: TlsSettings) -> None:
    protocols = sorted(settings.protocols)
    suites = set(settings.cipher_suites)
    if suites and not suites & _TLS13_SUITES:
        protocols = [name for name in protocols if name != "TLSv1.3"]
    elif suites and suites <= _TLS13_SUITES:
        protocols = [name for name in protocols if name != "TLSv1.2"]
    if not protocols:
        raise ConfigError("tls.cipher_suites has none for any of tls.protocols; add some, or leave it out")
    if "TLSv1.3" in protocols and suites and not suites >= _TLS13_SUITES:
        # The library cannot be told to use less than these, and more than was asked for must not be used.
        raise ConfigError(f"tls.cipher_suites: name all of {', '.join(sorted(_TLS13_SUITES))}, or none of them")
    context.minimum_version, context.maximum_version = _VERSIONS[protocols[0]], _VERSIONS[protocols[-1]]
    older = [_openssl_name(name) for name in settings.cipher_suites if name not in _TLS13_SUITES]
    if older:
        context.set_ciphers(":".join(older))


def _openssl_name(suite: str) -> str:
    """OpenSSL's name of a cipher suite of TLS 1.2 that Java and the standards call ``suite``.

    Raises:
        ConfigError: it knows no such suite.
    """
    name = ""
    if found := _SUITE.fullmatch(suite):
        aes = found["aes"] and f"AES{found['aes']}"
        name = "-".join(filter(None, (found["exchange"], aes, found["gcm"], found["mac"], found["chacha"])))
        name = name.replace("_", "-")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(name)
    except ssl.SSLError:
        raise ConfigError(
            f"tls.cipher_suites: {suite} is not offered; name one like TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
        ) from None
    return name


# -- Certificates that change ------------------------------------------------------------------------------------------


class CertificatesReloaded(Event, frozen=True, tag="certificates_reloaded"):
    """The files with keys and certificates changed; connections from now on see the new ones."""


class CertificatesKept(Event, frozen=True, tag="certificates_kept"):
    """The files with keys and certificates changed and cannot be used; those read before stay in use."""

    level: ClassVar[str] = "warning"
    reason: str


class Certificates:
    """The context of a server, made anew when one of its files has changed.

    If they cannot be used the one before stays in use until the files change again.

    Raises:
        ConfigError: there is no context to begin with.
    """

    def __init__(self, settings: TlsSettings, events: Events) -> None:
        self.settings = settings
        self._events = events
        self._files = [name for name in (settings.key_file, settings.key_password_file, settings.trust_file) if name]
        self._signature = _signature(self._files)
        self._context = server_context(settings)

    def context(self) -> ssl.SSLContext:
        """The context for the next handshake."""
        if self.settings.reload and (signature := _signature(self._files)) != self._signature:
            self._signature = signature
            try:
                self._context = server_context(self.settings)
            except ConfigError as error:
                self._events.emit(CertificatesKept(reason=str(error)))
            else:
                self._events.emit(CertificatesReloaded())
        return self._context


def _signature(files: Iterable[str]) -> _Signature:
    """What is different when a file was written or replaced; a missing one counts as one more difference."""
    found = []
    for name in files:
        try:
            stat = Path(name).stat()
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
