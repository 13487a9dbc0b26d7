"""One run: peers in namespaces, the simulator's workloads, a nemesis, and the simulator's checks of what came of it."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from tests.interop.namespaces.mixed import Mixed
from tests.interop.namespaces.nemesis import Nemesis
from tests.interop.namespaces.network import Network
from tests.interop.namespaces.peers import SESSION_TIMEOUT_MAX_S, Peers
from tests.interop.namespaces.remains import Terms, alarms, counted, examine
from tests.interop.namespaces.scene import RealScene, Stage
from trioquorum.client import State
from trioquorum.testing.checkers import check_history
from trioquorum.testing.history import History, Turned
from trioquorum.testing.workloads import WORKLOADS, Workload

PAUSE_S_MIN: Final = 0.1
CALLS_PER_PAUSE: Final = 20
"""Calls of all clients in one mean pause, roughly; longer runs make longer pauses, so that a history holds them."""
HISTORY_CALLS: Final = 200_000
WIND_DOWN_S: Final = 60.0
"""In which every call of a client ends, and every client, once all is well and no new calls are made."""
REST_S: Final = 2 * SESSION_TIMEOUT_MAX_S
"""In which sessions that nobody closed expire, and logs are flushed."""


class Report(msgspec.Struct, kw_only=True):
    """How a run went that broke nothing. ``syncs`` are the ways in which learners were brought up to date."""

    seed: int
    seconds: float
    faults: dict[str, int]
    disk_stops: int
    recovery_max_s: float
    recovery_mean_s: float
    epochs: int
    leaders: dict[int, int]
    syncs: dict[str, int]
    snapshots: int
    transactions: int
    nodes: int
    clients: int
    sessions: int
    expired: int
    calls: int
    succeeded: int
    failed: dict[str, int]
    unknown: int
    watch_events: int


async def play(folder: Path, seed: int, seconds: float, peers: int = 3, say: Callable[[str], object] = print) -> Report:
    """Faults and calls for ``seconds``, then rest, then every check. Files are left below ``folder``.

    It ends earlier when the history is full.

    Raises:
        NotServing: the ensemble did not come back in time after a fault.
        PeerEnded: a peer stopped that had no reason to.
        InvariantViolation: what clients saw contradicts what was committed, or peers differ.
        AssertionError: a call did not end, or a peer's log tells of something that should not be.
    """
    ids = list(range(1, peers + 1))
    history = History()
    with Network(ids) as network, Peers(folder, network, ids) as ensemble:
        stage = Stage(network, history, max(PAUSE_S_MIN, seconds * CALLS_PER_PAUSE / HISTORY_CALLS))
        rng = random.Random(f"nemesis/{seed}")
        nemesis = Nemesis(rng, ensemble, network, stage.probe, say)
        ensemble.start(*ids)
        await nemesis.wait_serving()
        kinds: list[type[Workload]] = [Mixed, *WORKLOADS.values()]
        workloads = [kind(RealScene(stage, random.Random(f"workload/{seed}/{kind.name}"))) for kind in kinds]
        began = trio.current_time()
        await _with_work(
            [workload.run for workload in workloads], stage, lambda: nemesis.run(seconds, lambda: history.full)
        )
        lasted_s = trio.current_time() - began
        say(f"{history.calls} calls; at rest for {REST_S:g} s")
        await trio.sleep(REST_S)
        await nemesis.kill_all(rng)  # Whatever is not on disk is lost now.
        await nemesis.wait_serving()
        await trio.sleep(REST_S)
        assert ensemble.take_ended() == []
        ensemble.kill(*ids)
        say("the ensemble is down; checking")
        terms = Terms(ensemble)
        truth = await examine(ensemble, terms)
        check_history(history, truth)
        for workload in workloads:
            workload.check(truth)
        assert alarms(ensemble) == []
        calls = list(history.all_calls())
        states = [it.state for record in history.sessions for it in record.seen if isinstance(it, Turned)]
        return Report(
            seed=seed,
            seconds=round(lasted_s, 1),
            faults=dict(nemesis.faults),
            disk_stops=nemesis.disk_stops,
            recovery_max_s=round(max(nemesis.recoveries_s), 2),
            recovery_mean_s=round(sum(nemesis.recoveries_s) / len(nemesis.recoveries_s), 2),
            epochs=len(terms.leaders),
            leaders=dict(Counter(terms.leaders.values())),
            syncs=counted(ensemble, "sync_received", by="mode"),
            snapshots=sum(counted(ensemble, "snapshot_taken", by="zxid").values()),
            transactions=len(truth.txns),
            nodes=len(truth.model.nodes),
            clients=len({record.client for record in history.sessions}),
            sessions=sum(1 for record in history.sessions if record.session),
            expired=states.count(State.EXPIRED),
            calls=len(calls),
            succeeded=sum(call.succeeded for call in calls),
            failed=dict(Counter(call.error.name for call in calls if call.failed and call.error)),
            unknown=sum(call.unknown for call in calls),
            watch_events=sum(len(record.seen) for record in history.sessions) - len(calls) - len(states),
        )


async def _with_work(
    works: list[Callable[[], Awaitable[None]]], stage: Stage, meanwhile: Callable[[], Awaitable[None]]
) -> None:
    """Let the clients work ``meanwhile``, and then end in time.

    Raises:
        AssertionError: some did not.
    """
    ended = 0

    async def work(run: Callable[[], Awaitable[None]]) -> None:
        nonlocal ended
        await run()
        ended += 1

    alone: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            for run in works:
                nursery.start_soon(work, run)
            await meanwhile()
            stage.over = True
            nursery.cancel_scope.deadline = trio.current_time() + WIND_DOWN_S
    except ExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        alone = group.exceptions[0]
    if alone is not None:  # What broke leaves as itself.
        raise alone
    assert ended == len(works), f"{len(works) - ended} workloads did not end within {WIND_DOWN_S:g} s"
