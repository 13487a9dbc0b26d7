"""This server with a sampling profiler inside: ``python -m bench.profiling.sampler FILE serve …``.

SIGUSR1 begins to sample, SIGUSR2 ends that and writes the stacks to FILE, a line each: functions from the outermost to
the innermost, ``;`` between them, then how often. The timer runs with the CPU time of the process, so nobody is sampled
who waits; the kernel looks at it once a tick. Python handles signals in the main thread, between bytecodes: time in a C
function belongs to the line that called it, and that of the log's thread to whatever the main thread does meanwhile.
"""

import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

from trioquorum.cli import main as serve

EVERY_S: Final = 0.001
"""Shorter than a kernel's tick, which is what it comes to."""
_WHERE: Final = ("/trioquorum/", "/trioquorum_transports/", "/site-packages/")

Stack = tuple[CodeType | int, ...]
"""Innermost first: the line, then the functions."""


class Sampler:
    """Counts stacks while it is on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stacks: Counter[Stack] = Counter()

    def install(self) -> None:
        """Listen to the signals."""
        signal.signal(signal.SIGUSR1, self._begin)
        signal.signal(signal.SIGUSR2, self._end)
        signal.signal(signal.SIGPROF, self._sample)

    def _begin(self, number: int, frame: FrameType | None) -> None:
        """Trio would wake up for every signal that is written to its descriptor, and is not to."""
        del number, frame
        signal.set_wakeup_fd(-1)
        self._stacks.clear()
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def _end(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.setitimer(signal.ITIMER_PROF, 0)
        lines = [f"{_text(stack)} {count}\n" for stack, count in self._stacks.items()]
        unfinished = self._file.with_suffix(".part")
        unfinished.write_text("".join(lines))
        unfinished.replace(self._file)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        del number
        if frame is None:
            return
        stack: list[CodeType | int] = [frame.f_lineno]
        at: FrameType | None = frame
        while at is not None:
            stack.append(at.f_code)
            at = at.f_back
        self._stacks[tuple(stack)] += 1


def _text(stack: Stack) -> str:
    line, *codes = stack
    names = [_name(code) for code in codes if isinstance(code, CodeType)]
    return ";".join(reversed([f"line {line}", *names]))


def _name(code: CodeType) -> str:
    file = code.co_filename
    for where in _WHERE:
        _, found, tail = file.rpartition(where)
        if found:
            file = tail
            break
    return f"{file}:{code.co_qualname}".replace(";", ",").replace(" ", "")


def main() -> None:
    """Serve, with the sampler in place."""
    Sampler(Path(sys.argv[1])).install()
    sys.argv[1:2] = []
    serve()


if __name__ == "__main__":
    main()
