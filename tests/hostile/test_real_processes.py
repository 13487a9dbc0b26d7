"""Real peers under attack at every port: they go on serving, promptly, in bounded memory, and forget it afterwards."""

import contextlib
import random
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.kit import (
    PING,
    Raw,
    allow_files,
    connect_frame,
    create,
    exists,
    get_data,
    open_files,
    request,
    rss_bytes,
    set_data,
    text,
)
from tests.kit.processes import Ensemble, four_letter, free_ports, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow]

LONG_SESSION_MS = 60_000
LATENCY_MEDIAN_S = 0.1
"""A write among a thousand idle connections takes a few milliseconds; the machine may be busy."""
LATENCY_MAX_S = 2.0
RUOK_S = 2.0

# Ten seconds of silence end a role: a busy machine must not, and who is slow for two seconds fails here anyway.
SETTINGS = f"""
max_session_timeout_ms = {LONG_SESSION_MS}
init_limit_ticks = 50
sync_limit_ticks = 50
[limits]
connections_per_ip_max = 2000
client_outbox_bytes_max = 1048576
client_outbox_bytes_cut = 4194304
handshake_timeout_ms = 2000
"""


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three peers for the whole module. At the end none has crashed or said that something is broken."""
    allow_files(8000)
    with Ensemble(tmp_path_factory.mktemp("attacked"), extra=SETTINGS) as started:
        started.start().wait_serving()
        yield started
        started.wait_serving()
        for i in started.processes:
            log = started.log(i).read_text()
            assert "Traceback" not in log
            assert '"level":"error"' not in log


class Attack:
    """Sockets to one ensemble's ports, closed at the end, and a normal client of each peer meanwhile."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self.sockets: list[socket.socket] = []
        self.clients = {i: Raw(port).handshake(connect_frame(LONG_SESSION_MS)) for i, port in ensemble.ports.items()}
        self._xid = 0

    def connect(self, port: int, data: bytes = b"", *, receive_buffer: int = 0) -> socket.socket:
        sock = socket.socket()
        self.sockets.append(sock)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", port))
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        return sock

    def close(self, *, reset: bool = False) -> None:
        for sock in self.sockets:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self.sockets.clear()

    def assert_prompt(self, rounds: int = 30) -> None:
        """Writes through each peer and four-letter words are answered in reasonable time."""
        for i, client in self.clients.items():
            took = []
            for _ in range(rounds):
                self._xid += 1
                began = time.monotonic()
                client.send(set_data(self._xid, "/", b"v"))
                assert client.reply() == (self._xid, 0)
                took.append(time.monotonic() - began)
            assert statistics.median(took) < LATENCY_MEDIAN_S, f"peer {i}"
            assert max(took) < LATENCY_MAX_S, f"peer {i}"
            began = time.monotonic()
            assert four_letter(self.ensemble.ports[i], "ruok", RUOK_S) == "imok"
            assert time.monotonic() - began < RUOK_S, f"peer {i}"


@pytest.fixture
def attack(ensemble: Ensemble) -> Iterator[Attack]:
    """At the end nothing is left of it: connections, descriptors, roles."""
    modes = ensemble.modes()
    files = {i: open_files(process.pid) for i, process in ensemble.processes.items()}
    attack = Attack(ensemble)
    yield attack
    attack.assert_prompt()
    attack.close()
    for client in attack.clients.values():
        client.sock.close()
    for i, process in ensemble.processes.items():
        # A log file or an election link may have been opened meanwhile.
        wait_until(f"peer {i} closed what it had opened", lambda p=process, i=i: open_files(p.pid) <= files[i] + 4, 10)
    assert ensemble.modes() == modes


def all_ports(ensemble: Ensemble) -> list[int]:
    """Every port that somebody listens on: quorum ports are the leader's alone."""
    return [*ensemble.ports.values(), *ensemble.election_ports.values(), ensemble.quorum_ports[ensemble.leader()]]


def grown(ensemble: Ensemble, before: dict[int, int]) -> dict[int, int]:
    return {i: rss_bytes(process.pid) - before[i] for i, process in ensemble.processes.items()}


def memory(ensemble: Ensemble) -> dict[int, int]:
    return {i: rss_bytes(process.pid) for i, process in ensemble.processes.items()}


def test_a_thousand_half_open_connections_at_every_port_of_the_leader(ensemble: Ensemble, attack: Attack) -> None:
    before = memory(ensemble)
    leader = ensemble.leader()
    for ports in (ensemble.ports, ensemble.quorum_ports, ensemble.election_ports):
        for _ in range(1000):
            attack.connect(ports[leader])
        attack.assert_prompt()
    assert max(grown(ensemble, before).values()) < 64 << 20


def test_half_a_frame_on_hundreds_of_connections(ensemble: Ensemble, attack: Attack) -> None:
    """Only what was sent is kept, not what was announced."""
    before = memory(ensemble)
    for port in all_ports(ensemble):
        for _ in range(150):
            attack.connect(port, struct.pack(">i", 0x7FFFF) + bytes(1000))
    attack.assert_prompt()
    assert max(grown(ensemble, before).values()) < 64 << 20


