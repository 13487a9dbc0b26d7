"""Ensembles of real ``trioquorum serve`` processes on loopback, for tests with real clients and real kills."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.retry import KazooRetry

from trioquorum.ports import free_ports as free_ports


def four_letter(port: int, word: str, timeout_s: float = 1.0) -> str:
    """A four-letter word's answer; empty when nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as sock:
            sock.sendall(word.encode())
            answer = b""
            while chunk := sock.recv(65536):
                answer += chunk
            return answer.decode()
    except OSError:
        return ""


def mode(port: int) -> str | None:
    """``leader``, ``follower``, ``observer``, ``standalone``; None while it serves nobody."""
    for line in four_letter(port, "srvr").splitlines():
        if line.startswith("Mode: "):
            return line[6:]
    return None


def wait_until(what: str, holds: Any, timeout_s: float = 20.0) -> Any:
    """Poll until ``holds()`` is true; its value. Fails with ``what`` when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what}")


class Ensemble:
    """Voters 1..n, then observers, each a process with a data directory and a log of JSON events.

    ``scheme`` is the transport that they speak to each other over.
    """

    def __init__(
        self,
        folder: Path,
        peers: int = 3,
        *,
        observers: int = 0,
        observer_masters: bool = False,
        tick_time_ms: int = 200,
        extra: str = "",
        scheme: str = "tcp",
    ) -> None:
        self.folder = folder
        self.ids = list(range(1, peers + observers + 1))
        ports = free_ports(3 * len(self.ids) + peers)
        self.ports = {i: ports[3 * (i - 1)] for i in self.ids}
        self.quorum_ports = {i: ports[3 * (i - 1) + 1] for i in self.ids}
        self.election_ports = {i: ports[3 * (i - 1) + 2] for i in self.ids}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.config = folder / "peers.toml"
        lines = [f"[ensemble]\ntick_time_ms = {tick_time_ms}\n{extra}\n"]
        lines += [
            f"[[peer]]\nid = {i}\n"
            f'quorum = "{scheme}://127.0.0.1:{self.quorum_ports[i]}"\n'
            f'election = "{scheme}://127.0.0.1:{self.election_ports[i]}"\n'
            f'client = "tcp://127.0.0.1:{self.ports[i]}"\n'
            f'role = "{"participant" if i <= peers else "observer"}"\n'
            for i in self.ids
        ]
        if observer_masters:
            for i in range(peers):
                lines[1 + i] += f'observer_master = "{scheme}://127.0.0.1:{ports[3 * len(self.ids) + i]}"\n'
        self.config.write_text("\n".join(lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for i in list(self.processes):
            self.kill(i)

    def start(self, *ids: int, options: Sequence[str] = ()) -> Self:
        """Start peers (all by default), with more ``options`` of serve."""
        for i in ids or self.ids:
            command = [sys.executable, *self.program(i), "serve", "--id", str(i)]
            command += ["--peers", str(self.config), "--data-dir", str(self.data_dir(i)), "--log-json", *options]
            with self.log(i).open("ab") as log:
                self.processes[i] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self

    def program(self, i: int) -> list[str]:
        """What Python runs as a peer's ``trioquorum``."""
        del i
        return ["-m", "trioquorum"]

    def data_dir(self, i: int) -> Path:
        """A peer's data directory."""
        return self.folder / f"peer{i}"

    def log(self, i: int) -> Path:
        """A peer's log file."""
        return self.folder / f"peer{i}.log"

    def events(self, i: int, name: str) -> list[dict[str, Any]]:
        """Events of one kind in a peer's log, oldest first."""
        return [event for event in self._events(i) if event.get("event") == name]

    def _events(self, i: int) -> Iterator[dict[str, Any]]:
        for line in self.log(i).read_text(errors="replace").splitlines():
            if line.startswith("{"):
                yield json.loads(line)

    def kill(self, i: int) -> None:
        """``kill -9``."""
        process = self.processes.pop(i)
        process.kill()
        process.wait()

    def stop(self, i: int, timeout_s: float = 10) -> int:
        """SIGTERM; the exit code."""
        process = self.processes.pop(i)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout_s)

    def pause(self, i: int) -> None:
        """SIGSTOP."""
        os.kill(self.processes[i].pid, signal.SIGSTOP)

    def resume(self, i: int) -> None:
        """SIGCONT."""
        os.kill(self.processes[i].pid, signal.SIGCONT)

    @property
    def hosts(self) -> str:
        """Connection string of all peers."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def host(self, i: int) -> str:
        """Connection string of one peer."""
        return f"127.0.0.1:{self.ports[i]}"

    def modes(self) -> dict[int, str | None]:
        """What each running peer is."""
        return {i: mode(self.ports[i]) for i in self.processes}

    def wait_serving(self, timeout_s: float = 30) -> dict[int, str | None]:
        """Wait until every running peer serves."""
        found: dict[int, str | None] = {}

        def all_serve() -> bool:
            found.update(self.modes())
            for i, process in self.processes.items():
                assert process.poll() is None, f"peer {i} ended: {self.log(i).read_text()[-3000:]}"
            return all(found[i] for i in self.processes)

        wait_until(f"all peers serve, last seen {found}", all_serve, timeout_s)
        return found

    def leader(self) -> int:
        """The serving leader."""
        return wait_until("a leader", lambda: next((i for i, m in self.modes().items() if m == "leader"), None))

    def followers(self) -> list[int]:
        """The serving followers."""
        return [i for i, m in self.modes().items() if m == "follower"]

    def zxid(self, i: int) -> int:
        """A peer's last processed zxid."""
        for line in four_letter(self.ports[i], "srvr").splitlines():
            if line.startswith("Zxid: "):
                return int(line[6:], 16)
        return -1

    def wait_equal(self, timeout_s: float = 20) -> int:
        """Wait until every running peer has processed the same zxid; that zxid."""

        def equal() -> int | None:
            zxids = {self.zxid(i) for i in self.processes}
            return zxids.pop() if len(zxids) == 1 and -1 not in zxids else None

        zxid: int = wait_until("peers have the same zxid", equal, timeout_s)
        return zxid

    def client(self, i: int | None = None, *, timeout_s: float = 10.0, **more: Any) -> KazooClient:
        """A started kazoo client of one peer, or of all."""
        client = KazooClient(
            hosts=self.hosts if i is None else self.host(i),
            timeout=timeout_s,
            handler=SequentialThreadingHandler(),
            connection_retry=KazooRetry(max_tries=-1, delay=0.02, backoff=1.5, max_delay=0.5),
            **more,
        )
        client.start(timeout=30)
        return client


def tree_of(client: KazooClient, root: str = "/") -> dict[str, tuple[bytes, tuple[Any, ...]]]:
    """Every znode below ``root`` with data and stat, ``/zookeeper`` left out."""
    found: dict[str, tuple[bytes, tuple[Any, ...]]] = {}
    todo = [root]
    while todo:
        path = todo.pop()
        if path == "/zookeeper":
            continue
        data, stat = client.get(path)
        found[path] = (data, tuple(stat))
        if stat.numChildren:
            todo += [f"{path.rstrip('/')}/{child}" for child in client.get_children(path)]
    return found
