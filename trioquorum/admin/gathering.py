"""What several peers' feeds say, together: for commands that look at a whole ensemble."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import trio

from trioquorum.admin.explaining import Heard
from trioquorum.admin.feed import AnyFrame, Snapshot, TaskInfo, event_of
from trioquorum.admin.reader import FeedReader, open_feed
from trioquorum.errors import LinkClosed, PeerProtocolError

REDIAL_S: Final = 0.5
"""Pause before a feed that ended is opened again."""

ASK_S: Final = 10.0
"""For one peer's history."""


class Told(msgspec.Struct, kw_only=True):
    """The history of one peer, or why there is none. ``peer`` is -1 while nobody answered."""

    url: str
    peer: int = -1
    heard: list[Heard] = msgspec.field(default_factory=list)
    problem: str | None = None


async def histories(urls: Sequence[str], token: str) -> list[Told]:
    """Ask all of them at once for the events they keep."""
    found = [Told(url=url) for url in urls]
    async with trio.open_nursery() as nursery:
        for told in found:
            nursery.start_soon(_ask, told, token)
    return found


async def _ask(told: Told, token: str) -> None:
    try:
        with trio.fail_after(ASK_S):
            async with open_feed(told.url, token) as feed:
                told.peer = (await _snapshot(feed)).peer
                events, _ = await feed.history()
    except (LinkClosed, PeerProtocolError, trio.TooSlowError) as error:
        told.problem = str(error) or "no answer in time"
    else:
        told.heard = [
            Heard(wall_ms=frame.wall_ms, peer=told.peer, event=event)
            for frame in events
            if (event := event_of(frame.fact)) is not None
        ]
    await trio.lowlevel.checkpoint()


async def _snapshot(feed: FeedReader) -> Snapshot:
    while True:
        for frame in await feed.receive():
            if isinstance(frame, Snapshot):
                return frame


async def follow(url: str, token: str, take: Callable[[str, AnyFrame | str], object]) -> None:
    """Hand every frame of a peer to ``take``, or why there are none at the moment, until cancelled."""
    while True:
        try:
            async with open_feed(url, token) as feed:
                while True:
                    for frame in await feed.receive():
                        take(url, frame)
        except (LinkClosed, PeerProtocolError) as error:
            take(url, str(error))
        await trio.sleep(REDIAL_S)


async def tasks_of(url: str, token: str) -> TaskInfo | str:
    """The nursery tree of a peer, or why it is not known."""
    try:
        with trio.fail_after(ASK_S):
            async with open_feed(url, token) as feed:
                tree = (await _snapshot(feed)).tasks
    except (LinkClosed, PeerProtocolError, trio.TooSlowError) as error:
        await trio.lowlevel.checkpoint()
        return str(error) or "no answer in time"
    return "not known" if tree is None else tree
