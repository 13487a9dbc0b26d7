"""Real ``trioquorum serve`` processes, each in a namespace of its own; one of them keeps its data on a small disk."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import trio

from tests.interop.namespaces.network import CLIENT_PORT, Network, run

TICK_TIME_MS: Final = 250
SYNC_LIMIT_S: Final = 5 * TICK_TIME_MS / 1000
SESSION_TIMEOUT_MAX_S: Final = 20 * TICK_TIME_MS / 1000
SMALL_DISK_BYTES: Final = 16 << 20
DATA_FOLDER: Final = "version-2"


class Peers:
    """Peers ``ids`` of ``network``; as a context manager: no process and no mount is left behind the block.

    ``small`` is the one with the small disk, and the only one that removes old files: what a quorum acknowledged is in
    the logs of the others in any case. Files are below ``folder``.
    """

    def __init__(self, folder: Path, network: Network, ids: list[int]) -> None:
        self.ids = ids
        self.small = ids[-1]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._ended: list[tuple[int, int]] = []
        self._folder = folder
        self._network = network
        for i in ids:
            self._config(i).write_text(_settings(purge=i == self.small) + "".join(self._table(j) for j in ids))

    def _config(self, i: int) -> Path:
        return self._folder / f"peer{i}.toml"

    def _table(self, i: int) -> str:
        host = self._network.address(i)
        return (
            f"\n[[peer]]\nid = {i}\n"
            f'quorum = "tcp://{host}:2888"\nelection = "tcp://{host}:3888"\nclient = "tcp://{host}:{CLIENT_PORT}"\n'
        )

    def __enter__(self) -> Self:
        disk = self._data_dir(self.small)
        disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", self._network.name, str(disk))
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(*self.ids)
        run("umount", str(self._data_dir(self.small)))

    def _data_dir(self, i: int) -> Path:
        return self._folder / f"peer{i}"

    @property
    def data_folders(self) -> dict[int, Path]:
        """Where the peers' logs and snapshots are."""
        return {i: self._data_dir(i) / DATA_FOLDER for i in self.ids}

    def log(self, i: int) -> Path:
        """Everything that a peer ever said."""
        return self._folder / f"peer{i}.log"

    def events(self, i: int, *names: str) -> Iterator[dict[str, Any]]:
        """Events of some kinds in a peer's log, oldest first."""
        with self.log(i).open(errors="replace") as lines:
            for line in lines:
                # A line that a kill cut off is followed by the next life's first one.
                if line.startswith("{") and line.endswith("}\n") and any(f'"{name}"' in line for name in names):
                    with contextlib.suppress(ValueError):
                        event = json.loads(line)
                        if event.get("event") in names:
                            yield event

    # Power

    def start(self, *ids: int) -> None:
        """Start those of ``ids`` that do not run."""
        for i in ids:
            if self.runs(i):
                continue
            # The kernel kills it with us, so that not even a killed test leaves it behind.
            command = ["ip", "netns", "exec", self._network.namespace(i), "setpriv", "--pdeathsig", "KILL"]
            command += [sys.executable, "-m", "trioquorum", "serve", "--id", str(i), "--peers", str(self._config(i))]
            command += ["--data-dir", str(self._data_dir(i)), "--log-json"]
            with self.log(i).open("ab") as log:
                self._processes[i] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, *ids: int) -> None:
        """``kill -9`` those of ``ids`` that run."""
        for i in ids:
            if self.runs(i):
                process = self._processes.pop(i)
                process.kill()
                process.wait()

    def pause(self, *ids: int) -> None:
        """SIGSTOP those of ``ids`` that run."""
        self._signal(signal.SIGSTOP, ids)

    def resume(self, *ids: int) -> None:
        """SIGCONT those of ``ids`` that run."""
        self._signal(signal.SIGCONT, ids)

    def _signal(self, number: signal.Signals, ids: tuple[int, ...]) -> None:
        for i in ids:
            if self.runs(i):
                self._processes[i].send_signal(number)

    def runs(self, i: int) -> bool:
        """Whether a peer was started and neither killed nor ended by itself."""
        process = self._processes.get(i)
        if process is not None and (code := process.poll()) is not None:
            self._ended.append((i, code))
            del self._processes[i]
        return i in self._processes

    def take_ended(self) -> list[tuple[int, int]]:
        """Peers that ended by themselves since the last look, with their exit codes."""
        for i in self.ids:
            self.runs(i)
        ended, self._ended = self._ended, []
        return ended

    def last_words(self, i: int) -> str:
        """The end of a peer's log."""
        return self.log(i).read_text(errors="replace")[-3000:]

    # The small disk

    def fill_disk(self) -> None:
        """Leave no byte free on the small disk."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):  # ENOSPC: that is what we want
                    while True:
                        file.write(bytes(size))

    def free_disk(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self._data_dir(self.small) / "ballast"

    # What they say

    async def modes(self) -> dict[int, str | None]:
        """What each peer says it is; None for one that serves nobody or does not answer."""
        return {i: _said("Mode", answer) for i, answer in (await self._ask("srvr")).items()}

    async def zxids(self) -> set[str | None]:
        """The last zxids that peers have processed, None for one that does not say."""
        return {_said("Zxid", answer) for answer in (await self._ask("srvr")).values()}

    async def _ask(self, word: str) -> dict[int, str]:
        answers: dict[int, str] = {}

        async def ask(i: int) -> None:
            answers[i] = await self._network.four_letter(i, word)

        async with trio.open_nursery() as nursery:
            for i in self.ids:
                nursery.start_soon(ask, i)
        return answers

    def one_leads(self, modes: dict[int, str | None]) -> bool:
        """Whether everybody serves, one as the leader."""
        return sorted(str(mode) for mode in modes.values()) == ["follower"] * (len(self.ids) - 1) + ["leader"]


def _settings(*, purge: bool) -> str:
    # Small numbers, so that snapshots, new logs and joining by SNAP happen during a run.
    return f"""
[ensemble]
tick_time_ms = {TICK_TIME_MS}
log_preallocate_bytes = 8192
disk_reserve_bytes = 0
purge_enabled = {str(purge).lower()}

[limits]
snap_count = 1000
committed_log_txns_max = 100
connections_per_ip_max = 0
"""


def _said(key: str, answer: str) -> str | None:
    found = re.search(rf"^{key}: (.*)$", answer, re.MULTILINE)
    return found[1] if found else None
