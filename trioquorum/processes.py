"""The peers of ``trioquorum ensemble`` as processes: started, stopped, and struck as the page's controls say."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from trioquorum.admin.feed import EnsembleState, PeerProcess
from trioquorum.admin.orders import (
    AnyOrder,
    Heal,
    Kill,
    Partition,
    Pause,
    Restart,
    Resume,
    check_groups,
    parted_from,
)
from trioquorum.config import PeerSpec
from trioquorum.errors import ConfigError

STOP_TIMEOUT_S: Final = 6.0  # a peer stops itself within 5 s
ORDER_S: Final = 2.0
"""How long a peer may take to read who it is parted from; one that is paused reads it later, from the pipe."""


class PeerProcesses:
    """One process for each of ``peers``, which log to ``data_dir/peer<id>.log``.

    ``origins`` are pages that may use the peers' admin ports besides their own, from the next start on. ``say`` is told
    of each peer that ends though nobody asked for it.
    """

    def __init__(
        self,
        peers: Sequence[PeerSpec],
        file: Path,
        data_dir: Path,
        log_level: str,
        say: Callable[[str], None],
    ) -> None:
        """``file`` is the peers.toml of ``peers``."""
        self.changed = trio.Event()
        self._specs = {spec.id: spec for spec in peers}
        self._file = file
        self._data_dir = data_dir
        self._log_level = log_level
        self._say = say
        self.origins: Sequence[str] = ()
        self._processes: dict[int, trio.Process] = {}
        self._paused: set[int] = set()
        self._struck: set[trio.Process] = set()
        self._groups: list[list[int]] = []
        self._orders = trio.Lock()
        self._code = 0
        self._over = trio.Event()

    # Life

    async def start_all(self) -> None:
        """Start every peer."""
        await trio.lowlevel.checkpoint()
        for peer in self._specs:
            await self._start(peer)

    async def stop_all(self) -> None:
        """Stop the peers one after the other, the last one first."""
        await trio.lowlevel.checkpoint()
        for peer in reversed(self._processes):
            await self._stop(peer)

    def ended(self) -> list[int]:
        """Who does not run."""
        return [peer for peer, process in self._processes.items() if process.poll() is not None]

    def exit_code(self, peer: int) -> int | None:
        """How ``peer`` ended."""
        return self._processes[peer].returncode

    async def attend(self) -> int:
        """Wait until every peer has ended by itself; the exit code of the first that did not end well, else 0.

        Peers that were killed because a page asked are waited for: they may be started again.
        """
        async with trio.open_nursery() as nursery:
            for peer in self._specs:
                nursery.start_soon(self._watch, peer, name=f"peer {peer}")
            await self._over.wait()
            nursery.cancel_scope.cancel(reason="every peer has ended")
        return self._code

    async def _watch(self, peer: int) -> None:
        while True:
            process = self._processes[peer]
            code = await process.wait()
            if process not in self._struck:
                self._code = self._code or code
                self._say(await self.epitaph(peer))
            self._tell()
            if len(self.ended()) == len(self._specs) and self._struck.isdisjoint(self._processes.values()):
                self._over.set()
            while self._processes[peer] is process:
                await self.changed.wait()
            self._struck.discard(process)

    async def epitaph(self, peer: int) -> str:
        """How a peer ended, and its last words."""
        text = await trio.Path(self._log_file(peer)).read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines()
        last = f"; it said: {lines[-1]}" if lines else ""
        return f"peer {peer} ended with code {self.exit_code(peer)}{last}"

    async def _start(self, peer: int) -> None:
        command = [sys.executable, "-m", "trioquorum.ensemble_peer", "--id", str(peer), "--peers", str(self._file)]
        command += ["--data-dir", str(self._data_dir / f"peer{peer}"), "--log-level", self._log_level]
        for origin in self.origins:
            command += ["--admin-origin", origin]
        async with await trio.open_file(self._log_file(peer), "ab") as log:
            # A session of its own: Ctrl-C reaches this process alone, which then stops the peers in order.
            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=log.fileno(), stderr=log.fileno(), start_new_session=True
            )
        self._paused.discard(peer)
        self._processes[peer] = process
        await self._tell_parted(peer)
        self._tell()

    async def _stop(self, peer: int) -> None:
        process = self._processes[peer]
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        with trio.move_on_after(STOP_TIMEOUT_S):
            await process.wait()
            return
        process.kill()
        await process.wait()

    def _log_file(self, peer: int) -> Path:
        return self._data_dir / f"peer{peer}.log"

    # Orders

    def state(self) -> EnsembleState:
        """The peers as they are."""
        return EnsembleState(peers=[self._told(spec) for spec in self._specs.values()], groups=self._groups)

    def _told(self, spec: PeerSpec) -> PeerProcess:
        code = self._processes[spec.id].poll()
        state = "ended" if code is not None else "paused" if spec.id in self._paused else "running"
        return PeerProcess(id=spec.id, state=state, code=code, admin=spec.admin or "")

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def obey(self, order: AnyOrder) -> None:
        """Carry an order out.

        Raises:
            ConfigError: it makes no sense, or not now.
        """
        async with self._orders:
            match order:
                case Partition(groups=groups):
                    await self._part(groups)
                case Heal():
                    await self._part([])
                case Restart(peer=peer):
                    self._check(peer)
                    await self._kill(peer)
                    await self._start(peer)
                case Kill(peer=peer):
                    self._running(peer)
                    await self._kill(peer)
                case Pause(peer=peer):
                    self._running(peer).send_signal(signal.SIGSTOP)
                    self._paused.add(peer)
                case Resume(peer=peer):
                    self._running(peer).send_signal(signal.SIGCONT)
                    self._paused.discard(peer)
            self._tell()

    def _check(self, peer: int) -> None:
        if peer not in self._specs:
            raise ConfigError(f"there is no peer {peer}")

    def _running(self, peer: int) -> trio.Process:
        self._check(peer)
        process = self._processes[peer]
        if process.poll() is not None:
            raise ConfigError(f"peer {peer} does not run")
        return process

    async def _kill(self, peer: int) -> None:
        process = self._processes[peer]
        if process.poll() is None:
            self._struck.add(process)
            process.kill()
        await process.wait()

    async def _part(self, groups: list[list[int]]) -> None:
        await trio.lowlevel.checkpoint()
        check_groups(groups, self._specs)
        self._groups = groups
        for peer in self._specs:
            await self._tell_parted(peer)

    async def _tell_parted(self, peer: int) -> None:
        process = self._processes[peer]
        assert process.stdin is not None
        await trio.lowlevel.checkpoint()
        try:
            with trio.move_on_after(ORDER_S):
                await process.stdin.send_all(msgspec.json.encode(parted_from(peer, self._groups)) + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # It has ended, or is about to.
