"""Servers under measurement: processes on loopback that start, say what they are, and are killed."""

import os
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from bench import generate
from bench.generate import Job, Outcome
from bench.workload import Workload
from trioquorum.ports import free_ports

HOST: Final = "127.0.0.1"
SERVING_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02
_WORD_TIMEOUT_S: Final = 5.0


class Ports:
    """Ports of one peer."""

    def __init__(self, client: int, quorum: int, election: int, admin: int) -> None:
        self.client, self.quorum, self.election, self.admin = client, quorum, election, admin


class Servers(ABC):
    """One server alone, or an ensemble with peers 1 to ``count``, all processes killed at the end of the block.

    ``many_clients`` lifts the limit on connections from one address, ``transport`` is what the peers' links use;
    nothing else is changed from the defaults.
    """

    name = ""
    transports: tuple[str, ...] = ("tcp",)
    """What the links of these servers may use."""
    note = ""
    """What they do otherwise than ZooKeeper under the same load; empty if nothing."""

    def __init__(self, folder: Path, count: int, *, many_clients: bool = False, transport: str = "tcp") -> None:
        self.folder = folder
        self.many_clients = many_clients
        self.transport = transport
        self.peers = {i + 1: ports for i, ports in enumerate(ports_of(count))}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True)
        for i in self.peers:
            self.peer_folder(i).mkdir()

    @classmethod
    def why_not(cls, workload: Workload) -> str | None:
        """Why these cannot do the same work as a ZooKeeper; None if they can."""
        del workload
        return None

    @abstractmethod
    def command(self, i: int) -> list[str]:
        """What starts peer ``i``."""

    @abstractmethod
    def mode(self, i: int) -> str | None:
        """``leader``, ``follower`` or ``standalone``; None while a peer serves nobody."""

    @abstractmethod
    def fsyncs(self, i: int) -> int:
        """How often a peer's log was flushed since it began to count; 0 when it does not tell."""

    def environment(self) -> dict[str, str]:
        """Of every process; installed Python programs have their byte code, so it may be written here too."""
        return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for i in list(self.processes):
            self.kill(i)

    def peer_folder(self, i: int) -> Path:
        """Data and files of one peer; the current directory of its process."""
        return self.folder / f"peer{i}"

    def start(self) -> float:
        """Start every peer at once; the ``time.perf_counter`` right before the first."""
        commands = {i: self.command(i) for i in self.peers}
        began = time.perf_counter()
        for i, command in commands.items():
            self._spawn(i, command)
        return began

    def start_peer(self, i: int) -> float:
        """Start one peer; the ``time.perf_counter`` right before."""
        command = self.command(i)
        began = time.perf_counter()
        self._spawn(i, command)
        return began

    def _spawn(self, i: int, command: Sequence[str]) -> None:
        with (self.folder / f"peer{i}.log").open("ab") as log:
            self.processes[i] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.peer_folder(i),
                env=self.environment(),
            )

    def kill(self, i: int) -> None:
        """``kill -9``, and wait until the process is gone."""
        process = self.processes.pop(i)
        process.kill()
        process.wait()

    def modes(self) -> dict[int, str | None]:
        """What each running peer says it is; None while it serves nobody."""
        return {i: self.mode(i) for i in self.processes}

    def wait_serving(self) -> dict[int, str]:
        """Wait until every running peer serves; what each one is.

        Raises:
            RuntimeError: one ended, or it took too long.
        """
        deadline = time.monotonic() + SERVING_TIMEOUT_S
        while time.monotonic() < deadline:
            self.check_alive()
            found = {i: what for i, what in self.modes().items() if what is not None}
            if len(found) == len(self.processes):
                return found
            time.sleep(_POLL_S)
        raise RuntimeError(f"{self.name}: not all peers serve after {SERVING_TIMEOUT_S:.0f} s: {self.modes()}")

    def check_alive(self) -> None:
        """Every started process still runs.

        Raises:
            RuntimeError: one ended; the message has the end of its log.
        """
        for i, process in self.processes.items():
            if process.poll() is not None:
                log = (self.folder / f"peer{i}.log").read_text(errors="replace")
                raise RuntimeError(f"{self.name} peer {i} ended with {process.returncode}: {log[-2000:]}")

    def pids(self) -> dict[int, int]:
        """Process ids of running peers."""
        return {i: process.pid for i, process in self.processes.items()}

    def make_ready(self, workload: Workload) -> None:
        """Whatever must be so before a load."""
        del workload

    def load(self, job: Job, on_line: generate.OnLine) -> Outcome:
        """Run a job on these servers; see ``generate.load``."""
        return generate.load(job, on_line)


