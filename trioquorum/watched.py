"""A simulation to watch: an ensemble in memory and in real time, with the page and its controls, and a client at work.

Peers are those of ``trioquorum.testing``, on its network and disks: who is killed loses what was not flushed, who is
paused takes no step, and all safety rules are checked. Clients reach them by TCP as well. What the checker remembers
grows with every transaction: this is made for hours.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import trio

from trioquorum.admin import beside, tasks
from trioquorum.admin.controls import Controls
from trioquorum.admin.feed import EnsembleState, PeerProcess
from trioquorum.admin.orders import (
    AnyOrder,
    Heal,
    Kill,
    Partition,
    Pause,
    Restart,
    Resume,
    check_groups,
    parted_from,
)
from trioquorum.admin.settings import AdminSettings, origin_of, settings_of
from trioquorum.client import Client
from trioquorum.clocks import wall_clock_ms
from trioquorum.config import PeerSpec, ServerConfig
from trioquorum.ensemble import LOOPBACK, START_TIMEOUT_S
from trioquorum.errors import Code, ConfigError, ConnectFailed, RequestFailed
from trioquorum.events import Events
from trioquorum.exits import explain, leaves
from trioquorum.invariants import InvariantViolation
from trioquorum.peer.run import Surroundings
from trioquorum.testing.ensemble import MemoryEnsemble, open_ensemble
from trioquorum.testing.network import SimulatedNetwork, new_network
from trioquorum.testing.peer import Life, MemoryPeer
from trioquorum.testing.seeded import schedule
from trioquorum.testing.sim_disk import DiskFaults, SimDisk

DELAY_S: Final = 0.002
"""Between two peers, and up to as much more."""

FLUSH_S: Final = 0.002
POWER_CUTS: Final = DiskFaults(torn_rate=0.5, garbage_rate=0.5, done_rate=0.5, unfinished_rate=0.5, zeros_rate=0.5)
SESSION_TIMEOUT_MS: Final = 4000
WRITTEN: Final = "/written"


class WatchedPeers:
    """The peers of an ensemble in memory to the page's controls; ``say`` is told who ends though nobody asked for it.

    ``failed`` is for ``open_ensemble``, ``ensemble`` what it made, and ``served`` is set once all peers serve. Needs a
    run of ``testing.seeded``.
    """

    def __init__(self, specs: Sequence[PeerSpec], network: SimulatedNetwork, say: Callable[[str], None]) -> None:
        self.changed = trio.Event()
        self.ensemble: MemoryEnsemble
        self.served = False
        self._specs = {spec.id: spec for spec in specs}
        self._network = network
        self._say = say
        self._paused: set[int] = set()
        self._codes: dict[int, int] = {}
        self._groups: list[list[int]] = []
        self._orders = trio.Lock()

    def state(self) -> EnsembleState:
        """The peers as they are."""
        return EnsembleState(peers=[self._told(spec) for spec in self._specs.values()], groups=self._groups)

    def _told(self, spec: PeerSpec) -> PeerProcess:
        running = self.ensemble.peers[spec.id].running
        state = "ended" if not running else "paused" if spec.id in self._paused else "running"
        code = None if running else self._codes.get(spec.id)
        return PeerProcess(id=spec.id, state=state, code=code, admin=spec.admin or "")

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def failed(self, life: Life, error: Exception) -> bool:
        """A peer that stops by itself once all have served may be started again; but not if a rule broke."""
        if not self.served or any(isinstance(leaf, InvariantViolation) for leaf in leaves(error)):
            return False
        code, why = explain(error)
        if life.peer.running:
            life.peer.end()
        self._codes[life.peer.id] = code
        self._say(f"peer {life.peer.id} ended with code {int(code)}: {why}")
        self._tell()
        return True

    # Orders

    async def obey(self, order: AnyOrder) -> None:
        """Carry an order out.

        Raises:
            ConfigError: it makes no sense, or not now.
        """
        async with self._orders:
            await self._obey(order)
            self._tell()

    async def _obey(self, order: AnyOrder) -> None:
        await trio.lowlevel.checkpoint()
        match order:
            case Partition(groups=groups):
                check_groups(groups, self._specs)
                self._part(groups)
            case Heal():
                self._part([])
            case Restart(peer=peer):
                check_groups([[peer]], self._specs)
                await self._restart(peer)
            case Kill(peer=peer):
                self._running(peer)
                await self._kill(peer)
            case Pause(peer=peer):
                schedule().freeze(self._running(peer).node)
                self._paused.add(peer)
            case Resume(peer=peer):
                self._running(peer)
                self._thaw(peer)

    def _running(self, peer: int) -> MemoryPeer:
        check_groups([[peer]], self._specs)
        found = self.ensemble.peers[peer]
        if not found.running:
            raise ConfigError(f"peer {peer} does not run")
        return found

    async def _kill(self, peer: int) -> None:
        self.ensemble.power_off(peer)
        self._codes.pop(peer, None)
        # A machine without power is not paused either: its tasks must take their last steps.
        self._thaw(peer)
        self._tell()
        await self.ensemble.wait_down(peer)

    async def _restart(self, peer: int) -> None:
        if self.ensemble.peers[peer].running:
            await self._kill(peer)
        await self.ensemble.wait_down(peer)
        try:
            await self.ensemble.start(peer)
        finally:
            self._tell()  # The page that ordered it may be gone meanwhile.

    def _thaw(self, peer: int) -> None:
        self._paused.discard(peer)
        schedule().thaw(self.ensemble.peers[peer].node)

    def thaw_all(self) -> None:
        """Let every paused peer go on: without that it never ends."""
        for peer in self._specs:
            self._thaw(peer)

    def _part(self, groups: list[list[int]]) -> None:
        before, self._groups = self._groups, groups
        for peer in self._specs:
            for other in self._specs:
                # What stays parted is not healed for a moment: all that is held back would arrive.
                if peer < other and (was := other in parted_from(peer, before)) != (other in parted_from(peer, groups)):
                    change = self._network.heal if was else self._network.cut
                    change(self.ensemble.peers[peer].node, self.ensemble.peers[other].node)


async def run(
    specs: Sequence[PeerSpec],
    seed: int,
    writes_per_s: float,
    say: Callable[[str], None],
    serving: Callable[[str], None],
    page_port: int = 0,
) -> None:
    """Run an ensemble whose client and admin ports are those of ``specs`` until cancelled, and write to it.

    ``serving`` is called with the page's URL when all peers serve; ``say`` is told what befalls one later. ``seed`` is
    what peers, network and disks draw their chance from. To be run by ``testing.seeded.run_in_real_time``.

    Raises:
        OSError: a port of the page cannot be bound; ``filename`` holds its URL.
        InvariantViolation: a rule of ``testing.safety`` was broken.
    """
    network = new_network()
    peers = WatchedPeers(specs, network, say)
    known = frozenset(origin_of(spec.admin) for spec in specs if spec.admin is not None)
    controls = Controls(AdminSettings(host=LOOPBACK, port=page_port, origins=known), peers)
    async with open_ensemble(
        network, peers=len(specs), seed=seed, disk=lambda peer: disk(peer, seed), failed=peers.failed, start=False
    ) as ensemble:
        peers.ensemble = ensemble
        _delay(ensemble, network, seed)
        async with trio.open_nursery() as nursery:
            url = await nursery.start(controls.port.run, name="the ensemble's page")
            for spec in specs:
                _show(ensemble.peers[spec.id], specs, url)
            try:
                await ensemble.start()
                await ensemble.wait_serving(within_s=START_TIMEOUT_S)
                peers.served = True
                serving(url)
                await write(ensemble, writes_per_s)
            finally:
                peers.thaw_all()


def _delay(ensemble: MemoryEnsemble, network: SimulatedNetwork, seed: int) -> None:
    rng = random.Random(f"network/{seed}")
    nodes = [peer.node for peer in ensemble.peers.values()]
    for number, node in enumerate(nodes):
        for other in nodes[number + 1 :]:
            network.delay(node, other, DELAY_S, jitter_s=DELAY_S, random=rng)


def disk(peer: int, seed: int) -> SimDisk:
    """A peer's first disk: power cuts leave on it what they leave on real ones."""
    return SimDisk(random.Random(f"disk/{seed}/{peer}"), POWER_CUTS, Counter(), flush_latency_s=FLUSH_S)


