"""The live feed over memory streams: what a page is told, when, and what happens to slow or hostile ones."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import lockstep_stream_pair

from tests.admin.scene import WALL_MS, Scene, closed_with, frames, until
from trioquorum import events as kinds
from trioquorum.admin.feed import (
    EVENT_KINDS,
    AskHistory,
    AskSnapshot,
    AskTasks,
    AskTrace,
    Dropped,
    EventFrame,
    History,
    Problem,
    Snapshot,
    Tasks,
    encode,
    event_of,
    frame_of,
)
from trioquorum.pipeline.audit import Audited

VOTE = kinds.VoteHeard(sender=2, state="looking", round=1, leader=3, zxid=5, peer_epoch=0, outcome="counted")
CREATED = kinds.SessionCreated(session=7, timeout_ms=1000)
COMMITTED = kinds.Committed(zxid=1 << 32 | 1)
LOOKING = kinds.StateChanged(old="starting", new="looking", reason="the peer starts")


def facts(found: Any) -> list[object]:
    return [event_of(frame.fact) for frame in found if isinstance(frame, EventFrame)]


async def test_a_page_is_told_the_state_and_then_what_happens(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        scene.events.emit(LOOKING)
        scene.events.emit(kinds.RoundStarted(round=4, leader=1, zxid=9, peer_epoch=2))
        async with scene.websocket("/feed", "trioquorum.feed") as page:
            (snapshot,) = await frames(page)
            assert isinstance(snapshot, Snapshot)
            assert (snapshot.peer, snapshot.role, snapshot.phase, snapshot.leader) == (1, "looking", "election", -1)
            assert (snapshot.round, snapshot.next_seq, snapshot.wall_ms) == (4, 2, WALL_MS)
            assert [(member.id, member.admin) for member in snapshot.members][2] == (3, "http://127.0.0.1:8083")
            scene.events.emit(VOTE)
            scene.events.emit(kinds.Elected(leader=3, round=4, voters=(2, 3), duration_ms=5))
            told = await frames(page, 2)
            assert facts(told)[0] == VOTE
            assert [frame.seq for frame in told if isinstance(frame, EventFrame)] == [2, 3]
            await page.send_message(encode(AskSnapshot()))
            (snapshot,) = await frames(page)
            assert isinstance(snapshot, Snapshot)
            assert snapshot.leader == 3
        nursery.cancel_scope.cancel()


async def test_elections_are_kept_for_later_and_sessions_only_while_somebody_looks(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        for event in (VOTE, CREATED, COMMITTED):
            scene.events.emit(event)
        async with scene.websocket("/feed", "trioquorum.feed") as page:
            await frames(page)
            scene.events.emit(CREATED)
            scene.events.emit(COMMITTED)
            assert facts(await frames(page)) == [CREATED]
            await page.send_message(encode(AskHistory()))
            (history,) = await frames(page)
            assert isinstance(history, History)
            assert (history.last, history.complete, history.samples) == (True, True, [])
            assert facts(map(frame_of, history.events)) == [VOTE, CREATED]
            await page.send_message(encode(AskHistory()))
            (no,) = await frames(page)
            assert isinstance(no, Problem)
        await until(lambda: scene.admin.hub.pages == 0)
        nursery.cancel_scope.cancel()


async def test_batches_of_transactions_come_to_those_who_ask(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        async with (
            scene.websocket("/feed", "trioquorum.feed") as tracing,
            scene.websocket("/feed", "trioquorum.feed") as other,
        ):
            await frames(tracing)
            await frames(other)
            await tracing.send_message(encode(AskTrace(on=True)))
            await tracing.send_message(encode(AskTasks()))
            (tasks,) = await frames(tracing)
            assert isinstance(tasks, Tasks)
            scene.events.emit(COMMITTED)
            scene.events.emit(VOTE)
            assert facts(await frames(tracing, 2)) == [COMMITTED, VOTE]
            assert facts(await frames(other)) == [VOTE]
            await tracing.send_message(encode(AskTrace(on=False)))
            await tracing.send_message(encode(AskTasks()))
            await frames(tracing)
            scene.events.emit(COMMITTED)
            scene.events.emit(VOTE)
            assert facts(await frames(tracing)) == [VOTE]
        nursery.cancel_scope.cancel()


async def test_only_so_many_pages_are_told_of_batches(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery, tracing_pages_max=1)
        async with (
            scene.websocket("/feed", "trioquorum.feed") as first,
            scene.websocket("/feed", "trioquorum.feed") as second,
        ):
            for page in (first, second):
                await frames(page)
            await first.send_message(encode(AskTrace(on=True)))
            await first.send_message(encode(AskTrace(on=True)))
            await first.send_message(encode(AskTasks()))
            (tasks,) = await frames(first)
            assert isinstance(tasks, Tasks)
            await second.send_message(encode(AskTrace(on=True)))
            (no,) = await frames(second)
            assert isinstance(no, Problem)
            assert no.what == "trace"
            scene.events.emit(COMMITTED)
            scene.events.emit(VOTE)
            assert facts(await frames(first, 2)) == [COMMITTED, VOTE]
            assert facts(await frames(second)) == [VOTE]
            await first.send_message(encode(AskTrace(on=False)))
            await first.send_message(encode(AskTasks()))
            await frames(first)
            await second.send_message(encode(AskTrace(on=True)))
            await second.send_message(encode(AskTasks()))
            await frames(second)
            scene.events.emit(COMMITTED)
            assert facts(await frames(second)) == [COMMITTED]
        nursery.cancel_scope.cancel()


async def test_who_changed_what_is_not_in_the_feed(tmp_path: Path) -> None:
    assert Audited not in EVENT_KINDS
    assert kinds.VoteHeard in EVENT_KINDS
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        async with scene.websocket("/feed", "trioquorum.feed") as page:
            await frames(page)
            scene.events.emit(Audited(line="user=u\toperation=create\tznode=/secret"))
            scene.events.emit(VOTE)
            assert facts(await frames(page)) == [VOTE]
        nursery.cancel_scope.cancel()


async def test_a_slow_page_misses_frames_and_is_told_how_many(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery, page_frames_max=10)
        async with scene.websocket("/feed", "trioquorum.feed") as page:
            await frames(page)
            for _ in range(25):
                scene.events.emit(VOTE)  # Nobody gets a turn to send meanwhile.
            told = await frames(page, 11)
            assert [frame.seq for frame in told if isinstance(frame, EventFrame)] == list(range(10))
            assert told[-1] == Dropped(frames=15, total=15)
            scene.events.emit(VOTE)
            assert [frame.seq for frame in await frames(page) if isinstance(frame, EventFrame)] == [25]
        nursery.cancel_scope.cancel()


async def test_a_page_that_reads_nothing_is_cut(tmp_path: Path, autojump_clock: object) -> None:
    del autojump_clock
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery, send_s=3.0)
        ours, theirs = lockstep_stream_pair()  # What is sent waits until it is read: there is no buffer at all.
        nursery.start_soon(scene.admin.port.serve_stream, theirs)
        await ours.send_all(
            b"GET /feed HTTP/1.1\r\nHost: 127.0.0.1:8081\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: trioquorum.feed\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += await ours.receive_some()
        began = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        assert scene.admin.hub.pages == 1
        while scene.admin.hub.pages:
            scene.events.emit(VOTE)  # The peer goes on as if nothing were.
            await trio.sleep(0.5)
        assert trio.current_time() - began <= 3.5
        assert scene.admin.port.failures == 0, scene.admin.port.last_failure
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("text", 1003),
        (b"", 1007),
        (b"\xc1", 1007),
        (msgspec.msgpack.encode({"ask": "everything"}), 1007),
        (msgspec.msgpack.encode({"ask": "tasks", "more": 1}), 1007),
        (msgspec.msgpack.encode({"ask": "history", "since_seq": "0"}), 1007),
        (b"\x91" * 4000, 1007),
        (b"x" * 5000, 1009),
    ],
    ids=str,
)
async def test_what_is_no_question_ends_the_feed(tmp_path: Path, message: str | bytes, code: int) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        async with scene.websocket("/feed", "trioquorum.feed") as page:
            await frames(page)
            await page.send_message(message)
            assert await closed_with(page) == code
        assert scene.admin.port.failures == 0, scene.admin.port.last_failure
        nursery.cancel_scope.cancel()


async def test_too_many_questions_end_the_feed(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery, asks_per_s_max=3)
        async with scene.websocket("/feed", "trioquorum.feed") as page:
            for _ in range(4):
                await page.send_message(encode(AskTrace(on=True)))
            assert await closed_with(page) == 1008
        nursery.cancel_scope.cancel()
