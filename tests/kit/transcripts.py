"""Transcripts of foreign clients, with what differs from run to run taken out.

Ports of the ensemble get names (``<client1>``), sessions and zxids are told relative to the first one seen, and times
of day become ``<time>``.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_TIME: Final = re.compile(r"\b[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}\b")
_ZXID: Final = re.compile(r"(?<=Zxid = )0x([0-9a-f]+)|(?<=zxid=)0x([0-9a-f]+)")
_OWNER: Final = re.compile(r"(?<=ephemeralOwner = )0x([0-9a-f]+)|(?<=session=)0x([0-9a-f]+)")
_VERSION: Final = re.compile(r"(?<=^version=)([0-9a-f]+)|^([0-9a-f]+)(?= 127)")
_BUILD: Final = re.compile(r"(?<=CLI version: ).*")
_COUNTER: Final = 0xFFFFFFFF
_SERVER_BITS: Final = 56


class Normal:
    """Takes ids, times and ports out of one transcript; remembers what it saw."""

    def __init__(self, names: Mapping[str, int]) -> None:
        self._names = {str(port): f"<{name}>" for name, port in names.items()}
        self._ports = re.compile(r"(?<![0-9a-zA-Z.])(" + "|".join(self._names) + r")(?![0-9a-zA-Z.])")
        self._first_zxid: int | None = None
        self._sessions: dict[str, str] = {}

    def fill(self, line: str) -> str:
        """The other way for commands: names of ports become ports."""
        for port, name in self._names.items():
            line = line.replace(name, port)
        return line

    def __call__(self, line: str) -> str:
        line = self._ports.sub(lambda found: self._names[found[1]], line)
        line = _TIME.sub("<time>", line)
        line = _ZXID.sub(lambda found: self._zxid(int(found[1] or found[2], 16)), line)
        line = _VERSION.sub(lambda found: self._zxid(int(found[1] or found[2], 16)), line)
        line = _BUILD.sub("<build>", line)
        return _OWNER.sub(lambda found: self._owner(found[1] or found[2]), line)

    def _zxid(self, zxid: int) -> str:
        if zxid & _COUNTER == 0:
            return "<start>" if zxid else "0x0"
        if self._first_zxid is None:
            self._first_zxid = zxid
        return f"<zxid{zxid - self._first_zxid:+d}>"

    def _owner(self, owner: str) -> str:
        """Containers and TTL nodes have marks of their own in the first byte, which stay."""
        if int(owner, 16) >> _SERVER_BITS in (0x00, 0x80, 0xFF):
            return f"0x{owner}"
        return self._sessions.setdefault(owner, f"<session{len(self._sessions) + 1}>")


def read_blocks(file: Path, prompt: str) -> list[tuple[str, list[str]]]:
    """Commands with the lines that followed them; comments (``#``) and blank lines before the first are skipped."""
    blocks: list[tuple[str, list[str]]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith(prompt):
            blocks.append((line.removeprefix(prompt), []))
        elif blocks:
            blocks[-1][1].append(line)
    return blocks
