"""Four-letter words: answers have the form of ZooKeeper's own, and numbers are what happened."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from tests.hostile.kit import AsyncRaw, Server, create, get_data, quorum, request, running
from tests.words.scene import RECORDED, WORDS, answer_file, play, shape
from trioquorum.settings import FOUR_LETTER_WORDS

OURS = {"zk_last_zxid", "zk_frames_refused", "zk_connection_token_deficit", "zk_synced_observers"} | {
    "zk_disk_free_bytes",
    "zk_disk_nearly_full",
    "zk_writes_refused",
}
"""Lines of mntr that ZooKeeper 3.8 does not have, or not there."""

WITHOUT_JVM = ("java.", "os.memory.")


def connector(server: Server) -> Callable[[], Awaitable[AsyncRaw]]:
    return partial(server.stranger, 0)


async def answers(role: str) -> list[str]:
    if role == "standalone":
        async with running() as server:
            return await play(connector(server))
    async with quorum() as around:
        sid = around.leader if role == "leader" else around.followers[0]
        return await play(connector(around.peers[sid]))


@pytest.mark.parametrize("role", ["standalone", "leader", "follower"])
async def test_answers_have_the_form_of_zookeepers(role: str) -> None:
    for index, answer in enumerate(await answers(role)):
        word = WORDS[index]
        expected = answer_file(RECORDED, role, index).read_text()
        found = shape(word, answer)
        if word == "mntr":
            assert set(found.split("\n")) - set(expected.split("\n")) <= OURS
        elif word == "envi":
            theirs = [name for name in expected.split("\n") if not name.startswith(WITHOUT_JVM)]
            assert not set(theirs) - set(found.split("\n"))
        else:
            assert (word, found) == (word, expected)


def test_the_scene_asks_every_word() -> None:
    assert set(WORDS) == FOUR_LETTER_WORDS


def numbers(answer: str) -> dict[str, str]:
    return dict(line.removeprefix("zk_").split("\t") for line in answer.splitlines())


async def test_numbers_are_what_happened() -> None:
    async with running() as server:
        client = await server.client()
        await client.send(create(1, "/a", b"12345") + get_data(2, "/a") + get_data(3, "/a"))
        assert [await client.reply() for _ in range(3)] == [(1, 0), (2, 0), (3, 0)]
        await client.send(get_data(4, "/a"))
        assert await client.reply() == (4, 0)
        told = numbers(await server.word("mntr"))
        assert (told["packets_received"], told["packets_sent"]) == ("6", "5")
        assert (told["cnt_updatelatency"], told["cnt_readlatency"]) == ("1", "3")
        assert (told["proposal_count"], told["commit_count"], told["cnt_fsynctime"]) == ("2", "2", "2")
        assert told["approximate_data_size"] == str(44 + len("/a") + 5)
        assert (told["connection_request_count"], told["connection_revalidate_count"]) == ("1", "0")
        assert told["server_state"] == "standalone"
        assert "peer_state" not in told
        await client.send(request(5, 2, b"\0\0\0\2/a\xff\xff\xff\xff"))
        assert await client.reply() == (5, 0)
        assert await server.figure("approximate_data_size") == 44
        await server.word("srst")
        told = numbers(await server.word("mntr"))
        assert (told["packets_received"], told["cnt_updatelatency"], told["commit_count"]) == ("1", "0", "0")
        assert "recved=6,sent=6" in await server.word("cons")
        await server.word("crst")
        assert "recved=0,sent=0,sid=" in await server.word("cons")


async def test_a_leader_and_its_followers_tell_what_they_are() -> None:
    async with quorum() as around:
        leader = numbers(await around.peers[around.leader].word("mntr"))
        follower = numbers(await around.peers[around.followers[0]].word("mntr"))
    told = ("learners", "synced_followers", "synced_non_voting_followers", "synced_observers", "pending_syncs")
    assert [leader[name] for name in told] == ["2", "2", "0", "0", "0"]
    assert (leader["quorum_size"], follower["quorum_size"]) == ("3", "3")
    assert (leader["looking_count"], leader["cnt_election_time"], leader["cnt_leader_unavailable_time"]) == ("1",) * 3
    assert (follower["cnt_follower_sync_time"], follower["cnt_leader_unavailable_time"]) == ("1", "0")
    assert int(leader["diff_count"]) + int(leader["snap_count"]) == 2
    assert "leader_uptime" in leader
    assert "leader_uptime" not in follower


async def test_digests_are_told_every_128_transactions() -> None:
    async with running() as server:
        client = await server.client()
        await client.send(b"".join(create(xid, f"/n{xid}") for xid in range(1, 300)))
        for _ in range(299):
            await client.reply()
        lines = (await server.word("hash")).splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["80", "100"]
    assert len({int(line.partition(": ")[2]) for line in lines}) == 2


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ([b"ruok"], "imok"),
        ([b"ru", b"ok"], "imok"),
        ([b"r", b"u", b"o", b"k\r\n"], "imok"),
        ([b"ruok\r\n"], "imok"),
        ([b"\xff\xf4\xff\xfd\x06"], ""),
        ([b"\xff\xf4\xff", b"\xfdruok"], ""),
        ([b"stmk"], ""),
        ([b"nope"], ""),
    ],
)
async def test_what_the_first_four_bytes_are(pieces: list[bytes], answer: str) -> None:
    async with running() as server:
        client = await server.stranger()
        for piece in pieces:
            await client.send(piece)
            await trio.sleep(0.01)
        assert (await client.rest()).decode() == answer
