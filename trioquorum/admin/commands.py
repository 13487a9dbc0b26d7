"""What ZooKeeper's admin server answers at ``/commands``: four-letter words as JSON, and metrics for Prometheus.

The words are asked at the peer's own client handling, so its list of allowed words holds here too.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

import trio

from trioquorum.admin.http import Answer, Head, Refused, json_answer
from trioquorum.admin.inside import Inside
from trioquorum.admin.settings import AdminLimits
from trioquorum.errors import LinkClosed

WORDS: Final[Mapping[str, str]] = {
    "ruok": "ruok",
    "stat": "stat",
    "stats": "stat",
    "srvr": "srvr",
    "server_stats": "srvr",
    "conf": "conf",
    "config": "conf",
    "configuration": "conf",
    "cons": "cons",
    "connections": "cons",
    "mntr": "mntr",
    "monitor": "mntr",
    "dirs": "dirs",
    "dump": "dump",
    "envi": "envi",
    "environment": "envi",
    "hash": "hash",
    "isro": "isro",
    "is_read_only": "isro",
    "wchs": "wchs",
    "watch_summary": "wchs",
}
"""Names of commands, ZooKeeper's long ones too, and the word that answers; none that changes anything."""

NOT_ALLOWED: Final = "is not executed because it is not in the whitelist"
NOT_SERVING: Final = "not currently serving"
NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
SUMMARY: Final = re.compile(r"(avg|min|max|cnt|sum)_(.+)")
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class WordLink:
    """``Link`` of somebody who asks one four-letter word and reads the answer to its end."""

    remote: Final = "admin://word"

    def __init__(self, word: str, answer_bytes_max: int) -> None:
        self.answer = b""
        self.closed = trio.Event()
        self._word: bytes | None = word.encode()
        self._answer_bytes_max = answer_bytes_max

    async def receive(self) -> bytes:
        """The word, once; then nothing until the answer is there."""
        await trio.lowlevel.checkpoint()
        word, self._word = self._word, None
        if word is None:
            await self.closed.wait()
            raise LinkClosed("the answer is there")
        return word

    async def send(self, frame: bytes) -> None:
        """Take a piece of the answer.

        Raises:
            LinkClosed: it is larger than anybody wants.
        """
        await trio.lowlevel.checkpoint()
        if len(self.answer) + len(frame) > self._answer_bytes_max:
            raise LinkClosed("the answer is too large")
        self.answer += frame

    async def aclose(self) -> None:
        """The answer is whole."""
        self.closed.set()
        await trio.lowlevel.checkpoint()


class Commands:
    """Asks the peer."""

    def __init__(self, inside: Inside, limits: AdminLimits) -> None:
        self._inside = inside
        self._limits = limits

    async def ask(self, word: str) -> str:
        """The peer's answer to a four-letter word.

        Raises:
            Refused: it does not answer.
        """
        link = WordLink(word, self._limits.words_bytes_max)
        with trio.move_on_after(self._limits.words_s):
            try:
                await self._inside.offer(link, self._limits.words_s)
            except LinkClosed as error:
                raise Refused(503, str(error)) from None
            await link.closed.wait()
            return link.answer.decode(errors="replace")
        raise Refused(504, "the peer does not answer in time")

    async def command(self, head: Head) -> Answer:
        """``/commands/NAME``, and the list of all of them."""
        name = head.path.removeprefix("/commands").removeprefix("/")
        if not name:
            await trio.lowlevel.checkpoint()
            return json_answer({"commands": sorted(WORDS)})
        word = WORDS.get(name)
        if word is None:
            raise Refused(404, "there is no such command")
        said = await self.ask(word)
        error = said.strip() if NOT_ALLOWED in said or NOT_SERVING in said else None
        told: dict[str, object] = {"command": name, "error": error}
        return json_answer(told if error else {**_told(word, said), **told}, 200 if error is None else 503)

    async def numbers(self) -> dict[str, object]:
        """What ``mntr`` says, by ZooKeeper's names without zk_; nothing when the peer does not serve or may not say."""
        try:
            return _told("mntr", await self.ask("mntr"))
        except Refused:
            await trio.lowlevel.checkpoint()
            return {}


def _told(word: str, said: str) -> dict[str, object]:
    """An answer as JSON: pairs where it consists of them, else its lines."""
    if word == "mntr":
        pairs = (line.split("\t", 1) for line in said.splitlines() if "\t" in line)
        return {name.removeprefix("zk_"): _value(value) for name, value in pairs}
    if word in ("conf", "envi"):
        settings, _, members = said.partition("membership: \n")
        found = dict(line.split("=", 1) for line in settings.splitlines() if "=" in line)
        return {name: _value(value) for name, value in found.items()} | (
            {"membership": members.splitlines()} if members else {}
        )
    if word in ("srvr", "dirs"):
        lines = (line.partition(": ") for line in said.splitlines())
        return {name: _value(value) for name, colon, value in lines if colon}
    return {"answer": said.splitlines()}


def _value(text: str) -> object:
    return json.loads(text) if NUMBER.fullmatch(text) and not re.match(r"-?0\d", text) else text


def prometheus(numbers: Mapping[str, object], own: Mapping[str, float]) -> Answer:
    """Metrics as Prometheus reads them: ``numbers`` under ZooKeeper's names, ``own`` as they are.

    Summaries have their count and sum as Prometheus names them; mean and bounds are gauges.
    """
    lines: list[str] = []
    summaries: dict[str, dict[str, object]] = {}
    for name, value in numbers.items():
        parts = SUMMARY.fullmatch(name)
        if parts and f"cnt_{parts[2]}" in numbers:
            summaries.setdefault(parts[2], {})[parts[1]] = value
        elif isinstance(value, int | float):
            lines += [f"# TYPE {name} gauge", f"{name} {value}"]
    for name, found in summaries.items():
        lines += [f"# TYPE {name} summary", f"{name}_count {found['cnt']}", f"{name}_sum {found.get('sum', 0)}"]
        for part in ("avg", "min", "max"):
            if part in found:
                lines += [f"# TYPE {name}_{part} gauge", f"{name}_{part} {found[part]}"]
    for name, value in own.items():
        lines += [f"# TYPE {name.partition('{')[0]} gauge", f"{name} {value}"]
    headers = (("Cache-Control", "no-store"),)
    return Answer(body="\n".join(lines).encode() + b"\n", type=METRICS_TYPE, headers=headers)
