"""A peer with its admin port beside it: the port lives as long as the peer, and cannot end it."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial

import msgspec
import trio
from trio_websocket import WebSocketConnection

from trioquorum.admin.commands import Commands, prometheus
from trioquorum.admin.feed import FEED_PROTOCOL
from trioquorum.admin.http import Answer, Head, json_answer
from trioquorum.admin.hub import TRACED, Hub
from trioquorum.admin.inside import PLACE, Inside
from trioquorum.admin.page import PageTask
from trioquorum.admin.port import AdminPort, Endpoint
from trioquorum.admin.sampling import COUNTER_MASK, Sampler
from trioquorum.admin.session import CLIENT_PROTOCOL, serve_session
from trioquorum.admin.settings import AdminSettings
from trioquorum.admin.state import PeerState
from trioquorum.admin.tasks import task_tree
from trioquorum.config import ServerConfig
from trioquorum.events import Event, Events
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
        self.inside = Inside()
        self.commands = Commands(self.inside, settings.limits)
        self._config = config
        limits = settings.limits
        self.port = AdminPort(
            settings,
            open_paths={"/peers.json": self._peers},
            paths={
                "/metrics": self._metrics,
                "/commands": self.commands.command,
                "/commands/": self.commands.command,
                "/commands/tasks": self._tasks,
            },
            endpoints={
                "/feed": Endpoint(
                    subprotocol=FEED_PROTOCOL,
                    converse=self._feed,
                    message_bytes_max=limits.ask_bytes_max,
                    open_max=limits.pages_max,
                ),
                "/client": Endpoint(
                    subprotocol=CLIENT_PROTOCOL,
                    converse=self._session,
                    message_bytes_max=config.limits.client_frame_bytes_max,
                    open_max=limits.sessions_max,
                ),
            },
        )

    def read(self, event: Event) -> None:
        """Take in one event of the peer."""
        if type(event) in TRACED:  # Nearly all are: nothing else is done about them while nobody looks.
            self.hub.read_traced(event)
        else:
            self.state.read(event)
            self.hub.read(event)

    async def _feed(self, connection: WebSocketConnection, remote: str) -> None:
        del remote
        await PageTask(connection, self.hub, self.state, self.settings.limits).run()

    async def _session(self, connection: WebSocketConnection, remote: str) -> None:
        await serve_session(connection, remote, self.inside, self.settings.limits)

    async def _tasks(self, head: Head) -> Answer:
        del head
        await trio.lowlevel.checkpoint()
        limits = self.settings.limits
        tree = task_tree(limits.tasks_max, limits.task_depth_max)
        return json_answer({"peer": self._config.my_id, "tasks": msgspec.to_builtins(tree)})

    async def _metrics(self, head: Head) -> Answer:
        del head
        state, hub = self.state, self.hub
        numbers = {
            "znode_count": state.znodes,
            "global_sessions": state.sessions,
            "watch_count": state.watches(),
            "approximate_data_size": state.data_bytes,
        } | await self.commands.numbers()
        own = {
            "trioquorum_epoch": state.epoch,
            "trioquorum_zxid_counter": state.zxid & COUNTER_MASK,
            "trioquorum_serving": int(state.serving),
            "trioquorum_leader": state.leader,
            f'trioquorum_role{{role="{state.role}"}}': 1,
            "trioquorum_pages": hub.pages,
            "trioquorum_page_frames_dropped": hub.dropped,
            "trioquorum_feed_events": hub.next_seq,
            "trioquorum_admin_failures": self.port.failures,
        }
        return prometheus(numbers, own)

    async def _peers(self, head: Head) -> Answer:
        await trio.lowlevel.checkpoint()
        del head
        peers = [{"id": member.id, "admin": member.admin} for member in self.state.member_infos()]
        told = {"self": self._config.my_id, "controls": False, "token": bool(self.settings.token), "peers": peers}
        return json_answer(told)

    def with_own_client_place(self, config: ServerConfig) -> ServerConfig:
        """The same configuration, but the peer also serves the admin port's own clients."""
        return msgspec.structs.replace(config, client_addresses=(*config.client_addresses, PLACE))

    def watched(self, around: Surroundings) -> Surroundings:
        """The same surroundings, in which the peer's membership and database are shown to this port as well."""

        def on_members(members: Members) -> object:
            self.state.members = members
            return around.on_members(members)

        def on_database(database: Database) -> object:
            self.state.database = database
            return around.on_database(database)

        transports = self.inside.beside(around.transports)
        return msgspec.structs.replace(around, transports=transports, on_members=on_members, on_database=on_database)


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
        stack.callback(events.subscribe(admin.read))
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(admin.port.run), name="admin port")
            nursery.start_soon(admin.sampler.run, name="admin samples")
            await run(admin.with_own_client_place(config), events, admin.watched(around))
            nursery.cancel_scope.cancel(reason="the peer ended")
