"""A peer with its admin port beside it: the port lives as long as the peer, and cannot end it."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import msgspec
import trio
from trio_websocket import WebSocketConnection

from trioquorum.admin.feed import FEED_PROTOCOL
from trioquorum.admin.http import Answer, Head, json_answer
from trioquorum.admin.hub import Hub
from trioquorum.admin.page import PageTask
from trioquorum.admin.port import AdminPort, Endpoint
from trioquorum.admin.sampling import Sampler
from trioquorum.admin.settings import AdminSettings
from trioquorum.admin.state import PeerState
from trioquorum.config import ServerConfig
from trioquorum.events import Events
from trioquorum.peer.members import Members
from trioquorum.peer.run import Surroundings, serve as serve_peer
from trioquorum.storage.database import Database


class Admin:
    """What the admin port of one peer is made of."""

    def __init__(self, config: ServerConfig, events: Events, settings: AdminSettings, around: Surroundings) -> None:
        self.settings = settings
        self.hub = Hub(settings.limits, around.wall_ms)
        self.state = PeerState(config, trio.current_time, around.wall_ms)
        self.sampler = Sampler(self.hub, self.state, events.subscribe)
        self._config = config
        limits = settings.limits
        self.port = AdminPort(
            settings,
            open_paths={"/peers.json": self._peers},
            paths={},
            endpoints={
                "/feed": Endpoint(
                    subprotocol=FEED_PROTOCOL,
                    converse=self._feed,
                    message_bytes_max=limits.ask_bytes_max,
                    open_max=limits.pages_max,
                )
            },
        )

    async def _feed(self, connection: WebSocketConnection, remote: str) -> None:
        del remote
        await PageTask(connection, self.hub, self.state, self.settings.limits).run()

    async def _peers(self, head: Head) -> Answer:
        await trio.lowlevel.checkpoint()
        del head
        peers = [{"id": member.id, "admin": member.admin} for member in self.state.member_infos()]
        told = {"self": self._config.my_id, "controls": False, "token": bool(self.settings.token), "peers": peers}
        return json_answer(told)


async def serve(
    config: ServerConfig,
    events: Events,
    settings: AdminSettings | None,
    surroundings: Surroundings | None = None,
    *,
    run: Callable[[ServerConfig, Events, Surroundings], Awaitable[object]] = serve_peer,
) -> None:
    """Run one peer, as ``peer.run.serve`` does, with an admin port if there are ``settings`` for one.

    Raises:
        Everything that ``peer.run.serve`` raises.
        OSError: the admin port cannot be bound; ``filename`` holds its URL.
    """
    around = surroundings or Surroundings()
    if settings is None:
        await run(config, events, around)
        return
    admin = Admin(config, events, settings, around)
    with ExitStack() as stack:
        stack.callback(events.subscribe(admin.state.read))
        stack.callback(events.subscribe(admin.hub.read))
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(admin.port.run), name="admin port")
            nursery.start_soon(admin.sampler.run, name="admin samples")
            await run(config, events, _watched(around, admin.state))
            nursery.cancel_scope.cancel(reason="the peer ended")


def _watched(around: Surroundings, state: PeerState) -> Surroundings:
    """The same surroundings, which show the peer's membership and database to ``state`` as well."""

    def on_members(members: Members) -> Any:
        state.members = members
        around.on_members(members)

    def on_database(database: Database) -> Any:
        state.database = database
        around.on_database(database)

    return msgspec.structs.replace(around, on_members=on_members, on_database=on_database)
