"""A whole ensemble on this machine's loopback, one process per peer, for trying things out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from trioquorum.admin.controls import Controls
from trioquorum.admin.settings import AdminSettings, origin_of
from trioquorum.config import PEER_ID_MAX, PeerSpec
from trioquorum.errors import ConfigError
from trioquorum.ports import free_ports
from trioquorum.processes import STOP_TIMEOUT_S as STOP_TIMEOUT_S, PeerProcesses
from trioquorum.status import look, targets_of
from trioquorum.transport import Address

QUORUM_PORT_OFFSET: Final = 700
ELECTION_PORT_OFFSET: Final = 1700
ADMIN_PORT_OFFSET: Final = 5900
"""Of the peers' admin ports; the one below is for the page with the controls."""

PORTS_EACH: Final = 4
LOOPBACK: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 30.0

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
        ports = free_ports(PORTS_EACH * count)
    return tuple(_spec(i + 1, ports[PORTS_EACH * i : PORTS_EACH * (i + 1)]) for i in range(count))


def _spec(peer: int, ports: Sequence[int]) -> PeerSpec:
    client, quorum, election = (Address("tcp", "127.0.0.1", port) for port in ports[:3])
    return PeerSpec(id=peer, client=client, quorum=quorum, election=election, admin=f"http://127.0.0.1:{ports[3]}")


def page_port(base_port: int) -> int:
    """Where the page with the controls is; 0 takes a free port."""
    return base_port + ADMIN_PORT_OFFSET - 1 if base_port else 0


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
    serving: Callable[[str], None],
    page_port: int = 0,
) -> int:
    """Start every peer, then watch over them; ``serving`` is called with the page's URL when all of them serve.

    Each peer logs to ``data_dir/peer<id>.log``. A peer that ends before the ensemble serves ends them all; later
    the others go on, and the run ends with the last, unless a page may still start one that it has killed. Returns the
    exit code of the first that did not end well, else 0. When cancelled, the peers are stopped one after the other.

    Raises:
        OSError: the page's port cannot be bound; ``filename`` holds its URL.
    """
    await trio.Path(data_dir).mkdir(parents=True, exist_ok=True)
    file = data_dir / "peers.toml"
    await trio.Path(file).write_text(peers_toml(peers), encoding="utf-8")
    processes = PeerProcesses(peers, file, data_dir, log_level, say)
    known = frozenset(origin_of(spec.admin) for spec in peers if spec.admin is not None)
    controls = Controls(AdminSettings(host=LOOPBACK, port=page_port, origins=known), processes)
    code = 1
    async with trio.open_nursery() as nursery:
        url = await nursery.start(controls.port.run, name="the ensemble's page")
        processes.origins = (url,)
        try:
            await processes.start_all()
            code = await _until_serving(peers, processes, data_dir, say)
            if not code:
                serving(url)
                code = await processes.attend()
        finally:
            with trio.move_on_after(STOP_TIMEOUT_S * (len(peers) + 1), shield=True):
                await processes.stop_all()
        nursery.cancel_scope.cancel(reason="the ensemble has ended")
    return code


async def _until_serving(
    peers: Sequence[PeerSpec], processes: PeerProcesses, data_dir: Path, say: Callable[[str], None]
) -> int:
    """0 as soon as every peer serves, else the exit code of one that ended or 1 when it takes too long."""
    with trio.move_on_after(START_TIMEOUT_S):
        while True:
            for peer in processes.ended():
                say(await processes.epitaph(peer))
                return processes.exit_code(peer) or 1
            status = await look(targets_of(peers))
            if status.quorum and all(peer.problem is None for peer in status.peers):
                return 0
            await trio.sleep(_POLL_S)
    say(f"the ensemble does not serve after {START_TIMEOUT_S:.0f} s; see the logs in {data_dir}")
    return 1
