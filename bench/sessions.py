"""Idle sessions, one watch each, all on one follower of three: memory, CPU time, and a change of leaders."""

import time
from pathlib import Path
from typing import Final

from bench import machine, wire
from bench.crowd import Crowd
from bench.report import number, table
from bench.results import Lines
from bench.servers import ZooKeepers, mode

PATH: Final = "/watched"
TIMEOUT_MS: Final = 30_000
SETTLE_S: Final = 3.0
PATIENCE_S: Final = 300.0

LABELS: Final = {
    "connect_s": "until all have session and watch, s",
    "home_bytes": "memory of their peer per session, bytes",
    "leader_bytes": "memory of the leader per session, bytes",
    "home_cpu_percent": "CPU time of their peer while idle, % of a core",
    "leader_cpu_percent": "CPU time of the leader while idle, % of a core",
    "pings_per_s": "pings answered a second",
    "return_s": "kill -9 of the leader → all have session and watch again, s",
    "expired": "sessions lost by that",
    "events_s": "one change → all have their event, s",
}

Figures = dict[str, float]


def run(kind: type[ZooKeepers], folder: Path, count: int, idle_s: float, lines: Lines) -> Figures:
    """Everything once, on servers of its own.

    Raises:
        RuntimeError: a server ended, or something took too long.
    """
    with kind(folder, 3, many_clients=True) as servers:
        servers.start()
        modes = servers.wait_serving()
        leader = next(i for i, what in modes.items() if what == "leader")
        home = next(i for i, what in modes.items() if what == "follower")
        sock, _ = wire.open_session(servers.peers[home].client)
        wire.call(sock, 1, wire.CREATE, wire.create_body(PATH, b""))
        crowd = Crowd(count, [servers.peers[home].client], PATH, TIMEOUT_MS)
        try:
            figures = _arrive(servers, crowd, home, leader)
            figures |= _rest(servers, crowd, home, leader, idle_s)
            figures |= _lose_leader(servers, crowd, leader)
        finally:
            sock.close()
            crowd.close()
    for measure, value in figures.items():
        lines.add({"sessions": count, "contestant": kind.name, "measure": measure, "value": value})
    return figures


def _arrive(servers: ZooKeepers, crowd: Crowd, home: int, leader: int) -> Figures:
    time.sleep(SETTLE_S)
    before = _memory(servers)
    connect_s = crowd.run(lambda: crowd.all_idle, PATIENCE_S, servers.check_alive)
    crowd.rest(SETTLE_S, servers.check_alive)
    after = _memory(servers)
    count = len(crowd.members)
    return {
        "connect_s": connect_s,
        "home_bytes": (after[home] - before[home]) / count,
        "leader_bytes": (after[leader] - before[leader]) / count,
    }


def _memory(servers: ZooKeepers) -> dict[int, int]:
    return {i: machine.rss_kib(pid) << 10 for i, pid in servers.pids().items()}


def _rest(servers: ZooKeepers, crowd: Crowd, home: int, leader: int, idle_s: float) -> Figures:
    pids = servers.pids()
    before = {i: machine.cpu_s(pid) for i, pid in pids.items()}
    answers = crowd.total(lambda member: member.answers)
    crowd.rest(idle_s, servers.check_alive)
    spent = {i: machine.cpu_s(pid) - before[i] for i, pid in pids.items()}
    return {
        "home_cpu_percent": 100 * spent[home] / idle_s,
        "leader_cpu_percent": 100 * spent[leader] / idle_s,
        "pings_per_s": (crowd.total(lambda member: member.answers) - answers) / idle_s,
    }


def _lose_leader(servers: ZooKeepers, crowd: Crowd, leader: int) -> Figures:
    """Everybody comes back, stays for longer than a session lasts unheard, and has a watch that works."""
    servers.kill(leader)
    crowd.ports = [servers.peers[i].client for i in servers.peers if i != leader]
    began = time.perf_counter()
    while "leader" not in servers.modes().values():
        crowd.rest(0.1, servers.check_alive)
    crowd.run(lambda: crowd.all_idle, PATIENCE_S, servers.check_alive)
    return_s = time.perf_counter() - began
    crowd.rest(1.5 * TIMEOUT_MS / 1000, servers.check_alive)
    if not crowd.all_idle:
        raise RuntimeError("connections were cut after the change of leaders")
    fired = crowd.total(lambda member: member.fired)
    port = next(servers.peers[i].client for i in servers.processes if mode(servers.peers[i].client) == "leader")
    sock, _ = wire.open_session(port)
    began = time.perf_counter()
    wire.call(sock, 1, wire.SET_DATA, wire.set_body(PATH, b"changed"))
    sock.close()
    all_told = fired + len(crowd.members)
    crowd.run(lambda: crowd.total(lambda member: member.fired) >= all_told, PATIENCE_S, servers.check_alive)
    return {"return_s": return_s, "expired": crowd.expired, "events_s": time.perf_counter() - began}


def summary(found: dict[str, Figures], count: int) -> str:
    """A column for each kind of server."""
    rows = [[label, *(number(figures[measure]) for figures in found.values())] for measure, label in LABELS.items()]
    return table([f"{count} sessions", *found], rows)
