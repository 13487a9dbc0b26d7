"""A whole ensemble of real processes: a killed leader's election in the feed, client sessions, the controls."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio_websocket import wrap_client_stream

from tests.admin.hand import WITHIN_S, controls, seen, snapshot_of, state_of
from tests.admin.stream import SessionStream
from trioquorum import ensemble
from trioquorum.admin.feed import (
    AnyFrame,
    AskTrace,
    EventFrame,
    Problem,
    Sample,
    Snapshot,
    event_of,
)
from trioquorum.admin.orders import Heal, Kill, Partition, Pause, Restart, Resume
from trioquorum.admin.reader import open_feed
from trioquorum.client import Client, WatchEvent, connect
from trioquorum.config import PeerSpec
from trioquorum.errors import Code, LinkClosed, RequestFailed
from trioquorum.events import Committed, Elected, Established, Event, Proposed, RoundStarted, VoteChanged, VoteHeard
from trioquorum.wire.records import Acl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@asynccontextmanager
async def running(tmp_path: Path, peers: int = 3) -> AsyncIterator[tuple[tuple[PeerSpec, ...], str]]:
    """The peers of a serving ensemble, and the URL of the page with the controls."""
    specs = ensemble.lay_out(peers, 0)
    urls, served = list[str](), trio.Event()

    def serving(url: str) -> None:
        urls.append(url)
        served.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ensemble.run, specs, tmp_path / "data", "info", print, serving)
        with trio.fail_after(WITHIN_S):
            await served.wait()
        yield specs, urls[0]
        nursery.cancel_scope.cancel()


async def role_of(specs: tuple[PeerSpec, ...], role: str) -> int:
    """Who has this role."""
    with trio.fail_after(WITHIN_S):
        while True:
            for spec in specs:
                try:
                    snapshot = await snapshot_of(str(spec.admin))
                except LinkClosed:
                    continue  # It starts, or is paused.
                if snapshot.role == role and snapshot.serving:
                    return spec.id
            await trio.sleep(0.1)


def events_in(frames: list[EventFrame]) -> list[Event]:
    return [event for frame in frames if (event := event_of(frame.fact)) is not None]


async def test_the_feed_shows_the_election_after_the_leader_was_killed(tmp_path: Path) -> None:
    async with running(tmp_path) as (specs, page), controls(page) as hand:
        leader = await role_of(specs, "leading")
        witness = next(spec for spec in specs if spec.id != leader)
        async with open_feed(str(witness.admin)) as feed:
            first = await seen(feed, lambda frame: isinstance(frame, Snapshot))
            assert isinstance(first, Snapshot)
            assert (first.leader, first.serving, first.epoch) == (leader, True, 1)
            assert [member.id for member in first.members] == [1, 2, 3]
            assert first.tasks is not None
            await hand.order(Kill(peer=leader))
            await hand.until(state_of(leader, "ended"))

            def established(frame: AnyFrame) -> bool:
                return isinstance(frame, EventFrame) and isinstance(event_of(frame.fact), Established)

            again = await seen(feed, established)
            assert isinstance(again, EventFrame)
            await seen(feed, lambda frame: isinstance(frame, Sample))
            frames, samples = await feed.history(first.next_seq)
            events = events_in(frames)
            # It was told in the order in which it happened, and all of it is kept.
            assert [frame.seq for frame in frames] == list(range(first.next_seq, frames[-1].seq + 1))
            assert [frame.mono_us for frame in frames] == sorted(frame.mono_us for frame in frames)
            kinds = [type(event) for event in events]
            assert kinds.index(RoundStarted) < kinds.index(Elected) < kinds.index(Established)
            elected = next(event for event in events if isinstance(event, Elected))
            assert elected.leader != leader
            others = {spec.id for spec in specs} - {leader}
            assert set(elected.voters) == others
            heard = [event for event in events if isinstance(event, VoteHeard)]
            assert any(event.outcome == "counted" and event.sender in others for event in heard)
            mine = [event for event in events if isinstance(event, RoundStarted | VoteChanged)]
            assert mine[-1].leader == elected.leader, "who was elected is who this peer voted for at last"
            assert samples, "a page was open"
        await hand.order(Restart(peer=leader))
        await hand.until(state_of(leader, "running"))
        await role_of(tuple(spec for spec in specs if spec.id == leader), "following")


async def test_a_page_pauses_and_parts_peers(tmp_path: Path) -> None:
    async with running(tmp_path) as (specs, page), controls(page) as hand:
        leader = await role_of(specs, "leading")
        others = tuple(spec for spec in specs if spec.id != leader)
        await hand.order(Partition(groups=[[leader], [spec.id for spec in others]]))
        await hand.until(lambda told: len(told.groups) == 2)
        assert await role_of(others, "leading") != leader
        with trio.fail_after(WITHIN_S):
            while (await snapshot_of(str(specs[leader - 1].admin))).role != "looking":
                await trio.sleep(0.1)
        await hand.order(Heal())
        await hand.until(lambda told: told.groups == [])
        await role_of(tuple(spec for spec in specs if spec.id == leader), "following")
        await hand.order(Pause(peer=leader))
        await hand.until(state_of(leader, "paused"))
        await hand.order(Resume(peer=leader))
        await hand.until(state_of(leader, "running"))
        for order in (Kill(peer=9), Partition(groups=[[1], [1, 2]]), Partition(groups=[[7]])):
            await hand.order(order)
            with trio.fail_after(WITHIN_S):
                assert isinstance(await hand.read(), Problem)


async def test_a_client_session_over_websocket_is_one_like_any_other(tmp_path: Path) -> None:
    async with running(tmp_path) as (specs, _):
        leader = await role_of(specs, "leading")
        follower = next(spec for spec in specs if spec.id != leader)
        async with trio.open_nursery() as nursery, open_feed(str(specs[leader - 1].admin)) as feed:

            async def dial(peer: PeerSpec) -> SessionStream:
                host = str(peer.admin).removeprefix("http://")
                stream = await trio.open_tcp_stream(host.partition(":")[0], int(host.partition(":")[2]))
                protocols = ["trioquorum.client"]
                return SessionStream(
                    stream, await wrap_client_stream(nursery, stream, host, "/client", subprotocols=protocols)
                )

            await feed.ask(AskTrace(on=True))
            async with connect(partial(dial, specs[leader - 1])) as owner, connect(partial(dial, follower)) as guest:
                await play(owner, guest)
            traced: list[Event] = []
            with trio.fail_after(WITHIN_S):
                while not any(isinstance(event, Committed) for event in traced):
                    traced += events_in([frame for frame in await feed.receive() if isinstance(frame, EventFrame)])
            assert any(isinstance(event, Proposed) for event in traced)
            nursery.cancel_scope.cancel()


async def play(owner: Client, guest: Client) -> None:
    """Two clients of two peers; one has something that the other may not see."""
    changed: list[WatchEvent] = []
    digest = "bob:" + "x" * 27 + "="
    await owner.create("/open", b"1")
    await owner.create("/closed", b"secret", acl=[Acl(31, "digest", digest)])
    await owner.create("/mine", b"here", acl=[Acl(31, "ip", "127.0.0.1")])
    await owner.create("/theirs", b"there", acl=[Acl(31, "ip", "192.0.2.1")])
    await guest.sync("/")
    assert sorted(await guest.get_children("/")) == ["closed", "mine", "open", "theirs", "zookeeper"]
    data, _ = await guest.get("/open", watch=changed.append)
    assert data == b"1"
    assert (await guest.get("/mine"))[0] == b"here", "its address is the browser's"
    for path in ("/closed", "/theirs"):
        with pytest.raises(RequestFailed) as refused:
            await guest.get(path)
        assert refused.value.code == Code.NOAUTH
    await owner.set("/open", b"2")
    with trio.fail_after(WITHIN_S):
        while not changed:
            await trio.sleep(0.01)
    assert changed[0].path == "/open"


async def test_commands_tell_of_the_ensemble_in_the_terminal(tmp_path: Path) -> None:
    async with running(tmp_path) as (specs, _):
        leader = await role_of(specs, "leading")
        file = str(tmp_path / "data" / "peers.toml")

        async def command(*words: str, stop_after_s: float = WITHIN_S) -> str:
            program = [sys.executable, "-m", "trioquorum", *words]
            with trio.move_on_after(stop_after_s):
                done = await trio.run_process(program, capture_stdout=True, capture_stderr=True, check=False)
                assert done.returncode == 0, done.stderr.decode()
                return done.stdout.decode()
            return ""

        story = await command("explain", "--peers", file)
        assert f"peer {leader} was elected in round 1" in story
        assert f"peer {leader}: leads in epoch 1, and serves" in story
        assert "looks for a leader: the peer starts" in story
        one = await command("explain", "--brief", "--admin", str(specs[0].admin))
        assert one.count("\n") == 1
        trees = await command("tasks", "--peers", file)
        assert trees.count("LogWriter.run") == 3
        assert await command("watch", "--peers", file, stop_after_s=0.01) == ""
