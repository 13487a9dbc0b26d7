"""How every process of trioquorum runs: until a signal, and with a last line that says why it ended."""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from trioquorum.exits import Exit, explain

STOP_TIMEOUT_S: Final = 5.0
GC_THRESHOLDS: Final = (20_000, 20, 50)


def collect_seldom() -> None:
    """For the process of a server, which makes hardly any cycles: by default a sixth of its time goes into looking.

    A batch of writes has thousands of objects under way, so the collector would run in the middle of each.
    """
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def until_signalled(run: Callable[[], Awaitable[object]], stop_timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Run until SIGINT or SIGTERM cancel it.

    A second signal, or ``stop_timeout_s`` without an end after the first, ends the process.
    """
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def work() -> None:
            with scope:
                await run()
            nursery.cancel_scope.cancel(reason="the server ended")

        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            nursery.start_soon(work, name="serve")
            await anext(signals)
            scope.cancel(reason="signal")
            with trio.move_on_after(stop_timeout_s):
                await anext(signals)
            # The work still runs, or this task would have been cancelled. Nothing acknowledged can be lost by leaving:
            # what was acknowledged is on disk.
            say("did not stop in time; leaving anyway")
            os._exit(Exit.UNEXPECTED)


def say(line: str) -> None:
    """Write a line to stderr."""
    print(f"trioquorum: {line}", file=sys.stderr)


def tell_why(error: BaseException) -> Exit:
    """Write what happened to stderr; the exit code."""
    code, line = explain(error)
    if code is Exit.UNEXPECTED:
        traceback.print_exception(error)
    say(line)
    return code
