"""The files of the page."""

import hashlib
import re
from pathlib import Path
from typing import Final

import trio

from trioquorum.admin.http import Answer, Head, Refused
from trioquorum.admin.settings import AdminSettings

FOLDER: Final = Path(__file__).parent / "static"
INDEX: Final = "index.html"
NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
"""One part of a path: never hidden, never upwards."""

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
"""What may be asked for; other files are not there."""


def policy(settings: AdminSettings, host: str) -> str:
    """The content policy of the page: its own files, and the admin ports of the ensemble."""
    hosts = sorted({origin.partition("://")[2] for origin in settings.origins} | {host})
    peers = " ".join(f"http://{each} ws://{each}" for each in hosts)
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
        f"connect-src 'self' {peers}; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


async def file_answer(head: Head, settings: AdminSettings) -> Answer:
    """The file that ``head`` asks for.

    Raises:
        Refused: there is none.
    """
    parts = head.path.removeprefix("/").split("/") if head.path != "/" else [INDEX]
    kind = TYPES.get(Path(parts[-1]).suffix)
    if not head.path.startswith("/") or kind is None or not all(NAME.fullmatch(part) for part in parts):
        raise Refused(404, "there is no such page")
    root = trio.Path(FOLDER)
    try:
        file = await (root / Path(*parts)).resolve(strict=True)
        if not file.is_relative_to(await root.resolve()) or not await file.is_file():
            raise Refused(404, "there is no such page")
        if (await file.stat()).st_size > settings.limits.file_bytes_max:
            raise Refused(404, "that file is too large")
        body = await file.read_bytes()
    except OSError:
        raise Refused(404, "there is no such page") from None
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = (
        ("Content-Security-Policy", policy(settings, head.headers.get("host", ""))),
        ("Cache-Control", "no-cache"),
        ("ETag", tag),
    )
    if head.headers.get("if-none-match") == tag:
        return Answer(status=304, type=kind, headers=headers)
    return Answer(body=body, type=kind, headers=headers)
