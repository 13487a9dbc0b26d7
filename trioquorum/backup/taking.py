"""Where a backup comes from: the leader of an ensemble that runs, or the data directory of one server.

A directory is for standalone servers, which nobody can join, and for what is left of a peer. Its newest snapshot and
the log behind it are loaded as a server would load them; a server may run there. Of a peer of an ensemble the log may
end in transactions that are not committed yet and perhaps never will be, so ensembles are asked instead.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from trioquorum.backup import archive
from trioquorum.backup.archive import Manifest
from trioquorum.backup.directory import inner, load_directory
from trioquorum.backup.guest import copy_tree
from trioquorum.clocks import fresh_random, wall_clock_ms
from trioquorum.config import ServerConfig
from trioquorum.errors import ConfigError
from trioquorum.limits import Limits
from trioquorum.status import Target, look, membership_of, targets_of
from trioquorum.transport import Address, Transports
from trioquorum.tree.nodes import DataTree
from trioquorum.zab.quorum import QuorumConfig

RETRY_S: Final = 0.25
SILENT_ROLES: Final = ("unreachable", "unknown", "standalone")
"""As ``status`` says: who is so never tells an ensemble's configuration, however often it is asked."""


async def back_up_ensemble(
    folder: Path,
    server: ServerConfig | None,
    targets: Sequence[Target],
    *,
    patience_s: float,
    received: Callable[[int], object] = lambda _: None,
) -> Manifest:
    """Make ``folder`` a backup of the ensemble that ``server`` belongs to, or that ``targets`` serve.

    Raises:
        ConfigError: nobody tells where a leader could be.
        ConnectFailed: there is no leader, or it gave nothing.
        StorageError: ``folder`` is not empty.
        OSError: it cannot be written.
    """
    archive.require_empty(folder)
    limits = Limits() if server is None else server.limits
    addresses = await _addresses(server, targets, patience_s)
    copy = await copy_tree(
        addresses,
        Transports(),
        fresh_random(),
        frame_bytes_max=limits.peer_frame_bytes_max,
        patience_s=patience_s,
        silence_s=patience_s,
        received=received,
        new_tree=partial(DataTree, emulates_353=server is not None and server.emulate_353_ttl_nodes),
    )
    return archive.write(folder, copy.tree, source=copy.source, epoch=copy.epoch, now_ms=wall_clock_ms())


async def _addresses(server: ServerConfig | None, targets: Sequence[Target], patience_s: float) -> list[Address]:
    """Where leaders listen, by the configuration that is in force if somebody tells it, then by the file.

    Without a file, peers that look for a leader are asked again until one tells, or ``patience_s`` are over.
    """
    configs: list[QuorumConfig] = []
    asked = targets or targets_of(server.peers if server is not None else ())
    live = await membership_of(asked)
    give_up_at = trio.current_time() + patience_s
    while live is None and server is None and trio.current_time() < give_up_at and await _some_peer(asked):
        await trio.sleep(RETRY_S)
        live = await membership_of(asked)
    if live is not None:
        configs.append(live)
    if server is not None and server.peers:
        configs.append(server.quorum_config())
    if not configs:
        raise ConfigError(
            "nobody answers `conf` as a peer of an ensemble; name the ensemble with --peers, or a standalone server's "
            "directory with --data-dir"
        )
    found = [Address.parse(config.members[sid].quorum) for config in configs for sid in sorted(config.voters)]
    return list(dict.fromkeys(found))


async def _some_peer(targets: Sequence[Target]) -> bool:
    """Whether somebody answers that may tell the configuration once there is a leader."""
    return any(peer.role not in SILENT_ROLES for peer in (await look(targets)).peers)


async def back_up_directory(folder: Path, data_dir: Path, log_dir: Path | None = None) -> Manifest:
    """Make ``folder`` a backup of what a server would load from a data directory.

    Raises:
        StorageError: a server would not start there, or ``folder`` is not empty.
        OSError: it cannot be written.
    """
    archive.require_empty(folder)
    loaded = await load_directory(data_dir, log_dir)
    await trio.lowlevel.checkpoint()
    return archive.write(folder, loaded.tree, source=str(inner(data_dir)), epoch=loaded.current, now_ms=wall_clock_ms())
