"""When a peer ends nothing of it is left, whenever it ends: no task, thread, socket, link or listener."""

import threading  # noqa: TID251  (to see that none is left)
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.kit.processes import free_ports
from tests.sim.kit import assert_all_equal, events_of
from trioquorum.client import connect_tcp
from trioquorum.config import PeerSpec, ServerConfig, standalone
from trioquorum.errors import RequestFailed
from trioquorum.events import Established, Event, Events, PeerStopped, PhaseChanged, StateChanged
from trioquorum.limits import Limits
from trioquorum.peer.run import DATA_FOLDER, serve
from trioquorum.storage.database import Database
from trioquorum.storage.disk import RealDisk
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.testing.settled import on_disk
from trioquorum.transport import Address
from trioquorum_transports.memory import MemoryNetwork

MOMENTS = range(1, 40)
"""Which event of a peer is its last; they are in all phases of a start: looking, discovery, sync, serving."""


def tasks() -> set[trio.lowlevel.Task]:
    """Every task of this run."""
    found: set[trio.lowlevel.Task] = set()
    waiting = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        if task is not None:
            found.add(task)
            waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


def threads() -> set[threading.Thread]:
    """Every thread but the idle ones that Trio keeps for ten seconds."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("Trio")}


def descriptors() -> set[tuple[str, str]]:
    """Every open file and socket."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.add((fd.name, str(fd.readlink())))
        except FileNotFoundError:  # the one this looked with
            continue
    return found


class Remains:
    """What there was before; ``assert_none`` finds what has been added since."""

    def __init__(self) -> None:
        self._tasks = tasks()
        self._threads = threads()
        self._descriptors = descriptors()

    def assert_none(self) -> None:
        assert {task.name for task in tasks() - self._tasks} == set()
        assert threads() - self._threads == set()
        assert descriptors() - self._descriptors == set()


def assert_silent(network: MemoryNetwork) -> None:
    """No link and no listener is left in the network."""
    assert network._listeners == {}
    assert network._wires == {}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_an_ensemble_is_cancelled_at_any_moment(moment: int, autojump_clock: MockClock) -> None:
    remains = Remains()
    network = MemoryNetwork()
    heard: list[Event] = []
    with trio.CancelScope() as scope:
        async with open_ensemble(network, start=False) as ensemble:

            def cancel_at(peer: int, event: Event) -> None:
                heard.append(event)
                if len(heard) == 3 * moment:
                    scope.cancel()

            ensemble.subscribe(cancel_at)
            await ensemble.start()
            leader = await ensemble.wait_serving()
            async with ensemble.client(leader) as client:
                while True:
                    await client.create("/a-", sequence=True)
    assert scope.cancelled_caught
    assert_silent(network)
    remains.assert_none()


@pytest.mark.parametrize("victim", [1, 3])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_peer_is_stopped_at_any_moment_and_comes_back(
    victim: int, moment: int, autojump_clock: MockClock
) -> None:
    await _end_at(victim, moment, power_off=False)


@pytest.mark.parametrize("victim", [1, 3])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_peer_loses_power_at_any_moment_and_comes_back(
    victim: int, moment: int, autojump_clock: MockClock
) -> None:
    await _end_at(victim, moment, power_off=True)


async def _end_at(victim: int, moment: int, *, power_off: bool) -> None:
    """Peer 1 becomes a follower, 3 the leader."""
    remains = Remains()
    network = MemoryNetwork()
    count = 0
    reached = trio.Event()
    async with open_ensemble(network, start=False, flush_latency_s=0.001) as ensemble:

        def end_at(peer: int, event: Event) -> None:
            nonlocal count
            if peer == victim and not reached.is_set():
                count += 1
                if count == moment:
                    reached.set()
                    if power_off:
                        ensemble.power_off(victim)

        ensemble.subscribe(end_at)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ensemble.start)
            nursery.start_soon(_write, ensemble, reached)
            await reached.wait()
            if power_off:
                await ensemble.wait_down(victim)
            else:
                await ensemble.stop(victim)
        await ensemble.start(victim)
        await ensemble.wait_serving()
        await assert_all_equal(ensemble)
    assert_silent(network)
    remains.assert_none()


