"""A disk whose flushes a test lets pass one by one, so that it decides how long requests are under way."""

import trio

from trioquorum.storage.memory_disk import MemoryDisk


class GatedDisk(MemoryDisk):
    """Quick until ``close``; then each flush of a log waits for a turn of ``let_pass``."""

    def __init__(self) -> None:
        super().__init__()
        self._turns: trio.Semaphore | None = None

    def close(self) -> None:
        """From now on flushes wait."""
        self._turns = trio.Semaphore(0)

    def open(self) -> None:
        """Flushes are quick again, those that wait as well."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.release()

    async def let_pass(self, flushes: int) -> None:
        """Let so many flushes pass, and wait until everything that follows from them is done."""
        assert self._turns is not None
        for _ in range(flushes):
            self._turns.release()
        await trio.testing.wait_all_tasks_blocked(0.02)

    async def flush(self, name: str, size: int) -> None:
        await super().flush(name, size)
        if self._turns is not None and name.startswith("log."):
            await self._turns.acquire()
