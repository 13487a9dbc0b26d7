"""A whole ensemble in one Trio process: peers over in-memory links and disks, with faults, in virtual time.

::

    async def test_failover(autojump_clock):
        async with open_ensemble(MemoryNetwork(), peers=3) as ensemble:
            leader = await ensemble.wait_serving()
            async with ensemble.client() as client:
                await client.create("/a")
                await ensemble.crash(leader)
                assert await client.exists("/a")

Under a ``trio.testing.MockClock`` that jumps nothing here waits for real time.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import trio

from trioquorum.client import Client, Observer, State, connect
from trioquorum.config import PeerSpec, ServerConfig, Settings, check
from trioquorum.events import Event
from trioquorum.limits import Limits
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing.network import (
    CLIENT_PORT,
    ELECTION_PORT,
    OBSERVER_MASTER_PORT,
    QUORUM_PORT,
    Network,
    dial_over,
    node_name,
)
from trioquorum.testing.peer import Failed, Life, MemoryPeer
from trioquorum.testing.safety import Safety
from trioquorum.transport import Address

CLIENT_NODE: Final = "client"
TRACE_EVENTS_MAX: Final = 100_000
WAIT_S: Final = 60.0


class Happening(msgspec.Struct, frozen=True):
    """An event, when (Trio's clock) and at which peer."""

    time_s: float
    peer: int
    event: Event


class MemoryEnsemble:
    """Peers by id; made by ``open_ensemble``. Their links are those of ``network``, with whatever faults it is told.

    ``trace`` holds the newest events of all peers. ``safety`` checks every event. A peer that breaks a rule or fails
    ends the block of ``open_ensemble`` with its error. All times are seconds of Trio's clock.
    """

    def __init__(
        self, network: Network, peers: Iterable[MemoryPeer], nursery: trio.Nursery, failed: Failed | None = None
    ) -> None:
        self.network = network
        self.peers = {peer.id: peer for peer in peers}
        self.safety = Safety(self.peers)
        self._ids = {peer.node: peer.id for peer in self.peers.values()}
        self._tap = network.tap
        network.tap = self._left
        self.trace: deque[Happening] = deque(maxlen=TRACE_EVENTS_MAX)
        self._nursery = nursery
        self._failed = failed
        self._readers: list[Callable[[int, Event], None]] = []
        self._changed = trio.lowlevel.ParkingLot()

    # Power

    async def start(self, *ids: int) -> None:
        """Start these peers, all if none is named; returns when each has its data and its client port."""
        lives = [self.peers[peer].begin(self._heard, self._failed) for peer in ids or self.peers]
        for life in lives:
            self._nursery.start_soon(life.run, name=life.peer.node)
        for life in lives:
            await life.started.wait()
        await trio.lowlevel.checkpoint()

    async def stop(self, *ids: int) -> None:
        """Stop these peers in order, all that run if none is named; returns when nothing of them is left."""
        ids = ids or self.running()
        for peer in ids:
            self.peers[peer].end().scope.cancel(reason="the peer is stopped")
        await self.wait_down(*ids)

    def power_off(self, *ids: int, torn_bytes: int = 0) -> None:
        """Cut the power of these peers now, all that run if none is named.

        Their disks keep what was flushed, and ``torn_bytes`` of each append under way; their links break.
        """
        for peer in ids or self.running():
            self.peers[peer].cut_power(torn_bytes)
        self._changed.unpark_all()

    async def crash(self, *ids: int, torn_bytes: int = 0) -> None:
        """``power_off``, and wait until nothing of these peers is left."""
        ids = ids or self.running()
        self.power_off(*ids, torn_bytes=torn_bytes)
        await self.wait_down(*ids)

    async def wait_down(self, *ids: int) -> None:
        """Wait until these peers, which were stopped or lost power, have taken their last steps."""
        for peer in ids:
            await self.peers[peer].life.ended.wait()
        self._changed.unpark_all()
        await trio.lowlevel.checkpoint()

    # What goes on

    def running(self) -> tuple[int, ...]:
        """Peers that were started and neither stopped nor crashed."""
        return tuple(peer.id for peer in self.peers.values() if peer.running)

    def subscribe(self, reader: Callable[[int, Event], None]) -> Callable[[], None]:
        """Hand every event to ``reader``, with the id of its peer, at once; the returned call ends that.

        A reader may call ``power_off``: so a peer crashes at an exact point.
        """
        self._readers.append(reader)
        return lambda: self._readers.remove(reader)

    def leader(self) -> int | None:
        """Who leads the newest epoch and serves; an older leader may not have noticed yet that it was cut off."""
        terms = [term for peer in self.peers.values() if (term := peer.established) and term.role == "leader"]
        return max(terms, key=lambda term: term.epoch).leader if terms else None

    async def wait_until(self, reached: Callable[[], bool], within_s: float = WAIT_S) -> None:
        """Wait until ``reached``, which is asked after every event.

        Raises:
            trio.TooSlowError: it was not in time; the message says what the peers are doing.
        """
        with trio.move_on_after(within_s):
            while not reached():
                await self._changed.park()
            await trio.lowlevel.checkpoint()
            return
        states = ", ".join(f"peer {peer.id} is {peer.state}" for peer in self.peers.values())
        raise trio.TooSlowError(f"not within {within_s:g} s; {states}")

    async def wait_serving(self, *ids: int, within_s: float = WAIT_S) -> int:
        """Wait until these peers, all that run if none is named, serve under one leader, who is one of them.

        Returns the leader.

        Raises:
            trio.TooSlowError: they did not in time.
        """
        await self.wait_until(lambda: self._common_leader(ids) is not None, within_s)
        leader = self._common_leader(ids)
        assert leader is not None
        return leader

    def _common_leader(self, ids: tuple[int, ...]) -> int | None:
        ids = ids or self.running()
        terms = [self.peers[peer].established for peer in ids]
        if not all(terms):
            return None
        known = [term for term in terms if term is not None]
        # An observer that a follower feeds may still name the leader before: it knows its master and the epoch.
        leaders = {term.leader for term in known if term.master in (-1, term.leader)}
        common = leaders.pop() if len(leaders) == 1 and len({term.epoch for term in known}) == 1 else None
        return common if common in ids else None

    def addresses(self, peer: int) -> tuple[Address, ...]:
        """Where ``peer`` listens: for learners, elections, clients."""
        return tuple(_address(peer, port) for port in (QUORUM_PORT, ELECTION_PORT, CLIENT_PORT))

    def tell(self, peer: int, event: Event) -> None:
        """Add something that no peer says to the trace, and tell every reader."""
        self.trace.append(Happening(trio.current_time(), peer, event))
        for reader in tuple(self._readers):
            reader(peer, event)

    def _heard(self, life: Life, event: Event) -> None:
        peer = life.peer
        if peer.running:
            peer.note(event)
            self.safety.check(peer.id, peer.database if peer.loaded else None, event)
        else:
            self.safety.last_steps(peer.id, event)
        self.tell(peer.id, event)
        self._changed.unpark_all()

    def _left(self, nodes: tuple[str, str], port: int, dialler_sends: bool, frame: bytes, link: int) -> None:
        dialler, listener = nodes
        if listener in self._ids:
            ids = self._ids
            self.safety.frame(ids.get(dialler), ids[listener], port, link, frame, dialler_sends=dialler_sends)
        if self._tap is not None:
            self._tap(nodes, port, dialler_sends, frame, link)

    # Faults on the way

    def partition(self, *groups: Iterable[int]) -> None:
        """Cut every way between peers of different groups; who is in no group keeps all links."""
        sides = [[self.peers[peer].node for peer in group] for group in groups]
        for number, side in enumerate(sides):
            for other in sides[number + 1 :]:
                for a in side:
                    for b in other:
                        self.network.cut(a, b)

    def heal(self) -> None:
        """End every cut of the network."""
        self.network.heal_all()

    # Clients

    def client(
        self,
        *ids: int,
        node: str = CLIENT_NODE,
        session_timeout_ms: int = 10_000,
        request_timeout_ms: int | None = None,
        connect_timeout_ms: int = 10_000,
        on_state: Callable[[State], object] | None = None,
        observer: Observer | None = None,
        read_only: bool = False,
    ) -> AbstractAsyncContextManager[Client]:
        """A client of these peers, all if none is named, at ``node`` of the network; otherwise as ``connect``."""
        transport = self.network.transport(node)
        return connect(
            *(dial_over(transport, _address(peer, CLIENT_PORT)) for peer in ids or self.peers),
            session_timeout_ms=session_timeout_ms,
            request_timeout_ms=request_timeout_ms,
            connect_timeout_ms=connect_timeout_ms,
            on_state=on_state,
            observer=observer,
            read_only=read_only,
        )


@asynccontextmanager
async def open_ensemble(
    network: Network,
    *,
    peers: int = 3,
    observers: int = 0,
    observer_masters: Collection[int] = (),
    settings: Settings | None = None,
    limits: Limits | None = None,
    flush_latency_s: float = 0.0,
    seed: int = 0,
    start: bool = True,
    groups: Sequence[int] = (),
    disk: Callable[[int], MemoryDisk] | None = None,
    failed: Failed | None = None,
    joiners: int = 0,
) -> AsyncIterator[MemoryEnsemble]:
    """An ensemble of ``peers`` voters, with ids from 1 on, and ``observers`` behind them.

    All that run at the end of the block are stopped in order. ``flush_latency_s`` is how long disks take; ``seed``
    what the peers draw their chance from. ``observer_masters`` are the voters that feed observers while they follow.
    ``groups`` makes the quorums hierarchical: each voter's group, in order. ``disk`` makes each peer's first disk,
    ``failed`` is asked about every peer that stops by itself. Behind all come ``joiners``: nobody lists them but they
    themselves, and they are not started; see ``server_line``. Beside ``groups`` they are observers, having none.

    Raises:
        ConfigError: settings that contradict each other.
        InvariantViolation: a rule of ``safety`` was broken, whatever else happened because of that.
    """
    specs = tuple(_spec(peer, peers, groups, observer_masters) for peer in range(1, peers + observers + 1))
    listed = dict.fromkeys(specs, specs)
    for peer in range(len(specs) + 1, len(specs) + joiners + 1):
        joiner = _spec(peer, 0 if groups else peer, (), ())
        listed[joiner] = (*specs, joiner)
    configs = [_config(spec, known, settings or Settings(), limits or Limits()) for spec, known in listed.items()]
    ensemble: MemoryEnsemble | None = None
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            make = disk or (lambda _: MemoryDisk(flush_latency_s=flush_latency_s))
            members = [MemoryPeer(config, make(config.my_id), network, seed) for config in configs]
            ensemble = MemoryEnsemble(network, members, nursery, failed)
            try:
                if start:
                    await ensemble.start(*(spec.id for spec in specs))
                yield ensemble
            finally:
                nursery.cancel_scope.cancel(reason="the ensemble is stopped")
    except ExceptionGroup as group:
        # A failed assertion of the block leaves it as itself.
        failure = group if len(group.exceptions) > 1 else group.exceptions[0]
    broken = ensemble.safety.broken if ensemble is not None else None
    if broken is not None and broken is not failure:
        raise broken from failure
    if failure is not None:
        raise failure


def server_line(peer: int, role: str = "participant", ports: Mapping[str, int] = MappingProxyType({})) -> str:
    """What ``Client.reconfig`` takes to add this peer; ``ports`` are ``quorum``, ``election``, ``client`` if others."""
    quorum = _address(peer, ports.get("quorum", QUORUM_PORT))
    election = _address(peer, ports.get("election", ELECTION_PORT))
    return f"server.{peer}={quorum}|{election}:{role};{_address(peer, ports.get('client', CLIENT_PORT))}"


def _address(peer: int, port: int) -> Address:
    return Address("memory", node_name(peer), port)


def _spec(peer: int, voters: int, groups: Sequence[int], masters: Collection[int]) -> PeerSpec:
    observer = peer > voters
    return PeerSpec(
        id=peer,
        quorum=_address(peer, QUORUM_PORT),
        election=_address(peer, ELECTION_PORT),
        client=_address(peer, CLIENT_PORT),
        observer_master=_address(peer, OBSERVER_MASTER_PORT) if peer in masters else None,
        role="observer" if observer else "participant",
        group=groups[peer - 1] if groups and not observer else None,
    )


def _config(spec: PeerSpec, specs: tuple[PeerSpec, ...], settings: Settings, limits: Limits) -> ServerConfig:
    nowhere = Path("memory") / node_name(spec.id)
    config = ServerConfig(
        my_id=spec.id,
        peers=specs,
        client_addresses=(_address(spec.id, CLIENT_PORT),),
        data_dir=nowhere,
        data_log_dir=nowhere,
        limits=limits,
        **msgspec.structs.asdict(settings),
    )
    check(config, "settings")
    return config