async def _write(ensemble: MemoryEnsemble, enough: trio.Event) -> None:
    """Go on until ``enough``, so that there are moments in broadcast too."""
    await ensemble.wait_until(lambda: ensemble.leader() is not None or enough.is_set())
    async with ensemble.client(2) as client:
        while not enough.is_set():
            with suppress(RequestFailed):  # The leader is gone.
                await client.create("/a-", sequence=True)


async def test_a_stopped_peer_says_so_last(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork()) as ensemble:
        leader = await ensemble.wait_serving()
        await ensemble.stop(leader)
        assert isinstance([it.event for it in ensemble.trace if it.peer == leader][-1], PeerStopped)
        assert ensemble.peers[leader].state == "down"
        await ensemble.crash()
        assert len(events_of(ensemble, PeerStopped)) == 1, "who loses power says nothing"


async def test_what_was_acknowledged_before_the_stop_is_on_the_disks_of_a_quorum(autojump_clock: MockClock) -> None:
    """Also while more is being written: the peers do not stop in the middle of something that they promised."""
    acked: list[str] = []
    async with open_ensemble(MemoryNetwork(), flush_latency_s=0.005) as ensemble:
        await ensemble.wait_serving()

        async def write(name: str) -> None:
            while ensemble.running():
                with suppress(RequestFailed):  # The ensemble is gone.
                    acked.append(await client.create(f"/{name}-", sequence=True))

        async with ensemble.client() as client, trio.open_nursery() as nursery:
            for name in "abcdefgh":
                nursery.start_soon(write, name)
            await trio.sleep(0.5)
            await ensemble.stop()
        assert len(acked) > 300
        trees = [await on_disk(peer.disk) for peer in ensemble.peers.values()]
        for path in acked:
            assert sum(path in tree.nodes for tree in trees) >= 2, path


# With sockets, files and threads, on the real clock


@pytest.fixture
def remains() -> Iterator[None]:
    """Files are gone when the run is over as well."""
    before = descriptors()
    yield
    assert descriptors() - before == set()


async def test_a_real_server_leaves_nothing_but_its_data(tmp_path: Path, remains: None) -> None:
    before = Remains()
    config = standalone(tmp_path, Address("tcp", "127.0.0.1", 0))
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, config, Events())
        async with connect_tcp(f"{address.host}:{address.port}") as client:
            async with trio.open_nursery() as writers:
                for number in range(200):
                    writers.start_soon(client.create, f"/{number}")
            nursery.cancel_scope.cancel()
    before.assert_none()
    with RealDisk(tmp_path / DATA_FOLDER) as disk:
        db = await Database.load(disk, disk, Limits(), Events(), slow_flush_ms=0)
    assert {f"/{number}" for number in range(200)} <= set(db.tree.nodes)
    before.assert_none()


def lay_out(folder: Path) -> list[ServerConfig]:
    """Three peers over TCP."""
    ports = iter(free_ports(9))

    def address() -> Address:
        return Address("tcp", "127.0.0.1", next(ports))

    specs = tuple(PeerSpec(id=i, quorum=address(), election=address(), client=address()) for i in (1, 2, 3))
    return [
        ServerConfig(
            my_id=spec.id,
            peers=specs,
            client_addresses=(spec.client,) if spec.client else (),
            data_dir=folder / str(spec.id),
            data_log_dir=folder / str(spec.id),
            tick_time_ms=100,
            log_preallocate_bytes=1 << 20,
        )
        for spec in specs
    ]


@pytest.mark.parametrize("last", ["looking", "discovery", "synchronization", "broadcast"])
async def test_a_real_ensemble_leaves_nothing(last: str, tmp_path: Path, remains: None) -> None:
    before = Remains()
    served: set[int] = set()

    def cancel_at(peer: int, event: Event) -> None:
        state = isinstance(event, StateChanged) and event.new
        phase = isinstance(event, PhaseChanged) and event.phase
        if isinstance(event, Established):
            served.add(peer)
        if last in (state, phase) and (last != "broadcast" or len(served) == 2):
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for config in lay_out(tmp_path):
            nursery.start_soon(serve, config, Events(partial(cancel_at, config.my_id)))
    before.assert_none()
    assert (len(served) >= 2) == (last == "broadcast")
