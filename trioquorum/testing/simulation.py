"""One simulated run: a plan's ensemble, clients and faults in virtual time, every checker on.

Two phases. Under faults nothing wrong may happen (**safety**). Then every fault is taken back, and within a bound all
peers must serve under one leader and every call must end (**liveness**). What clients saw is then held against what
the servers committed, the peers' trees and disks against each other, and nothing may be left running.
"""

import gc
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Final

import msgspec
import trio

from trioquorum.client import Client
from trioquorum.config import Settings
from trioquorum.events import Established, Event
from trioquorum.invariants import InvariantViolation, invariant
from trioquorum.limits import Limits
from trioquorum.testing import seeded
from trioquorum.testing.checkers import check_history, trees
from trioquorum.testing.ensemble import MemoryEnsemble, open_ensemble, server_line
from trioquorum.testing.history import History
from trioquorum.testing.nemesis import Nemesis
from trioquorum.testing.network import new_network
from trioquorum.testing.oracle import RightOracle
from trioquorum.testing.plan import Plan
from trioquorum.testing.safety.sight import COUNTER_MASK
from trioquorum.testing.settled import settled_tree
from trioquorum.testing.sim_disk import DiskFaults, SimDisk
from trioquorum.testing.strikes import STRIKES
from trioquorum.testing.trace import Tell, Trace
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads import ALL_WORKLOADS, Workload, storm
from trioquorum.transport import Address
from trioquorum.wire.txn import decode_txn

SERVING_WITHIN_S: Final = 180.0
"""Virtual time from the end of all faults to an ensemble whose every peer serves."""

ENDING_WITHIN_S: Final = 120.0
"""Virtual time in which every call of a client ends once it makes no new ones."""

SILENT_S_MAX: Final = 60.0
"""Virtual time in which a session ends whose client is gone: its timeout, and a tick or two."""

CALM_S: Final = 5.0
"""How long clients go on when all is well again."""


class Failure(msgspec.Struct, frozen=True):
    """What broke, in which phase, with the facts that contradict each other."""

    phase: str
    what: str


class Report(msgspec.Struct, kw_only=True):
    """How a run went. Times are virtual seconds; ``counts`` are faults by kind, calls and outcomes."""

    plan: Plan
    failure: Failure | None = None
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    elections: int = 0
    transactions: int = 0
    calls: int = 0
    virtual_s: float = 0.0
    healed_s: float = 0.0
    steps: int = 0
    digest: str = ""
    tail: list[str] = msgspec.field(default_factory=list)


def simulate(plan: Plan, *, tell: Tell | None = None, hashed: bool = False) -> Report:
    """Carry ``plan`` out. ``tell`` is handed every line of the trace; ``hashed`` asks for its digest."""
    run = Run(plan, Trace(tell, hashed=hashed))
    collects = gc.isenabled()
    gc.disable()  # A run makes little that only it can find, and looking took a tenth of the time.
    try:
        seeded.run(plan.seed, run.main)
    except (Exception, BaseExceptionGroup) as error:
        if not isinstance(error, Exception):
            raise
        run.report.failure = Failure(run.phase, _explain(error))
        run.report.tail = run.trace.tail
    finally:
        if collects:
            gc.enable()
    run.report.digest = run.trace.digest
    return run.report


