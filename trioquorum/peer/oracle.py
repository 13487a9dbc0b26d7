"""Who may lead alone when the other one of two voters is gone: an answer from outside (quorum-protocol §20.3)."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

Ask = Callable[[], Awaitable[bool]]
"""Whether this peer may lead alone now."""

ANSWER_S: Final = 1.0


class Oracle:
    """Asks, and takes no answer in ``ANSWER_S`` for a no."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def lets_lead_alone(self) -> bool:
        """The answer of this moment."""
        with trio.move_on_after(ANSWER_S):
            return await self._ask()
        return False


def file_oracle(path: Path) -> Ask:
    """Reads a file that a failure detector writes: ``1`` first means yes; anything else, and no file, means no."""
    # A read that hangs leaves its thread behind; the next ones wait for it instead of hanging as well.
    one_thread = trio.CapacityLimiter(1)

    def read() -> bool:
        with path.open("rb") as file:
            return file.read(1) == b"1"

    async def ask() -> bool:
        await trio.lowlevel.checkpoint()
        try:
            return await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=one_thread)
        except OSError:
            return False

    return ask