def test_garbage_at_every_port(ensemble: Ensemble, attack: Attack) -> None:
    chance = random.Random(6)
    greetings = [b"GET / HTTP/1.0\r\n\r\n", bytes.fromhex("16030100c8010000c40303"), b"\xff" * 300, bytes(300)]
    for port in all_ports(ensemble):
        for _ in range(60):
            data = chance.choice([*greetings, chance.randbytes(chance.randrange(1, 3000))])
            attack.connect(port, data)
        attack.close(reset=chance.random() < 0.5)
    attack.assert_prompt()


def test_resets_at_every_port(ensemble: Ensemble, attack: Attack) -> None:
    conversation = connect_frame() + create(1, "/never") + exists(2) * 100
    chance = random.Random(7)
    for port in all_ports(ensemble):
        for _ in range(100):
            attack.connect(port, conversation[: chance.randrange(len(conversation))])
            attack.close(reset=True)
    attack.assert_prompt()


def test_clients_that_never_read(ensemble: Ensemble, attack: Attack) -> None:
    """Each asks for a gigabyte, and for ten thousand small things; a peer keeps a few megabytes for each."""
    home = ensemble.followers()[0]
    writer = attack.clients[home]
    writer.send(create(1, "/large") + set_data(2, "/large", bytes(1_000_000)))
    assert [writer.reply(), writer.reply()] in ([(1, 0), (2, 0)], [(1, -110), (2, 0)])
    before = memory(ensemble)
    for number in range(20):
        asked = [get_data(xid, "/large") for xid in range(1000)] if number % 2 else [exists(x) for x in range(10_000)]
        attack.connect(
            ensemble.ports[home], connect_frame(LONG_SESSION_MS) + b"".join(asked[:3000]), receive_buffer=4096
        )
    attack.assert_prompt()
    assert max(grown(ensemble, before).values()) < 128 << 20


def test_events_for_clients_that_never_read(ensemble: Ensemble, attack: Attack) -> None:
    home = ensemble.followers()[0]
    writer = attack.clients[home]
    before = memory(ensemble)
    watch = request(1, 106, text("/") + struct.pack(">i", 1))
    for _ in range(20):
        attack.connect(ensemble.ports[home], connect_frame(LONG_SESSION_MS) + watch, receive_buffer=4096)
    path = "/" + "e" * 4000
    delete = request(2, 2, text(path) + struct.pack(">i", -1))
    for _ in range(150):
        writer.send((create(1, path) + delete) * 10)
        assert [writer.reply() for _ in range(20)] == [(1, 0), (2, 0)] * 10
    wait_until("they are cut", lambda: connections(ensemble, home) < 20, 10)
    attack.assert_prompt()
    assert max(grown(ensemble, before).values()) < 160 << 20


def connections(ensemble: Ensemble, i: int) -> int:
    for line in four_letter(ensemble.ports[i], "mntr").splitlines():
        if line.startswith("zk_num_alive_connections\t"):
            return int(line.split("\t")[1])
    raise AssertionError("no answer to mntr")


def test_a_peer_comes_back_while_silent_callers_hold_the_doors(ensemble: Ensemble, attack: Attack) -> None:
    leader = ensemble.leader()
    victim = ensemble.followers()[0]
    attack.clients.pop(victim).sock.close()
    ensemble.kill(victim)
    for _ in range(400):
        attack.connect(ensemble.quorum_ports[leader])
        for i in ensemble.processes:
            attack.connect(ensemble.election_ports[i])
    attack.assert_prompt()
    ensemble.start(victim).wait_serving()
    assert ensemble.modes()[victim] == "follower"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[int, int, Path]]:
    """A standalone server with 64 descriptors that begins a new log and takes a snapshot every few transactions."""
    [port] = free_ports(1)
    config = tmp_path / "zoo.cfg"
    config.write_text(f"dataDir={tmp_path / 'data'}\nclientPort={port}\nmaxClientCnxns=0\ntickTime=200\nsnapCount=20\n")
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "trioquorum", "serve", "--config", str(config), "--log-json"]
        process = subprocess.Popen(["prlimit", "--nofile=64:64", *command], stdout=log, stderr=log)
    try:
        wait_until("it serves", lambda: four_letter(port, "ruok") == "imok")
        yield process.pid, port, tmp_path / "data" / "version-2"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, (tmp_path / "log").read_text()
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


def test_too_few_descriptors(small: tuple[int, int, Path]) -> None:
    """Callers beyond what is there wait or are turned away; files can still be opened, and it all passes."""
    pid, port, snapshots = small
    client = Raw(port).handshake(connect_frame(4000))
    crowd = [Raw(port) for _ in range(200)]
    for xid in range(200):
        client.send(create(xid, f"/n{xid}") + PING)
        assert [client.reply(), client.reply()] == [(xid, 0), (-2, 0)]
    assert open_files(pid) <= 56, "some are left for files and peers"
    wait_until("files can be opened", lambda: len(list(snapshots.glob("snapshot.*"))) > 1, 10)
    client.send(PING)
    assert client.reply() == (-2, 0)
    for each in crowd:
        each.sock.close()
    wait_until("there is room again", lambda: four_letter(port, "ruok") == "imok", 10)
    with Raw(port).handshake() as late:
        late.send(exists(1, "/n49"))
        assert late.reply() == (1, 0)
    client.sock.close()
