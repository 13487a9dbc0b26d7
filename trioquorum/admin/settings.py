"""Where the admin port listens, who may use it, and its bounds."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trioquorum.config import ServerConfig, read_text
from trioquorum.errors import ConfigError

LOOPBACK: Final = frozenset(("127.0.0.1", "::1", "localhost"))
TOKEN_CHARS: Final = re.compile(r"[A-Za-z0-9._~-]{8,256}")
"""What a token is made of: it travels in headers, and in a name of a subprotocol."""


class AdminLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Every bound of the admin port. Sizes are bytes, times are seconds."""

    connections_max: int = 512
    head_bytes_max: int = 16 << 10  # request line and headers
    head_s: float = 5.0  # from the first byte of a request, or a connection's beginning, to the end of its head
    idle_s: float = 30.0  # between two requests of a connection
    send_s: float = 20.0  # one answer, or one message of the feed: who takes longer is cut
    file_bytes_max: int = 8 << 20

    pages_max: int = 256  # feeds at once
    tracing_pages_max: int = 8  # that are told of every batch of transactions; each costs the peer 20 messages a second
    page_frames_max: int = 2048  # frames that wait for a slow page; further ones are dropped and counted
    page_bytes_max: int = 1 << 20
    message_bytes_max: int = 64 << 10  # frames of the feed go together, up to about so much
    coalesce_s: float = 0.05  # a page is written to no more often
    ask_bytes_max: int = 4096
    asks_per_s_max: int = 20
    history_pause_s: float = 1.0  # between two histories for one page
    goodbye_s: float = 0.5  # for the other end's part of a close

    election_events_max: int = 8192  # events of elections that are kept, however old
    election_bytes_max: int = 2 << 20
    other_events_max: int = 8192
    other_bytes_max: int = 2 << 20
    samples_max: int = 2400
    samples_bytes_max: int = 2 << 20
    kept_s: float = 600.0  # other events and samples

    sample_s: float = 0.25
    pages_per_sample: int = 16  # with more pages than these, samples come less often
    tasks_max: int = 2000
    task_depth_max: int = 64

    sessions_max: int = 64  # client sessions over WebSocket at once
    offer_s: float = 5.0  # for the peer to take one over
    words_s: float = 2.0  # for the peer to answer a command
    words_bytes_max: int = 4 << 20


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, and who is let in.

    ``token`` is a secret that everything but the page's files asks for, empty for none. ``origins`` are the pages of
    other ports that may use this one: ``http://host:port``. ``hosts`` are more names this port is known by.
    """

    host: str
    port: int
    token: str = ""
    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    limits: AdminLimits = AdminLimits()


def settings_of(
    config: ServerConfig, *, url: str | None = None, token: str = "", origins: tuple[str, ...] = ()
) -> AdminSettings | None:
    """The admin port of a peer: at ``url``, else where its file says; ``None`` if nowhere.

    Pages of all peers of the file may use it, and those of ``origins``.

    Raises:
        ConfigError: no such address or token can be.
    """
    me = config.me
    url = url or (None if me is None else me.admin)
    if url is None:
        return None
    if token and not TOKEN_CHARS.fullmatch(token):
        raise ConfigError("the admin token must be 8 to 256 letters, digits or -._~; make another one")
    host, port = _parse(url)
    if host not in LOOPBACK and not token:
        raise ConfigError(
            f"{url}: an admin port that others can reach needs a token; give --admin-token-file, or use 127.0.0.1"
        )
    known = {origin_of(spec.admin) for spec in config.peers if spec.admin is not None}
    return AdminSettings(
        host=host,
        port=port,
        token=token,
        origins=frozenset(known | {origin_of(each) for each in origins}),
        hosts=frozenset({urlsplit(spec).hostname or "" for spec in known} | {host}),
    )


def read_token(file: Path | None) -> str:
    """The token in a file: all of it but the space around; empty without a file.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    if file is None:
        return ""
    token = read_text(file).strip()
    if not token:
        raise ConfigError(f"{file}: holds no token; write one into it")
    return token


def origin_of(url: str) -> str:
    """How a browser names the pages of ``url``.

    Raises:
        ConfigError: it is no http:// address.
    """
    host, port = _parse(url)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}" if port == 80 else f"http://{shown}:{port}"


def _parse(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None or parts.scheme != "http" or parts.path not in ("", "/"):
        raise ConfigError(f"{url!r} is not like http://127.0.0.1:8081")
    return host, port
