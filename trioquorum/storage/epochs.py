"""acceptedEpoch and currentEpoch, the two promises a peer must not forget (quorum-protocol §21)."""

from typing import Final, Self

import trio

from trioquorum.errors import StorageError
from trioquorum.invariants import invariant
from trioquorum.storage.disk import Disk

ACCEPTED: Final = "acceptedEpoch"
CURRENT: Final = "currentEpoch"
CURRENT_UNFINISHED: Final = "currentEpoch.tmp"


class Epochs:
    """The last epoch that was accepted and the last one whose history was taken over; both survive a crash."""

    def __init__(self, disk: Disk, accepted: int, current: int) -> None:
        self.accepted = accepted
        self.current = current
        self._disk = disk

    @classmethod
    async def load(cls, disk: Disk, last_zxid: int) -> Self:
        """Read both files, and make those that are missing, for a database whose last zxid is ``last_zxid``.

        Raises:
            StorageError: they contradict each other or the database.
        """
        names = await disk.list()
        epoch = last_zxid >> 32
        current = await _read(disk, CURRENT) if CURRENT in names else epoch
        accepted = await _read(disk, ACCEPTED) if ACCEPTED in names else epoch
        if epoch > current:
            unfinished = await disk.read(CURRENT_UNFINISHED) if CURRENT_UNFINISHED in names else b""
            current = _adopt(unfinished, epoch, current, accepted)
        if current > accepted:
            raise StorageError(
                f"{ACCEPTED} is {accepted} but {CURRENT} is {current}: one of them was lost; move this peer's data "
                "away and let it take everything from the others"
            )
        if ACCEPTED not in names:
            await disk.write_atomic(ACCEPTED, b"%d" % accepted)
        if CURRENT not in names or current != await _read(disk, CURRENT):
            await disk.write_atomic(CURRENT, b"%d" % current)
        return cls(disk, accepted, current)

    async def set_accepted(self, epoch: int) -> None:
        """Promise to follow no leader of an older epoch; durable when it returns.

        Raises:
            DiskFailed: the promise cannot be kept.
        """
        invariant(epoch >= self.accepted, "acceptedEpoch never decreases", new=epoch, old=self.accepted)
        if epoch > self.accepted:
            await self._disk.write_atomic(ACCEPTED, b"%d" % epoch)
            self.accepted = epoch
        else:
            await trio.lowlevel.checkpoint()

    async def set_current(self, epoch: int) -> None:
        """The history of this epoch's leader is on disk; durable when it returns.

        Raises:
            DiskFailed: it is unknown whether that was noted.
        """
        invariant(epoch >= self.current, "currentEpoch never decreases", new=epoch, old=self.current)
        invariant(epoch <= self.accepted, "currentEpoch is an accepted one", new=epoch, accepted=self.accepted)
        if epoch > self.current:
            await self._disk.write_atomic(CURRENT, b"%d" % epoch)
            self.current = epoch
        else:
            await trio.lowlevel.checkpoint()


async def _read(disk: Disk, name: str) -> int:
    text = (await disk.read(name)).strip()
    # int() would also take signs, underscores and other digits.
    if not (text.isascii() and text.isdigit()):
        raise StorageError(
            f"{name} holds {text[:20]!r} and no number; restore it, or move this peer's data away and let it take "
            "everything from the others"
        )
    return int(text)


def _adopt(unfinished: bytes, epoch: int, current: int, accepted: int) -> int:
    """The current epoch of a database that is newer than currentEpoch says.

    A crash came between a write of the history and the end of the write of currentEpoch. Its unfinished file tells
    the value; without one the accepted epoch does, because what came with it was durable before.
    """
    text = unfinished.strip()
    if text.isascii() and text.isdigit() and epoch <= int(text) <= accepted:
        return int(text)
    if accepted >= epoch:
        return epoch
    raise StorageError(
        f"the database is of epoch {epoch}, but {CURRENT} is {current} and {ACCEPTED} {accepted}: they were lost or "
        "come from another peer; move this peer's data away and let it take everything from the others"
    )