def _show(peer: MemoryPeer, specs: Sequence[PeerSpec], page: str) -> None:
    """Give a peer its client port and its admin port, whose origins are the others' and ``page``."""
    ports = {spec.id: spec for spec in specs}
    here = peer.config
    known = tuple(
        msgspec.structs.replace(spec, client=ports[spec.id].client, admin=ports[spec.id].admin) for spec in here.peers
    )
    mine = ports[peer.id].client
    addresses = here.client_addresses + (() if mine is None else (mine,))
    peer.config = msgspec.structs.replace(here, peers=known, client_addresses=addresses)
    settings = settings_of(peer.config, origins=(page,))

    async def serve(config: ServerConfig, events: Events, around: Surroundings) -> None:
        tasks.ROOT.set(trio.lowlevel.current_task())
        await beside.serve(config, events, settings, msgspec.structs.replace(around, wall_ms=wall_clock_ms))

    peer.serve = serve


# The client at work


async def write(ensemble: MemoryEnsemble, writes_per_s: float) -> None:
    """Write to one node, to whichever peer answers, until cancelled; what fails is tried again."""
    if not writes_per_s:
        await trio.sleep_forever()
    pause_s = 1 / writes_per_s
    while True:
        try:
            async with ensemble.client(session_timeout_ms=SESSION_TIMEOUT_MS) as client:
                await _write(client, pause_s)
        except ConnectFailed:
            await trio.sleep(pause_s)  # There is no quorum at the moment.


async def _write(client: Client, pause_s: float) -> None:
    """As long as the session lasts."""
    await trio.lowlevel.checkpoint()
    number = 0
    while not client.state.ended:
        number += 1
        try:
            await client.set(WRITTEN, str(number).encode())
        except RequestFailed as error:
            if error.code is Code.NONODE:
                await _create(client)
        await trio.sleep(pause_s)


async def _create(client: Client) -> None:
    try:
        await client.create(WRITTEN)
    except RequestFailed:
        await trio.lowlevel.checkpoint()  # The next write finds out.
