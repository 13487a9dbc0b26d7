"""Servers that come and go: cold start, failover, an empty follower that joins; and what full ones hold in memory."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import wire
from bench.loads import Ensemble, Figures, memory
from bench.race import Runner, first_write
from bench.servers import ZooKeepers
from bench.workload import Workload

IDLE_S: Final = 5.0
JOIN_TIMEOUT_S: Final = 300.0
JOIN_POLL_S: Final = 0.005
JOIN_PATIENCE_S: Final = 0.1
"""How long a handshake may stay unanswered at first; doubles each time it did (see ``race.PATIENCE_S``)."""

Make = Callable[[Path, Workload], ZooKeepers]
"""Servers in a folder, as a workload wants them; not started."""


def start(make: Make, folder: Path, workload: Workload) -> Figures:
    """From the start of all processes, with empty folders, to the first create acknowledged; then memory when idle."""
    with make(folder, workload) as servers:
        began = servers.start()
        runners = [Runner(ports.client, "first") for ports in servers.peers.values()]
        start_s = first_write(runners, servers.check_alive) - began
        servers.wait_serving()
        time.sleep(IDLE_S)
        return {"start_s": start_s, **memory(servers)}


def failover(make: Make, folder: Path, workload: Workload) -> tuple[Figures, list[float]]:
    """The leader is killed, and comes back when that was measured; the median of ``times``, and each in seconds."""
    with make(folder, workload) as servers:
        servers.start()
        times = []
        for number in range(workload.times):
            modes = servers.wait_serving()
            leader = next(i for i, mode in modes.items() if mode == "leader")
            times.append(_kill(servers, leader, f"after{number}"))
            servers.start_peer(leader)
        return {"failover_s": statistics.median(times)}, times


def _kill(servers: ZooKeepers, leader: int, name: str) -> float:
    """Kill the leader; seconds until a client that was connected to a survivor has its write acknowledged.

    The clients write at once on their open connections. When a survivor closes one, its client comes back with the
    same session every few milliseconds.
    """
    runners, sockets = [], []
    for i in list(servers.processes):
        if i != leader:
            sock, session = wire.open_session(servers.peers[i].client)
            runners.append(Runner(servers.peers[i].client, name, session))
            sockets.append(sock)
    began = time.perf_counter()
    servers.kill(leader)
    for runner, sock in zip(runners, sockets, strict=True):
        runner.adopt(sock)
    return first_write(runners, servers.check_alive) - began


def filled(make: Make, folder: Path, workload: Workload) -> Figures:
    """Create the znodes; how fast that went, and memory when idle again."""
    with make(folder, workload) as servers:
        servers.start()
        servers.wait_serving()
        fill_per_s = Ensemble(servers).fill(workload)
        time.sleep(IDLE_S)
        return {"fill_per_s": fill_per_s, **memory(servers)}


def join(make: Make, folder: Path, workload: Workload) -> Figures:
    """A follower without data: from its start until a client has read a znode from it that all others have."""
    with make(folder, workload) as servers:
        servers.start()
        servers.wait_serving()
        ensemble = Ensemble(servers)
        fill_per_s = ensemble.fill(workload)
        time.sleep(IDLE_S)
        follower = next(i for i, mode in servers.wait_serving().items() if mode == "follower")
        servers.kill(follower)
        servers.wipe(follower)
        path = f"{ensemble.root}/0/n{workload.znodes // workload.clients - 1}"
        began = servers.start_peer(follower)
        join_s = until_served(servers, follower, path) - began
        return {"join_s": join_s, "fill_per_s": fill_per_s}


def until_served(servers: ZooKeepers, i: int, path: str) -> float:
    """The ``time.perf_counter`` when peer ``i`` first answers a read of ``path``.

    Raises:
        TimeoutError: it does not.
    """
    deadline = time.perf_counter() + JOIN_TIMEOUT_S
    patience_s = JOIN_PATIENCE_S
    while time.perf_counter() < deadline:
        servers.check_alive()
        try:
            sock, _ = wire.open_session(servers.peers[i].client, timeout_s=patience_s)
        except TimeoutError:
            patience_s *= 2
            continue
        except (OSError, wire.ServerRefused):
            time.sleep(JOIN_POLL_S)
            continue
        with sock:
            sock.settimeout(JOIN_TIMEOUT_S)
            wire.call(sock, 1, wire.GET_DATA, wire.get_body(path))
            return time.perf_counter()
    raise TimeoutError(f"peer {i} does not serve within {JOIN_TIMEOUT_S:.0f} s")
