"""``trioquorum`` in a process that kills itself at a point that has a name: ``python -m tests.kit.crashing ORDERS …``.

The file ORDERS, when it is there, says which point and at which pass (``snapshot.unnamed 1``). Whoever gets there
renames it to ``<ORDERS>.done`` and dies by SIGKILL, in the middle of what it does; nothing is cleaned up or flushed.
The points lie in the way of the real disk, in subclasses of it: the server itself knows nothing of them.
"""

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from trioquorum import cli
from trioquorum.peer import surroundings
from trioquorum.storage import disk as disk_module
from trioquorum.storage.database import Database
from trioquorum.storage.disk import RealDisk
from trioquorum.storage.files import AppendFile

RUNNING: Final = (
    ("append.torn", "append.unflushed", "append.flushed")
    + ("roll.closed", "roll.begun")
    + ("snapshot.writing", "snapshot.unnamed", "snapshot.named")
    + ("purge.next",)
)  # fmt: skip
"""Points of a peer that serves, while clients write and snapshots are due."""

STARTING: Final = ("start.reading", "start.cutting", "start.cut")
"""Points of a start: in the middle of the files, and before and after the end of the log is made sure of."""

EPOCHS: Final = ("epoch.accepting", "epoch.accepted", "epoch.beginning", "epoch.begun")
"""Points of an election: acceptedEpoch, then currentEpoch, each before and after it gets its name."""

TRUNCATING: Final = ("truncate.cutting", "truncate.cut")
"""Points of a TRUNC: before the log is cut, and behind that."""

TAKING_OVER: Final = ("takeover.unnamed", "takeover.named")
"""Points of a SNAP: the leader's snapshot is written, before and after it gets its name."""

POINTS: Final = (*RUNNING, *STARTING, *EPOCHS, *TRUNCATING, *TAKING_OVER)

_EPOCH_FILES: Final = {
    "acceptedEpoch": ("epoch.accepting", "epoch.accepted"),
    "currentEpoch": ("epoch.beginning", "epoch.begun"),
}

_doing: ContextVar[str] = ContextVar("_doing", default="")


class _Orders:
    """Where to die."""

    def __init__(self) -> None:
        self.path = Path()
        self._passes = 0

    def due(self, point: str) -> bool:
        """Whether it is here, now."""
        try:
            ordered, at_pass = self.path.read_text().split()
        except FileNotFoundError:
            return False
        if ordered != point:
            return False
        self._passes += 1
        return self._passes >= int(at_pass)

    def die(self) -> None:
        """Leave word and be gone."""
        self.path.rename(f"{self.path}.done")
        os.kill(os.getpid(), signal.SIGKILL)

    def reached(self, point: str) -> None:
        """Die here, if that is what was ordered."""
        if self.due(point):
            self.die()


_orders = _Orders()


class CrashingDisk(RealDisk):
    """A real disk with points to die at."""

    async def read_at(self, name: str, at: int, size: int) -> bytes:
        if _doing.get() == "start":
            _orders.reached("start.reading")
        return await super().read_at(name, at, size)

    async def create(self, name: str) -> AppendFile:
        file = await super().create(name)
        _orders.reached("roll.begun")
        return file

    async def truncate(self, name: str, size: int) -> None:
        before, after = {"start": ("start.cutting", "start.cut"), "truncate": TRUNCATING}.get(_doing.get(), ("", ""))
        _orders.reached(before)
        await super().truncate(name, size)
        _orders.reached(after)

    async def remove(self, name: str) -> None:
        await super().remove(name)
        if _doing.get() == "purge":
            _orders.reached("purge.next")

    def _put_in_place(self, temporary: Path, name: str) -> None:
        before, after = _EPOCH_FILES.get(name, (f"{_doing.get()}.unnamed", f"{_doing.get()}.named"))
        _orders.reached(before)
        super()._put_in_place(temporary, name)
        _orders.reached(after)


class _CrashingAppendFile(disk_module._RealAppendFile):
    def flush(self, data: bytes) -> None:
        if _orders.due("append.torn"):
            disk_module._write(self._fd, data[: len(data) // 2], self._size)
            _orders.die()
        if _orders.due("append.unflushed"):
            disk_module._write(self._fd, data, self._size)
            _orders.die()
        if _orders.due("append.flushed"):
            disk_module._write(self._fd, data, self._size)
            os.fdatasync(self._fd)
            _orders.die()
        super().flush(data)

    async def aclose(self) -> None:
        await super().aclose()
        if _doing.get() == "snapshot":
            _orders.reached("roll.closed")


class _CrashingStream(disk_module._StreamFile):
    async def write(self, chunk: bytes) -> None:
        await super().write(chunk)
        if _doing.get() == "snapshot":
            _orders.reached("snapshot.writing")


def _told(name: str, what: str) -> None:
    """While this method of ``Database`` runs it is known what is being done, in the threads that it uses as well."""
    method: Callable[..., Any] = getattr(Database, name)

    @functools.wraps(method)
    async def knowing(*args: Any, **more: Any) -> Any:
        token = _doing.set(what)
        try:
            return await method(*args, **more)
        finally:
            _doing.reset(token)

    setattr(Database, name, staticmethod(knowing) if inspect.ismethod(method) else knowing)


def main() -> None:
    """Run the command line on disks that may kill."""
    _orders.path = Path(sys.argv.pop(1))
    replaced: tuple[tuple[Any, str, Any], ...] = (
        (surroundings, "RealDisk", CrashingDisk),
        (disk_module, "_RealAppendFile", _CrashingAppendFile),
        (disk_module, "_StreamFile", _CrashingStream),
    )
    for owner, name, ours in replaced:
        setattr(owner, name, ours)
    _told("load", "start")
    _told("take_snapshot", "snapshot")
    _told("purge", "purge")
    _told("truncate", "truncate")
    _told("replace", "takeover")
    cli.main()


if __name__ == "__main__":
    main()