class SimScene:
    """What a workload is given of the run; see ``workloads.scene.Scene`` and ``workloads.storm.StormScene``."""

    def __init__(self, name: str, run: "Run", ensemble: MemoryEnsemble) -> None:
        self.rng = random.Random(f"workload/{run.plan.seed}/{name}")
        self.history = run.history
        self.pause_s = run.plan.pause_s
        self.everybody = tuple(ensemble.peers)
        self._run = run
        self._ensemble = ensemble

    @property
    def over(self) -> bool:
        """Whether the run winds down."""
        return self._run.over

    def client(
        self, name: str, *, session_timeout_ms: int = 10_000, read_only: bool = False
    ) -> AbstractAsyncContextManager[Client]:
        """A session of a client called ``name``, which comes from a node of the same name."""
        node = f"client-{name}"
        self._run.join(node)
        order = list(self._ensemble.peers)
        self.rng.shuffle(order)
        return self._ensemble.client(
            *order,
            node=node,
            session_timeout_ms=session_timeout_ms,
            observer=self.history.session(name),
            read_only=read_only,
        )

    def disconnect(self, name: str) -> None:
        """Break every connection of this client."""
        for peer in self._ensemble.peers.values():
            self._run.network.break_links(f"client-{name}", peer.node)

    def isolate(self, name: str) -> None:
        """Let nothing of this client through, until ``rejoin``."""
        for peer in self._ensemble.peers.values():
            self._run.network.cut(f"client-{name}", peer.node)

    def rejoin(self, name: str) -> None:
        """End ``isolate``."""
        for peer in self._ensemble.peers.values():
            self._run.network.heal(f"client-{name}", peer.node)

    # Membership

    @property
    def begun(self) -> tuple[int, ...]:
        """Every peer that was ever started."""
        return tuple(self._run.nemesis.begun())

    @property
    def calm(self) -> bool:
        """Whether all faults are over."""
        return self._run.calm

    def leader(self) -> int | None:
        """Who leads the newest epoch."""
        return self._ensemble.leader()

    def line(self, peer: int, role: storm.Role | None = None, ports: Mapping[str, int] = MappingProxyType({})) -> str:
        """The server line of ``peer``. A member stays at its address but for one that moves by ``ports``, or when all
        is calm and everybody goes back, and then only while all know of each other: who is away meanwhile must find
        those it knew where they were."""
        me = self._ensemble.peers[peer].config.me
        assert me is not None
        newest = max((other.configs[0] for other in self._ensemble.peers.values()), key=lambda config: config.version)
        member = newest.members.get(peer)
        if member is not None and not (self._together(newest.version) and (ports or self.calm)):
            addresses = {"quorum": member.quorum, "election": member.election}
            ports = {name: Address.parse(address).port for name, address in addresses.items()}
        return server_line(peer, role or me.role, ports)

    def _together(self, version: int) -> bool:
        """Whether every peer that was ever started runs and knows the membership of this version."""
        peers = [self._ensemble.peers[peer] for peer in self.begun]
        frozen = self._run.nemesis.frozen
        return all(peer.running and peer.id not in frozen and peer.configs[0].version == version for peer in peers)

    async def start(self, peer: int) -> None:
        """Start a peer that is down."""
        await self._run.nemesis.revive(peer, 0.0)

    async def stop(self, peer: int) -> None:
        """Stop a peer that runs."""
        await trio.lowlevel.checkpoint()
        if self._ensemble.peers[peer].running and peer not in self._run.nemesis.frozen:
            await self._ensemble.stop(peer)


