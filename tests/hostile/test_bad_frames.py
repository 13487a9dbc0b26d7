"""32 malformed conversations recorded from Java ZooKeeper 3.8.0, replayed: the same codes, the same end closes.

``bad_frames.jsonl``: whether a session was opened first, what was sent then, (xid, error, frame bytes) of each reply,
who closed. Zxids are left out: they depend on who else wrote.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.hostile.kit import PING, REPLY, AsyncRaw, running

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_name("bad_frames.jsonl").read_text().splitlines()
]

DIFFERENCES: dict[str, tuple[list[list[int]], str]] = {
    # Java hands its internal createSession to the pipeline and answers with a second ConnectResponse, which no client
    # can tell from a reply. Nobody sends it: we treat it like every opcode that clients do not have.
    "opcode -10 createSession from a client": ([[1, -6, 20]], "server"),
    # Java lets any client delete a container past all ACLs (it answers -8 only because this znode is protected). We
    # refuse the request itself and keep the connection.
    "deleteContainer (20) from a client": ([[1, -6, 20]], "client"),
}
"""Where we answer otherwise on purpose: replies and who closes."""


async def replies_until_close_or_ping(client: AsyncRaw) -> tuple[list[list[int]], str]:
    """What the server answers, and whether it closes; a ping behind it all tells that it does not."""
    replies = []
    while (payload := await client.frame()) is not None:
        xid, _, err = REPLY.unpack_from(payload)
        replies.append([xid, err, 4 + len(payload)])
        if replies[-1] == [-2, 0, 20]:
            return replies[:-1], "client"
    return replies, "server"


@pytest.mark.parametrize("case", CASES, ids=[case["title"] for case in CASES])
async def test_java_reacts_the_same(case: dict[str, Any]) -> None:
    async with running() as server:
        client = await (server.client() if case["session"] else server.stranger())
        await client.send(bytes.fromhex(case["sent"]))
        expected = DIFFERENCES.get(case["title"], (case["replies"], case["closes"]))
        if case["title"].startswith("length 0x000fffff"):
            with trio.move_on_after(0.1) as patience:
                await client.frame()
            assert patience.cancelled_caught, "the server waits for the rest of a frame that is allowed"
        elif case["title"].startswith("ping"):
            assert await client.reply() == (-2, 0)
        else:
            await trio.testing.wait_all_tasks_blocked(0.005)
            await client.send(PING)
            assert await replies_until_close_or_ping(client) == expected
        await client.stream.aclose()
        healthy = await server.client()
        await healthy.assert_alive()


async def test_a_frame_in_single_bytes_is_whole() -> None:
    """The last recorded conversation, in the segments it was recorded in."""
    case = CASES[-1]
    async with running() as server:
        client = await server.client()
        for byte in bytes.fromhex(case["sent"]):
            await client.send(bytes((byte,)))
            await trio.testing.wait_all_tasks_blocked()
        assert await client.reply() == (1, 0)
        await client.assert_alive()
