"""Bugs of how a log is taken up again behind a crash."""

from typing import Any, Final

import pytest
import trio

from tests.sim.mutants.mutant import mutant
from trioquorum.storage.disk import AppendFile, Disk
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.txn_log import TxnLog

TORN: Final = {"torn_rate": 0.9, "garbage_rate": 0.9, "zeros_rate": 0.9}
POWER: Final = ("crash", "crash_all")
ROLLS: Final[Any] = {
    "kinds": POWER,
    "disk_rates": {**TORN, "zeros_rate": 0.0},
    "limits": {"snap_count": 4, "committed_log_txns_max": 20},
    "flush_s": 0.1,
    "seeds": 8,
}
"""A new file every few transactions, and slow flushes: power goes off before the first one of a file."""


class _Uncut:
    """A disk that cuts nothing."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    async def truncate(self, name: str, size: int) -> None:
        """As if it were done."""
        del name, size
        await trio.lowlevel.checkpoint()


@mutant("disk-format §2", "the log first, then ACK", "CorruptLog", kinds=POWER, seeds=6, flush_s=0.02, disk_rates=TORN)
def torn_tail_left_in_place(patch: pytest.MonkeyPatch) -> None:
    """Taking a log up for appending cuts as well: both are left out, the recovery's alone changes nothing."""
    real, resume = TxnLog.recover, MemoryDisk.open_append

    async def behind_all(self: MemoryDisk, name: str, at: int) -> AppendFile:
        del at
        return await resume(self, name, len(self.files[name]))

    async def recover(self: TxnLog) -> int:
        disk: Any = self.disk
        self.disk = _Uncut(disk)
        try:
            return await real(self)
        finally:
            self.disk = disk

    patch.setattr(TxnLog, "recover", recover)
    patch.setattr(MemoryDisk, "open_append", behind_all)


@mutant("trap 33, ZOOKEEPER-2332", "CorruptLog", **ROLLS)
def log_that_never_began_is_damage(patch: pytest.MonkeyPatch) -> None:
    async def begun(self: TxnLog, name: str) -> bool:
        del self, name
        await trio.lowlevel.checkpoint()
        return False

    patch.setattr(TxnLog, "_never_begun", begun)


@mutant("trap 33, ZOOKEEPER-2332", "CorruptLog", "the log first, then ACK", **ROLLS)
def log_that_never_began_goes_on_without_a_header(patch: pytest.MonkeyPatch) -> None:
    recover, never_begun = TxnLog.recover, TxnLog._never_begun

    async def noted(self: Any, name: str) -> bool:
        found = await never_begun(self, name)
        self.unbegun = name if found else None
        return found

    async def resumed(self: Any) -> int:
        self.unbegun = None
        zxid = await recover(self)
        if self.unbegun is not None:
            self._file, self._name, self._end = await self.disk.create(self.unbegun), self.unbegun, 0
        return zxid

    patch.setattr(TxnLog, "_never_begun", noted)
    patch.setattr(TxnLog, "recover", resumed)
