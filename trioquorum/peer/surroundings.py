"""What a peer touches of the world, and the real folders of a configuration."""

import random
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from trioquorum.clocks import fresh_nonce, fresh_random, wall_clock_ms
from trioquorum.config import ServerConfig
from trioquorum.peer.members import Members
from trioquorum.peer.oracle import Ask
from trioquorum.storage import resync
from trioquorum.storage.database import Database
from trioquorum.storage.disk import Disk, RealDisk
from trioquorum.storage.trust import hand_in_marker
from trioquorum.transport import Transports

DATA_FOLDER = "version-2"


def _unwatched(_: object) -> None:
    """Nobody looks."""


class Surroundings(msgspec.Struct, kw_only=True):
    """What a peer touches of the world; tests and the simulator pass their own.

    ``disks`` are the folder of snapshots and epochs and the folder of logs (they may be the same); without them the
    real folders of the configuration are used. ``on_members`` and ``on_database`` are handed the membership and the
    database once they are loaded, to look at. ``oracle`` answers for ``oracle_path``; without it the file is read.
    """

    transports: Transports = msgspec.field(default_factory=Transports)
    rng: random.Random = msgspec.field(default_factory=fresh_random)
    wall_ms: Callable[[], int] = wall_clock_ms
    nonce: Callable[[], str] = fresh_nonce
    disks: tuple[Disk, Disk] | None = None
    on_members: Callable[[Members], object] = _unwatched
    on_database: Callable[[Database], object] = _unwatched
    oracle: Ask | None = None


def open_disks(config: ServerConfig, stack: ExitStack) -> tuple[Disk, Disk]:
    """The real folders of a configuration, locked until ``stack`` ends.

    Raises:
        StorageError: one cannot be used.
    """
    resync.finish(config.data_dir / DATA_FOLDER)
    disks = []
    for folder in dict.fromkeys((config.data_dir / DATA_FOLDER, config.data_log_dir / DATA_FOLDER)):
        disk = RealDisk(
            folder,
            force_sync=config.force_sync,
            preallocate_bytes=config.log_preallocate_bytes,
            keep_free_bytes=config.disk_reserve_bytes,
        )
        disks.append(stack.enter_context(disk))
    hand_in_marker(config.data_log_dir, config.data_log_dir / DATA_FOLDER)
    return disks[0], disks[-1]
