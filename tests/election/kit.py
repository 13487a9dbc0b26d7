"""Election links and elections of several peers on a memory network."""

import random
from collections.abc import Iterable
from typing import TypeVar

import trio
import trio.testing

from tests.election.world import members
from trioquorum.errors import ConnectFailed
from trioquorum.events import Event, Events, LinkDown, LinkUp
from trioquorum.limits import Limits
from trioquorum.peer.electing import Elections
from trioquorum.peer.links import ElectionMesh
from trioquorum.transport import Address, Link, Listener, Transports
from trioquorum.wire.election import Notification, PeerState
from trioquorum.zab.ballots import Vote
from trioquorum.zab.election import Election
from trioquorum.zab.quorum import QuorumConfig
from trioquorum_transports.memory import MemoryNetwork

E = TypeVar("E", bound=Event)


def address(sid: int) -> Address:
    return Address("memory", f"p{sid}")


def note(leader: int, round_: int = 1, state: PeerState = PeerState.LOOKING) -> Notification:
    return Notification(state=state, leader=leader, zxid=0, round=round_, peer_epoch=0)


class Unreachable:
    """A transport that notes when it was asked to dial, and refuses or never gets through."""

    def __init__(self, dials: list[float], *, hangs: bool = False) -> None:
        self._dials = dials
        self._hangs = hangs

    async def listen(self, address: Address, *, frame_bytes_max: int) -> Listener:
        raise AssertionError("nobody listens here")

    async def connect(self, address: Address, *, frame_bytes_max: int) -> Link:
        self._dials.append(trio.current_time())
        if self._hangs:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        raise ConnectFailed("refused")


class Net:
    """A network and the meshes that run in it; ``events`` are those of one peer."""

    def __init__(self, sids: Iterable[int], limits: Limits | None = None, *, guests: bool = False) -> None:
        self.guests = guests
        self.network = MemoryNetwork()
        self.sids = list(sids)
        self.limits = limits or Limits()
        self.events: dict[int, list[Event]] = {sid: [] for sid in self.sids}
        self.meshes: dict[int, ElectionMesh] = {}
        self.scopes: dict[int, trio.CancelScope] = {}
        self.nursery: trio.Nursery

    def transports(self, sid: int) -> Transports:
        return Transports(memory=self.network.transport(f"p{sid}"))

    def mesh(self, sid: int) -> ElectionMesh:
        return ElectionMesh(
            sid,
            {other: address(other) for other in self.sids},
            address(sid),
            self.transports(sid),
            self.limits,
            Events(self.events[sid].append),
            5000,
            random.Random(sid),
            guests=self.guests,
        )

    async def start(self, nursery: trio.Nursery, *sids: int) -> None:
        for sid in sids:
            self.meshes[sid] = self.mesh(sid)
            await nursery.start(self._run, sid)

    async def _run(self, sid: int, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as self.scopes[sid]:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.meshes[sid].run)
                task_status.started()

    async def stop(self, sid: int) -> None:
        """The peer dies: its links break, its tasks end."""
        self.network.node_down(f"p{sid}")
        self.scopes[sid].cancel()
        await trio.testing.wait_all_tasks_blocked()

    def seen(self, sid: int, kind: type[E]) -> list[E]:
        return [event for event in self.events[sid] if isinstance(event, kind)]

    def linked(self, sid: int) -> set[int]:
        """Whom ``sid`` has a link to, by its own account."""
        up: set[int] = set()
        for event in self.events[sid]:
            if isinstance(event, LinkUp):
                up.add(event.peer)
            elif isinstance(event, LinkDown):
                up.discard(event.peer)
        return up


class Ensemble(Net):
    """A ``Net`` whose peers elect, but have no roles: they just stay what they were elected to be."""

    def __init__(self, voters: Iterable[int], observers: Iterable[int] = ()) -> None:
        self.config = QuorumConfig(members(voters, observers))
        super().__init__(self.config.members)
        self.elections: dict[int, Elections] = {}
        self.zxids = dict.fromkeys(self.sids, 0)
        self.results: dict[int, tuple[PeerState, Vote]] = {}
        self.elected_at: dict[int, float] = {}
        self._again: dict[int, trio.MemorySendChannel[None]] = {}

    async def _run(self, sid: int, *, task_status: trio.TaskStatus[None]) -> None:
        machine = Election(sid, self.config)
        self.elections[sid] = elections = Elections(machine, self.meshes[sid], Events(self.events[sid].append))
        self._again[sid], again = trio.open_memory_channel[None](1)
        with trio.CancelScope() as self.scopes[sid]:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.meshes[sid].run)
                await nursery.start(elections.run)
                task_status.started()
                while True:
                    self.results[sid] = await elections.look(zxid=self.zxids[sid], peer_epoch=0)
                    self.elected_at[sid] = trio.current_time()
                    await again.receive()

    def look(self, *sids: int) -> None:
        """The roles of these peers ended: they look again."""
        for sid in sids:
            del self.results[sid], self.elected_at[sid]
            self._again[sid].send_nowait(None)

    async def stop(self, sid: int) -> None:
        await super().stop(sid)
        self.results.pop(sid, None)
        self.elected_at.pop(sid, None)

    def leaders(self) -> dict[int, int]:
        """Whom each peer that is not looking takes for the leader; checks that its state fits."""
        for sid, (state, vote) in self.results.items():
            assert (state is PeerState.LEADING) == (vote.leader == sid)
        return {sid: vote.leader for sid, (_, vote) in sorted(self.results.items())}
