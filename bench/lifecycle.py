"""Start, cold start of an ensemble, failover and idle memory, next to Java's: alternating rounds, medians."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench import processes, wire
from bench.java import JavaZooKeeper
from bench.race import Runner, first_write
from bench.report import Lines, number, ratio, spread, table
from bench.servers import Servers, Trioquorum

IDLE_S: Final = 5.0
ENSEMBLE_PEERS: Final = 3

KINDS: Final[tuple[type[Servers], ...]] = (Trioquorum, JavaZooKeeper)

LABELS: Final = {
    "standalone_start_s": "standalone: process start → first create acknowledged, s",
    "ensemble_start_s": "three peers, cold: start of all → first create acknowledged, s",
    "rss_mib": "idle peer, VmRSS, MiB",
    "pss_mib": "idle peer, PSS, MiB",
    "failover_s": "kill -9 of the leader → first create through a survivor, s",
}

Figures = dict[str, float]


def run(folder: Path, rounds: int, kinds: Sequence[type[Servers]], lines: Lines) -> dict[str, dict[str, list[float]]]:
    """Every figure of every round: measure → kind → values. A B, then B A, and so on."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number_ in range(rounds):
        for kind in kinds if number_ % 2 == 0 else list(reversed(kinds)):
            for part in (standalone, ensemble):
                for measure, value in part(kind, folder / f"{part.__name__}-{kind.name}-{number_}").items():
                    found[measure][kind.name].append(value)
                    lines.add(bench="lifecycle", round=number_, kind=kind.name, measure=measure, value=value)
    return found


def standalone(kind: type[Servers], folder: Path) -> Figures:
    """(a) One server alone, with an empty data directory."""
    with kind(folder, 1) as servers:
        began = servers.start()
        runner = Runner(servers.peers[1].client, "first")
        return {"standalone_start_s": first_write([runner], servers.check_alive) - began}


def ensemble(kind: type[Servers], folder: Path) -> Figures:
    """(b) Cold start of three peers, (d) their memory when idle, (c) failover."""
    with kind(folder, ENSEMBLE_PEERS) as servers:
        began = servers.start()
        runners = [Runner(ports.client, "first") for ports in servers.peers.values()]
        figures = {"ensemble_start_s": first_write(runners, servers.check_alive) - began}
        servers.wait_serving()
        time.sleep(IDLE_S)
        figures["rss_mib"] = _mean_mib(processes.rss_kib, servers)
        figures["pss_mib"] = _mean_mib(processes.pss_kib, servers)
        figures["failover_s"] = failover(servers)
        return figures


def failover(servers: Servers) -> float:
    """Kill the leader; seconds until a client that was connected to a survivor has its write acknowledged.

    The clients write at once on their open connections. When a survivor closes one, its client comes back with the
    same session every few milliseconds.
    """
    modes = servers.wait_serving()
    leader = next(i for i, mode in modes.items() if mode == "leader")
    runners, sockets = [], []
    for i in modes:
        if i != leader:
            sock, session = wire.open_session(servers.peers[i].client)
            runners.append(Runner(servers.peers[i].client, "after", session))
            sockets.append(sock)
    began = time.perf_counter()
    servers.kill(leader)
    for runner, sock in zip(runners, sockets, strict=True):
        runner.adopt(sock)
    return first_write(runners, servers.check_alive) - began


def _mean_mib(measure: Callable[[int], int], servers: Servers) -> float:
    return statistics.mean(measure(pid) for pid in servers.pids().values()) / 1024


def summary(found: dict[str, dict[str, list[float]]]) -> str:
    """The table: medians, lowest to highest, ratio."""
    rows = []
    for measure, label in LABELS.items():
        ours, theirs = found[measure][Trioquorum.name], found[measure].get(JavaZooKeeper.name)
        row = [label, f"{number(statistics.median(ours))} ({spread(ours)})"]
        if theirs:
            row.append(f"{number(statistics.median(theirs))} ({spread(theirs)})")
            row.append(ratio(statistics.median(ours), statistics.median(theirs)))
        else:
            row += ["–", "–"]
        rows.append(row)
    return table(["median (lowest–highest)", "trioquorum", "Java", "ours/Java"], rows)
