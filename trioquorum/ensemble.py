"""A whole ensemble on this machine's loopback, one process per peer, for trying things out."""

import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import trio

from trioquorum.config import PEER_ID_MAX, PeerSpec
from trioquorum.errors import ConfigError
from trioquorum.status import look, targets_of
from trioquorum.transport import Address

QUORUM_PORT_OFFSET: Final = 700
ELECTION_PORT_OFFSET: Final = 1700
ADMIN_PORT_OFFSET: Final = 5900
"""Of the peers' admin ports; the one below is for the page with the controls."""

PORTS_EACH: Final = 4
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 6.0  # a peer stops itself within 5 s

_POLL_S: Final = 0.1


def lay_out(count: int, base_port: int) -> tuple[PeerSpec, ...]:
    """Peers 1 to ``count``: clients from ``base_port`` up; 0 takes free ports.

    The quorum ports are 700 above, the election ports 1700, and the admin ports 5900.

    Raises:
        ConfigError: so many peers, or such ports, cannot be.
    """
    if not 1 <= count <= PEER_ID_MAX:
        raise ConfigError(f"--peers {count}: choose 1 to {PEER_ID_MAX}")
    if base_port and not 0 < base_port <= 0xFFFF - ADMIN_PORT_OFFSET - count:
        raise ConfigError(f"--base-port {base_port}: choose 1 to {0xFFFF - ADMIN_PORT_OFFSET - count}, or 0")
    if base_port:
        offsets = (0, QUORUM_PORT_OFFSET, ELECTION_PORT_OFFSET, ADMIN_PORT_OFFSET)
        ports = [base_port + offset + i for i in range(count) for offset in offsets]
    else:
        ports = _free_ports(PORTS_EACH * count)
    return tuple(_spec(i + 1, ports[PORTS_EACH * i : PORTS_EACH * (i + 1)]) for i in range(count))


def _spec(peer: int, ports: Sequence[int]) -> PeerSpec:
    client, quorum, election = (Address("tcp", "127.0.0.1", port) for port in ports[:3])
    return PeerSpec(id=peer, client=client, quorum=quorum, election=election, admin=f"http://127.0.0.1:{ports[3]}")


def peers_toml(peers: Sequence[PeerSpec]) -> str:
    """The ``peers.toml`` of a laid-out ensemble."""
    return "\n".join(
        f'[[peer]]\nid = {spec.id}\nquorum = "{spec.quorum}"\nelection = "{spec.election}"\nclient = "{spec.client}"\n'
        f'admin = "{spec.admin}"\n'
        for spec in peers
    )


async def run(
    peers: Sequence[PeerSpec],
    data_dir: Path,
    log_level: str,
    say: Callable[[str], None],
    serving: Callable[[], None],
) -> int:
    """Start every peer, then watch over them; ``serving`` is called when all of them serve.

    Each peer logs to ``data_dir/peer<id>.log``. A peer that ends before the ensemble serves ends them all; later
    the others go on, and the run ends with the last. Returns the exit code of the first that did not end well, else
    0. When cancelled, the peers are stopped one after the other.
    """
    await trio.Path(data_dir).mkdir(parents=True, exist_ok=True)
    file = data_dir / "peers.toml"
    await trio.Path(file).write_text(peers_toml(peers), encoding="utf-8")
    processes: dict[int, trio.Process] = {}
    try:
        for spec in peers:
            processes[spec.id] = await _start(spec.id, file, data_dir, log_level)
        code = await _until_serving(peers, processes, data_dir, say)
        if code:
            return code
        serving()
        return await _until_all_ended(processes, data_dir, say)
    finally:
        for process in reversed(processes.values()):
            with trio.CancelScope(shield=True):
                await _stop(process)


async def _start(peer: int, file: Path, data_dir: Path, log_level: str) -> trio.Process:
    command = [sys.executable, "-m", "trioquorum", "serve", "--id", str(peer), "--peers", str(file)]
    command += ["--data-dir", str(data_dir / f"peer{peer}"), "--log-level", log_level]
    log = await trio.open_file(_log_file(data_dir, peer), "ab")
    async with log:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the peers in order.
        return await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=log.fileno(), stderr=log.fileno(), start_new_session=True
        )


async def _stop(process: trio.Process) -> None:
    if process.poll() is None:
        process.terminate()
    with trio.move_on_after(STOP_TIMEOUT_S):
        await process.wait()
        return
    process.kill()
    await process.wait()


async def _until_serving(
    peers: Sequence[PeerSpec], processes: dict[int, trio.Process], data_dir: Path, say: Callable[[str], None]
) -> int:
    """0 as soon as every peer serves, else the exit code of one that ended or 1 when it takes too long."""
    with trio.move_on_after(START_TIMEOUT_S):
        while True:
            for peer, process in processes.items():
                if process.poll() is not None:
                    say(await _epitaph(peer, process, data_dir))
                    return process.returncode or 1
            status = await look(targets_of(peers))
            if status.quorum and all(peer.problem is None for peer in status.peers):
                return 0
            await trio.sleep(_POLL_S)
    say(f"the ensemble does not serve after {START_TIMEOUT_S:.0f} s; see the logs in {data_dir}")
    return 1


async def _until_all_ended(processes: dict[int, trio.Process], data_dir: Path, say: Callable[[str], None]) -> int:
    code = 0

    async def watch(peer: int, process: trio.Process) -> None:
        nonlocal code
        ended = await process.wait()
        code = code or ended
        say(await _epitaph(peer, process, data_dir))

    async with trio.open_nursery() as nursery:
        for peer, process in processes.items():
            nursery.start_soon(watch, peer, process)
    return code


async def _epitaph(peer: int, process: trio.Process, data_dir: Path) -> str:
    lines = (await trio.Path(_log_file(data_dir, peer)).read_text(encoding="utf-8", errors="replace")).splitlines()
    last = f"; it said: {lines[-1]}" if lines else ""
    return f"peer {peer} ended with code {process.returncode}{last}"


def _log_file(data_dir: Path, peer: int) -> Path:
    return data_dir / f"peer{peer}.log"


def _free_ports(count: int) -> list[int]:
    """Ports nobody uses at the moment: all are held until the last is found, so that none comes twice."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
