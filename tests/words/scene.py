"""What clients do before the words are asked, and what of an answer must be the same on every server.

``python -m tests.words.scene FOLDER standalone=PORT leader=PORT follower=PORT`` records the answers of servers that
nobody has used yet; ``recorded/`` holds those of ZooKeeper 3.8.0, made so.
"""

import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from tests.hostile.kit import PING, AsyncRaw, create, exists, get_data, request

RECORDED = Path(__file__).parent / "recorded"
MASK = bytes((0, 0, 0, 0, 0, 0, 0, 178))
WORDS = (
    "ruok",
    "isro",
    "srvr",
    "stat",
    "cons",
    "conf",
    "dump",
    "wchs",
    "wchc",
    "wchp",
    "dirs",
    "gtmk",
    "hash",
    "envi",
) + ("mntr", "crst", "cons", "srst", "srvr", "stmk", "gtmk")
EPHEMERAL = b"\0\0\0\1"
WATCH = b"\1"

Connect = Callable[[], Awaitable[AsyncRaw]]


def answer_file(folder: Path, role: str, index: int) -> Path:
    """Where the answer to the word at ``index`` of ``WORDS`` is kept."""
    return folder / f"{role}-{index:02d}-{WORDS[index]}.txt"


async def play(connect: Connect) -> list[str]:
    """Two clients with data, ephemerals and watches; then every word, each on a connection of its own."""
    one, two = await connect(), await connect()
    await one.handshake()
    await two.handshake()
    for client, xid, sent in (
        (one, 1, create(1, "/a", b"data")),
        (one, 2, create(2, "/e")[:-4] + EPHEMERAL),
        (one, 3, get_data(3, "/a")[:-1] + WATCH),
        (two, 1, create(1, "/e2")[:-4] + EPHEMERAL),
        (two, 2, create(2, "/a/b", b"x" * 300)),
        (two, 3, exists(3, "/none", watch=True)),
        (two, 4, exists(4, "/a")),
        (two, 5, request(5, 8, b"\0\0\0\2/a\0")),
        (one, -2, PING),
        (two, -2, PING),
    ):
        await client.send(sent)
        reply = await client.reply()
        assert reply is not None
        assert reply[0] == xid
    answers = []
    for word in WORDS:
        asker = await connect()
        await asker.send(word.encode() + (MASK if word == "stmk" else b""))
        answers.append((await asker.rest()).decode())
        await asker.stream.aclose()
    return answers


_VARY = (
    (r"(Zookeeper version|zookeeper.version)([:=]) ?\d+\.\d+\.\d+\S*, built on .*", r"\1\2 VERSION"),
    (r"127\.0\.0\.1:\d+\[", "ADDRESS["),
    (r"ip: /127\.0\.0\.1:\d+", "ip: /ADDRESS"),
    (r"(sid=|sessionId: |^|\t)0x[0-9a-f]{8,}", r"\1SESSION"),
    (r"(Latency min/avg/max: )\d+/\d+\.\d+/\d+$", r"\1N/N.N/N"),
    (r"^(Proposal sizes last/min/max: )\d+/\d+/\d+$", r"\1N/N/N"),  # theirs carry digests
    (r"^(Received|Sent): \d\d+", r"\1: N"),
    (r"\b(to|est|lresp|llat|minlat|avglat|maxlat)=\d+", r"\1=N"),
    (r"\t\d+ms$", r"\tNms"),
    (r"^(\w+)=-?\d+$", r"\1=N"),
    (r"(datadir_size|logdir_size): \d+", r"\1: N"),
    (r"^(dataDir|dataLogDir)=/.*/", r"\1=/"),
    (r"^(server\.\d+)=.*?(:participant|:observer).*", r"\1=ADDRESSES\2"),
    (r" Sets \(\d+\)", " Sets (N)"),
    (r"^\d+ expire at \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d UTC \d{4}:", "EXPIRE"),
)
_TOGETHER = ("\t", " /", "SESSION", "EXPIRE", "/")


def shape(word: str, answer: str) -> str:
    """An answer without what differs from run to run: times, addresses, sizes, the order of tables."""
    for pattern, text in _VARY:
        answer = re.sub(pattern, text, answer, flags=re.MULTILINE)
    lines = answer.split("\n")
    if word in ("mntr", "envi"):
        return "\n".join(sorted(re.split(r"\t|=", line)[0] for line in lines))
    if word == "dump":
        lines = [line for line in lines if line != "EXPIRE"]
    if word in ("stat", "cons", "dump", "wchc", "wchp"):
        lines = sorted(lines, key=lambda line: (not line.startswith(_TOGETHER), line))
    return "\n".join(lines)


async def _record(folder: Path, servers: dict[str, int]) -> None:
    for role, port in servers.items():

        async def connect(port: int = port) -> AsyncRaw:
            return AsyncRaw(await trio.open_tcp_stream("127.0.0.1", port))

        for index, answer in enumerate(await play(connect)):
            answer_file(folder, role, index).write_text(shape(WORDS[index], answer))


if __name__ == "__main__":
    pairs = (pair.split("=") for pair in sys.argv[2:])
    trio.run(_record, Path(sys.argv[1]), {role: int(port) for role, port in pairs})