class Run:
    """One run and its report."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self.plan = plan
        self.trace = trace
        self.report = Report(plan=plan)
        self.phase = "start"
        self.calm = False
        self.over = False
        self.history: History
        self._members = range(1, plan.peers + plan.observers + 1)
        self._joiners = plan.joiners if plan.stormy else 0
        peers = range(1, len(self._members) + self._joiners + 1)
        self._faults = {peer: msgspec.convert(plan.disk_rates, DiskFaults) for peer in peers}
        self.network = new_network()
        self.nemesis = Nemesis(plan, self._faults, self.report.counts, self._disk, self.network, STRIKES)
        self._archive: dict[int, bytes] = {}

    async def main(self) -> None:
        """All of it.

        Raises:
            Exception: whatever broke.
        """
        self.history = History()
        try:
            async with self._ensemble() as ensemble:
                await self._live(ensemble)
        finally:
            self.report.virtual_s = trio.current_time()
            self.report.steps = seeded.schedule().steps
            self.report.calls = self.history.calls
        self.phase = "shutdown"
        self._check_nothing_is_left()

    @asynccontextmanager
    async def _ensemble(self) -> AsyncIterator[MemoryEnsemble]:
        plan = self.plan
        told = dict(plan.settings)
        if plan.stormy:
            # Of two voters that are others tomorrow an oracle knows nothing.
            told = {name: value for name, value in told.items() if name != "oracle_path"} | dict(storm.SETTINGS)
        settings = msgspec.convert(told, Settings)
        async with open_ensemble(
            self.network,
            peers=plan.peers,
            observers=plan.observers,
            observer_masters=self._masters(),
            groups=plan.groups,
            joiners=self._joiners,
            settings=settings,
            limits=msgspec.convert(plan.limits, Limits),
            seed=plan.seed,
            disk=self._disk,
            failed=self.nemesis.failed,
            start=False,
        ) as ensemble:
            ensemble.subscribe(self._heard)
            if settings.oracle_path:
                RightOracle(ensemble.peers[1], ensemble.peers[2], self.nemesis.frozen)
            nodes = [peer.node for peer in ensemble.peers.values()]
            for a in nodes:
                for b in nodes:
                    if a < b:
                        self.network.delay(a, b, plan.delay_s)
            await ensemble.start(*self._members)
            yield ensemble

    def _masters(self) -> tuple[int, ...]:
        """Where every voter is a master, observers take whoever joins for one too."""
        joiners = range(len(self._members) + 1, len(self._members) + self._joiners + 1)
        return (*self.plan.masters, *(joiners if len(self.plan.masters) == self.plan.peers else ()))

    def _disk(self, peer: int) -> SimDisk:
        rng = random.Random(f"disk/{self.plan.seed}/{peer}")
        return SimDisk(
            rng, self._faults[peer], self.report.counts, flush_latency_s=self.plan.flush_s, archive=self._archive
        )

    def join(self, node: str) -> None:
        """A client's node takes part."""
        if node not in self.nemesis.client_nodes:
            self.nemesis.client_nodes.append(node)

    def _heard(self, peer: int, event: Event) -> None:
        self.trace.add(trio.current_time(), peer, event)
        if isinstance(event, Established) and event.role == "leader":
            self.report.elections += 1

    async def _live(self, ensemble: MemoryEnsemble) -> None:
        workloads = [ALL_WORKLOADS[name](SimScene(name, self, ensemble)) for name in self.plan.workloads]
        ended = [trio.Event() for _ in workloads]
        self.phase = "safety"
        async with trio.open_nursery() as nursery:
            for workload, end in zip(workloads, ended, strict=True):
                nursery.start_soon(_work, workload, end, name=f"workload {workload.name}")
            with trio.move_on_after(self.plan.safety_s):
                await self.nemesis.run(ensemble)
            self.phase = "liveness"
            await self._heal(ensemble, nursery)
            await trio.sleep(CALM_S)
            self.over = True
            with trio.move_on_after(ENDING_WITHIN_S):
                await trio.lowlevel.checkpoint()
                for end in ended:
                    await end.wait()
            late = [workload.name for workload, end in zip(workloads, ended, strict=True) if not end.is_set()]
            invariant(not late, f"every call of a client ends within {ENDING_WITHIN_S:g} s", late=late)
        if self.plan.stormy:
            # The last change may have had an election behind it.
            await trio.sleep(CALM_S)
            await self._serving(ensemble)
        await self._sessions_end(ensemble)
        self.phase = "checks"
        await self._check(ensemble, workloads)

    async def _heal(self, ensemble: MemoryEnsemble, nursery: trio.Nursery) -> None:
        began = trio.current_time()
        await self.nemesis.calm(nursery)
        self.calm = True
        await self._serving(ensemble)
        self.report.healed_s = trio.current_time() - began

    async def _serving(self, ensemble: MemoryEnsemble) -> None:
        try:
            await ensemble.wait_serving(within_s=SERVING_WITHIN_S)
        except trio.TooSlowError as error:
            raise InvariantViolation(f"a healed ensemble serves: {error}") from None

    async def _check(self, ensemble: MemoryEnsemble, workloads: list[Workload]) -> None:
        self.report.transactions = len(ensemble.safety.history)
        self._check_counters(ensemble.safety.history)
        tree = await settled_tree(ensemble)
        told = [*ensemble.safety.history, *ensemble.safety.committed_ends]
        truth = Truth(((zxid, decode_txn(self._archive[zxid])) for zxid in committed(told)), tree)
        trees.check_made(truth)
        self.report.counts["read-only replies"] = sum(
            call.read_only and not call.unknown for call in self.history.all_calls()
        )
        check_history(self.history, truth, clocks_differ_ms=self.nemesis.clocks_differ_ms)
        for workload in workloads:
            workload.check(truth)

    def _check_counters(self, history: Sequence[int]) -> None:
        """No epoch was used longer than it may be (ZOOKEEPER-1277)."""
        limit = self.plan.limits.get("epoch_txns_max", COUNTER_MASK)
        over = [hex(zxid) for zxid in history if zxid & COUNTER_MASK > limit]
        invariant(not over, "an epoch ends before its counter does", limit=limit, zxids=over[:3])

    async def _sessions_end(self, ensemble: MemoryEnsemble) -> None:
        """Every client has said goodbye or is gone: in time none of their sessions is left."""

        def left() -> list[int]:
            peers = [ensemble.peers[peer] for peer in ensemble.running()]
            return sorted({session for peer in peers if peer.loaded for session in peer.database.tree.sessions})

        try:
            await ensemble.wait_until(lambda: not left(), within_s=SILENT_S_MAX)
        except trio.TooSlowError as error:
            raise InvariantViolation(f"a session that fell silent ends: sessions={left()} {error}") from None

    def _check_nothing_is_left(self) -> None:
        links, listeners = self.network.left()
        invariant(not links and not listeners, "nothing is left after shutdown", links=links, listeners=listeners)
        tasks = [task.name for task in _tasks(trio.lowlevel.current_root_task()) if task.context.get(seeded.NODE)]
        invariant(not tasks, "no task is left after shutdown", tasks=tasks)


def committed(told: Iterable[int]) -> Iterator[int]:
    """Every committed zxid, from those that were told of: of an epoch all up to the last one are, without a gap."""
    last: dict[int, int] = {}
    for zxid in told:
        last[zxid >> 32] = max(zxid, last.get(zxid >> 32, 0))
    for epoch in sorted(last):
        yield from range((epoch << 32) + 1, last[epoch] + 1)


def _tasks(task: trio.lowlevel.Task | None) -> Iterator[trio.lowlevel.Task]:
    if task is not None:
        yield task
        for nursery in task.child_nurseries:
            for child in nursery.child_tasks:
                yield from _tasks(child)


async def _work(workload: Workload, ended: trio.Event) -> None:
    await workload.run()
    ended.set()


def _explain(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
