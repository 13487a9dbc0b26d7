"""A scene for workloads on an ensemble in memory."""

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import trio

from trioquorum.client import Client
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.testing.checkers import check_history
from trioquorum.testing.history import History
from trioquorum.testing.settled import settled_truth
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads import Workload
from trioquorum_transports.memory import MemoryNetwork

FLUSH_S = 0.02
Trouble = Callable[[MemoryEnsemble], Awaitable[None]]


class EnsembleScene:
    """Clients come from nodes of their own names."""

    def __init__(self, ensemble: MemoryEnsemble, network: MemoryNetwork, seed: int, pause_s: float = 0.1) -> None:
        self.rng = random.Random(f"scene/{seed}")
        self.history = History()
        self.pause_s = pause_s
        self.over = False
        self._ensemble = ensemble
        self._network = network

    def client(
        self, name: str, *, session_timeout_ms: int = 10_000, read_only: bool = False
    ) -> AbstractAsyncContextManager[Client]:
        peers = list(self._ensemble.peers)
        self.rng.shuffle(peers)
        return self._ensemble.client(
            *peers,
            node=name,
            session_timeout_ms=session_timeout_ms,
            observer=self.history.session(name),
            read_only=read_only,
        )

    def disconnect(self, name: str) -> None:
        self._network.node_down(name)

    def isolate(self, name: str) -> None:
        for peer in self._ensemble.peers.values():
            self._network.cut(name, peer.node)

    def rejoin(self, name: str) -> None:
        for peer in self._ensemble.peers.values():
            self._network.heal(name, peer.node)


async def perform(
    kind: type[Workload], seed: int, trouble: Trouble | None = None, *, seconds: float = 30.0
) -> tuple[History, Truth]:
    """One workload for so long, with trouble in the middle, everything checked."""
    network = MemoryNetwork()
    async with open_ensemble(network, seed=seed, flush_latency_s=FLUSH_S) as ensemble:
        await ensemble.wait_serving()
        scene = EnsembleScene(ensemble, network, seed)
        workload = kind(scene)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workload.run)
            await trio.sleep(seconds / 3)
            if trouble is not None:
                await trouble(ensemble)
            await trio.sleep(seconds * 2 / 3)
            scene.over = True
        truth = await settled_truth(ensemble)
    check_history(scene.history, truth)
    workload.check(truth)
    return scene.history, truth


async def leader_crash(ensemble: MemoryEnsemble) -> None:
    """The leader dies and comes back."""
    leader = await ensemble.wait_serving()
    await ensemble.crash(leader)
    await trio.sleep(5)
    await ensemble.start(leader)
    await ensemble.wait_serving()
