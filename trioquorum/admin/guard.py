"""Who is let in: the right name, no foreign page, the token.

A page of somebody else, open in the operator's browser, can send requests here too, and can make its own name lead to
this machine. So the browser's word counts in two places: Host must be a name this port is known by (a number always
is, it cannot be made to lead elsewhere), and Origin, if there is one, the page of a peer.
"""

import hmac
import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from trioquorum.admin.http import Head, Refused
from trioquorum.admin.settings import LOOPBACK, AdminSettings

TOKEN_PREFIX: Final = "token."
HOST_CHARS: Final = re.compile(r"[A-Za-z0-9.:\[\]-]{1,256}")


def check_names(head: Head, settings: AdminSettings) -> None:
    """Host and Origin.

    Raises:
        Refused: one of them is not ours.
    """
    host = head.headers.get("host", "")
    if not _is_ours(host, settings):
        raise Refused(421, "this port is not known by that name")
    origin = head.headers.get("origin")
    if origin is not None and origin not in settings.origins and origin not in (f"http://{host}", f"https://{host}"):
        raise Refused(403, "pages of that origin are not let in")


def check_token(head: Head, settings: AdminSettings) -> None:
    """The token, in ``Authorization: Bearer`` or, for browsers, among the subprotocols of a WebSocket.

    Raises:
        Refused: it is missing or wrong.
    """
    if not settings.token:
        return
    said = [head.headers.get("authorization", "").removeprefix("Bearer ")]
    said += [name.removeprefix(TOKEN_PREFIX) for name in subprotocols(head) if name.startswith(TOKEN_PREFIX)]
    right = settings.token.encode()
    if not any(hmac.compare_digest(each.encode(), right) for each in said):
        raise Refused(401, "a token is needed here")


def subprotocols(head: Head) -> list[str]:
    """What a WebSocket's other end would speak."""
    return [name.strip() for name in head.headers.get("sec-websocket-protocol", "").split(",")]


def _is_ours(host: str, settings: AdminSettings) -> bool:
    if not HOST_CHARS.fullmatch(host):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in settings.hosts or (name == "localhost" and settings.host in LOOPBACK):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
