"""The ensemble as a peer last knew it, committed and proposed; both survive a crash (quorum-protocol §19).

``membership`` is the committed configuration, ``membership.next`` a newer one that was proposed and perhaps committed
elsewhere. What the operator wrote is never rewritten: of it and the file the one with the higher version counts.
"""

from typing import Final, Self

import trio

from trioquorum.errors import ConfigError, StorageError
from trioquorum.storage.disk import Disk
from trioquorum.zab.quorum import QuorumConfig
from trioquorum.zab.reconfig import parse_config

COMMITTED: Final = "membership"
NEXT: Final = "membership.next"


class Membership:
    """``committed`` decides, and ``last_seen`` with it while that is newer; else they are the same."""

    def __init__(self, disk: Disk, committed: QuorumConfig) -> None:
        self.committed = committed
        self.last_seen = committed
        self._disk = disk
        self._next_on_disk: int | None = None

    @classmethod
    async def load(cls, disk: Disk, written: QuorumConfig) -> Self:
        """Read what is there; ``written`` is what the operator's file says.

        A proposal that is not newer than what is committed was left by a crash, and is removed.

        Raises:
            StorageError: a file is there and cannot be read; nothing is guessed about who may decide.
        """
        names = await disk.list()
        membership = cls(disk, written)
        if COMMITTED in names:
            stored = await _read(disk, COMMITTED)
            if stored.version >= written.version:
                membership.committed = membership.last_seen = stored
        if NEXT in names:
            proposed = await _read(disk, NEXT)
            membership._next_on_disk = proposed.version
            if proposed.version > membership.committed.version:
                membership.last_seen = proposed
            else:
                await membership._remove_next()
        return membership

    async def propose(self, config: QuorumConfig) -> None:
        """A newer configuration was proposed; older ones, which histories hold, change nothing. Durable on return.

        Raises:
            DiskFailed: it is unknown whether that was noted.
        """
        if config.version >= self.last_seen.version:
            await self._see(config)
        else:
            await trio.lowlevel.checkpoint()

    async def take(self, config: QuorumConfig) -> None:
        """An established leader sees ``config`` last: what else was proposed is void. Durable on return.

        Raises:
            DiskFailed: it is unknown whether that was noted.
        """
        await self._see(config if config.version > self.committed.version else self.committed)

    async def forget_unlogged(self, last_logged: int) -> None:
        """What was proposed in a transaction that a crash kept out of the log here was never acknowledged here.

        Whoever is elected without it owes that to a quorum of the committed configuration of whom none has it, so it
        is not committed and never will be. One that stayed would ask for the votes of peers that know more.

        Raises:
            DiskFailed: it is unknown whether it is gone.
        """
        if self.last_seen.version > max(last_logged, self.committed.version):
            self.last_seen = self.committed
            await self._remove_next()
        else:
            await trio.lowlevel.checkpoint()

    async def _see(self, config: QuorumConfig) -> None:
        # Memory first: a peer that is interrupted here behaves as one that has seen it.
        self.last_seen = config
        if config.version <= self.committed.version:
            self.last_seen = self.committed
            await self._remove_next()
        elif config.version != self._next_on_disk:
            await self._disk.write_atomic(NEXT, config.text().encode())
            self._next_on_disk = config.version
        else:
            await trio.lowlevel.checkpoint()

    async def activate(self, config: QuorumConfig) -> bool:
        """``config`` is committed. Whether it is newer than what was; then it is durable on return.

        Raises:
            DiskFailed: it is unknown whether that was noted.
        """
        if config.version <= self.committed.version:
            await trio.lowlevel.checkpoint()
            return False
        await self._disk.write_atomic(COMMITTED, config.text().encode())
        if self.last_seen.version <= config.version:
            await self._remove_next()
        # Memory last, in one step with what the caller tells: nobody hears of it from another task before.
        self.committed = config
        if self.last_seen.version <= config.version:
            self.last_seen = config
        return True

    async def _remove_next(self) -> None:
        if self._next_on_disk is not None:
            await self._disk.remove(NEXT)
            self._next_on_disk = None
        else:
            await trio.lowlevel.checkpoint()


async def _read(disk: Disk, name: str) -> QuorumConfig:
    try:
        return parse_config((await disk.read(name)).decode())
    except (ConfigError, UnicodeDecodeError) as error:
        raise StorageError(
            f"{name} cannot be read: {error}; copy the file of another peer of this ensemble, which must be stopped"
        ) from None
