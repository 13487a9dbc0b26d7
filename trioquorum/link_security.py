"""How peers that speak WebSocket to each other know each other: a token that all of them have, or certificates."""

import ssl
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import msgspec

from trioquorum.errors import ConfigError
from trioquorum.transport import ENTRY_POINT_GROUP, Transports

SCHEMES: Final = ("ws", "wss")
EITHER_SCHEME: Final = "tcp+ws"
"""Its WebSocket side is as safe as ``ws``; made of that transport."""


class LinkSecurity(msgspec.Struct, frozen=True, kw_only=True):
    """``token`` is a secret of the ensemble, empty for none.

    ``certificate`` and ``key`` are this peer's own, in PEM; both may be in one file. With ``authority``, a file of
    certificates, only peers whose certificates it signed are let in or taken for peers; without it the system's
    authorities are asked about those this peer dials, and callers need no certificate.
    """

    token: str = ""
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None


def transports_of(security: LinkSecurity) -> Transports:
    """The installed transports, of which WebSocket's are told of ``security``.

    Raises:
        ConfigError: a file cannot be used, or the options do not go together.
    """
    if security == LinkSecurity():
        return Transports()
    if security.key is not None and security.certificate is None:
        raise ConfigError(f"{security.key}: a key needs its certificate; give that too")
    server_tls, client_tls = _server_tls(security), _client_tls(security)
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name in SCHEMES}
    given: dict[str, Any] = {
        name: point.load()(token=security.token, server_tls=server_tls, client_tls=client_tls)
        for name, point in found.items()
    }
    either = next(iter(entry_points(group=ENTRY_POINT_GROUP, name=EITHER_SCHEME)), None)
    if either is not None and "ws" in given:
        given[EITHER_SCHEME] = either.load()(given["ws"])
    return Transports(**given)


def _server_tls(security: LinkSecurity) -> ssl.SSLContext | None:
    if security.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_own(context, security)
    if security.authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authority(context, security.authority)
    return context


def _client_tls(security: LinkSecurity) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if security.authority is not None:
        # Only this one counts, not the system's as well.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_authority(context, security.authority)
    if security.certificate is not None:
        _load_own(context, security)
    return context


def _load_own(context: ssl.SSLContext, security: LinkSecurity) -> None:
    assert security.certificate is not None
    try:
        context.load_cert_chain(security.certificate, security.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{security.certificate}: certificate or key cannot be used: {error}") from None


def _load_authority(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{file}: no certificates to check others by: {error}") from None