class ZooKeepers(Servers):
    """Servers that speak ZooKeeper's protocol, four-letter words included."""

    def __init__(self, folder: Path, count: int, *, many_clients: bool = False, transport: str = "tcp") -> None:
        super().__init__(folder, count, many_clients=many_clients, transport=transport)
        self.write_files()

    @abstractmethod
    def write_files(self) -> None:
        """Everything the servers read at start."""

    @abstractmethod
    def configure(self, *lines: str) -> None:
        """Add lines to the ``zoo.cfg`` of a server alone with ``many_clients``."""

    @abstractmethod
    def data_folders(self, i: int) -> list[Path]:
        """What peer ``i`` has written; without these it knows only who it is."""

    def mode(self, i: int) -> str | None:
        return mode(self.peers[i].client)

    def fsyncs(self, i: int) -> int:
        return fsyncs(self.peers[i].client)

    def wipe(self, i: int) -> None:
        """Remove everything that a peer has written; it must not run."""
        for folder in self.data_folders(i):
            shutil.rmtree(folder)


class Trioquorum(ZooKeepers):
    """This server, run by the interpreter that runs the benchmark, from ``checkout``."""

    name = "trioquorum"
    transports = ("tcp", "ws")
    checkout: Path = Path(__file__).parent.parent
    module: tuple[str, ...] = ("-m", "trioquorum")
    """What the interpreter runs, in front of the command line."""

    def write_files(self) -> None:
        lines = ["[limits]\nconnections_per_ip_max = 0\n"] if self.many_clients else []
        scheme = self.transport
        lines += [
            f'[[peer]]\nid = {i}\nclient = "tcp://{HOST}:{p.client}"\n'
            f'quorum = "{scheme}://{HOST}:{p.quorum}"\nelection = "{scheme}://{HOST}:{p.election}"\n'
            for i, p in self.peers.items()
        ]
        (self.folder / "peers.toml").write_text("\n".join(lines))
        alone = {
            "clientPort": self.peers[1].client,
            "clientPortAddress": HOST,
            "dataDir": self.peer_folder(1) / "data",
            "maxClientCnxns": 0,
        }
        (self.folder / "zoo.cfg").write_text("".join(f"{name}={value}\n" for name, value in alone.items()))

    def configure(self, *lines: str) -> None:
        with (self.folder / "zoo.cfg").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": f"{self.checkout}{os.pathsep}{self.checkout / 'transports'}"}

    def command(self, i: int) -> list[str]:
        serve = [sys.executable, *self.module, "serve"]
        if len(self.peers) == 1 and self.many_clients:
            return [*serve, "--config", str(self.folder / "zoo.cfg")]
        serve += ["--data-dir", str(self.peer_folder(i) / "data")]
        if len(self.peers) == 1:
            return [*serve, "--client", f"tcp://{HOST}:{self.peers[i].client}"]
        return [*serve, "--id", str(i), "--peers", str(self.folder / "peers.toml")]

    def data_folders(self, i: int) -> list[Path]:
        return [self.peer_folder(i) / "data"]


def trioquorum_of(name: str, checkout: Path) -> type[Trioquorum]:
    """This server as another checkout has it."""
    return type(name, (Trioquorum,), {"name": name, "checkout": checkout})


def ports_of(count: int) -> list[Ports]:
    """Ports for ``count`` peers that nobody uses at the moment."""
    found = free_ports(4 * count)
    return [Ports(*found[at : at + 4]) for at in range(0, len(found), 4)]


def ask(port: int, word: str) -> str:
    """The answer to a four-letter word; empty when nobody answers."""
    answer = b""
    try:
        with socket.create_connection((HOST, port), _WORD_TIMEOUT_S) as sock:
            sock.sendall(word.encode())
            while chunk := sock.recv(65536):
                answer += chunk
    except OSError:
        return ""
    return answer.decode(errors="replace")


def mode(port: int) -> str | None:
    """``leader``, ``follower`` or ``standalone``, as ``srvr`` says; None while nobody serves there."""
    for line in ask(port, "srvr").splitlines():
        if line.startswith("Mode: "):
            return line[6:].strip()
    return None


def fsyncs(port: int) -> int:
    """How often this peer's log was flushed since it began to count, as ``mntr`` says; 0 when it does not."""
    for line in ask(port, "mntr").splitlines():
        name, _, value = line.partition("\t")
        if name == "zk_cnt_fsynctime":
            return int(float(value))
    return 0


def followers_first(modes: dict[int, str]) -> Sequence[int]:
    """Peers in the order in which connections are spread over them: a single connection goes to a follower."""
    return sorted(modes, key=lambda i: (modes[i] == "leader", i))
