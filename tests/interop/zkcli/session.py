"""Drives one run of ZooKeeper's command line and reads what it prints, command by command."""

import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.kit.zookeepers import java_command

_MAIN: Final = "org.apache.zookeeper.ZooKeeperMain"
_QUIET: Final = "log4j.rootLogger=OFF\n"
_MARK: Final = "redo 1000000"
_MARKED: Final = "Command index out of range"
_EVENT: Final = "WatchedEvent "
_EVENTS: Final = re.compile(r"\(events (\d+)\)")
_WAIT_S: Final = 60


class Session:
    """A started command line.

    It shows no prompt to a pipe, so a command that it refuses on its own, connected or not, is sent after each one:
    the refusal ends the command's output. Events come from a thread of their own at any moment, so they are kept
    apart; the pseudo command ``(events N)`` waits for the next N of them and shows them.
    """

    def __init__(self, folder: Path, host: str, *arguments: str) -> None:
        command = java_command(folder, _MAIN)
        (folder / "log4j.properties").write_text(_QUIET)
        self._process = subprocess.Popen(
            [*command, "-server", host, "-waitforconnection", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self._lines: list[str] = []
        self._events: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._reader.start()
        self._ask("")  # what it says at the start, and that it is connected, is not of the session
        self._next_events(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def run(self, command: str) -> list[str]:
        """Send one command; the lines that it prints, or the events that it waits for."""
        if found := _EVENTS.fullmatch(command):
            return self._next_events(int(found[1]))
        if command == "quit":
            return self._quit()
        return self._ask(command)

    def _ask(self, command: str) -> list[str]:
        self._send(command)
        self._send(_MARK)
        return self._take(
            lambda: next((i for i, it in enumerate(self._lines) if it.startswith(_MARKED)), None), command
        )

    def _quit(self) -> list[str]:
        self._send("quit")
        code = self._process.wait(_WAIT_S)
        self._reader.join()
        return [*self._lines, f"exit code {code}"]

    def _next_events(self, count: int) -> list[str]:
        with self._changed:
            self._wait(lambda: len(self._events) >= count, f"{count} events, there are {self._events}")
            taken, self._events = self._events[:count], self._events[count:]
            return taken

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _take(self, end: Callable[[], int | None], command: str) -> list[str]:
        with self._changed:
            self._wait(lambda: end() is not None, f"the end of {command!r}, there is {self._lines}")
            index = end()
            assert index is not None
            taken = self._lines[:index]
            del self._lines[: index + 1]
            return taken

    def _wait(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not holds():
            assert self._reader.is_alive(), f"the command line ended before {what}"
            assert self._changed.wait(deadline - time.monotonic()), f"not within {_WAIT_S} s: {what}"

    def _read(self) -> None:
        """Blank lines tell nothing: most of them belong to the frame that an event is printed in."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.rstrip("\n")
            with self._changed:
                if text.startswith(_EVENT):
                    self._events.append(text)
                elif text.strip() not in ("", "WATCHER::"):
                    self._lines.append(text)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
