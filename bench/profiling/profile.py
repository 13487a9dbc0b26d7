"""``python -m bench profile``: a workload on an ensemble in which one peer has the sampler inside."""

import signal
import time
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from bench import machine
from bench.loads import Ensemble
from bench.profiling import flame
from bench.report import number, table
from bench.servers import Trioquorum
from bench.workload import Workload

WRITTEN_S: Final = 10.0
SETTLE_S: Final = 1.0
"""Sampling begins so long after the load, which has its own set-up."""
TOP: Final = 30


class Role(StrEnum):
    """Whom to look at."""

    LEADER = "leader"
    FOLLOWER = "follower"
    STANDALONE = "standalone"


class Sampled(Trioquorum):
    """Every peer has a sampler, which does nothing until it is told to."""

    def command(self, i: int) -> list[str]:
        command = super().command(i)
        at = command.index("serve")
        return [command[0], "-m", "bench.profiling.sampler", str(self.stacks(i)), *command[at:]]

    def stacks(self, i: int) -> Path:
        """Where a peer writes what it sampled."""
        return self.peer_folder(i) / "stacks"


def run(name: str, workload: Workload, role: Role, out: Path, folder: Path) -> str:
    """Write the flame graph to ``out`` and the stacks next to it; the table.

    Raises:
        RuntimeError: no peer has that role, or it wrote nothing.
    """
    # The load is longer than what is sampled: its set-up and clean-up are not what is asked about.
    longer = msgspec.structs.replace(workload, seconds=workload.seconds + 2 * SETTLE_S)
    with Sampled(folder / "servers", workload.peers, many_clients=True, transport=workload.transport) as servers:
        servers.start()
        modes = servers.wait_serving()
        looked_at = next((i for i, mode in modes.items() if mode == role.value), None)
        if looked_at is None:
            raise RuntimeError(f"no peer is {role.value}: {modes}")
        ensemble = Ensemble(servers)
        if workload.znodes:
            ensemble.fill(workload)
        process, pid = servers.processes[looked_at], servers.pids()[looked_at]
        spent = 0.0

        def on_line(line: str) -> None:
            nonlocal spent
            if line == "measuring":
                spent = -machine.cpu_s(pid)
                process.send_signal(signal.SIGUSR1)
            elif line == "measured":
                process.send_signal(signal.SIGUSR2)
                spent += machine.cpu_s(pid)

        figures, _ = ensemble.run(longer, on_line)
        text = _written(servers.stacks(looked_at))
    stacks = flame.parse(text)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".stacks").write_text(text)
    shown = flame.below(stacks, _is_ours)
    out.write_text(flame.svg(f"{name}, {role.value}", shown))
    return _summary(name, role, stacks, figures["rate_per_s"], spent)


def _written(file: Path) -> str:
    deadline = time.monotonic() + WRITTEN_S
    while not file.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the peer wrote no stacks")
        time.sleep(0.05)
    return file.read_text()


def _is_ours(name: str) -> bool:
    """Functions of the server but for the way to them through Trio and the command line."""
    return not name.startswith(("trio/", "cli", "running.py", "ensemble", "bench", "<", "typer/", "click/", "/"))


def _summary(name: str, role: Role, stacks: flame.Stacks, rate_per_s: float, spent_s: float) -> str:
    own, whole = flame.self_times(stacks), flame.whole_times(stacks)
    total = own.total()
    rows = [
        [function, f"{share:.1%}", f"{own[function] / total:.1%}"]
        for function, share in flame.top(_only_work(whole, total), total, TOP)
    ]
    leaves = [[function, f"{share:.1%}"] for function, share in flame.top(own, total, TOP)]
    head = f"{name}, {role.value}: {number(rate_per_s)} operations/s, {spent_s:.2f} CPU s of this peer, {total} samples"
    return f"{head}\n\n{table(['function', 'with callees', 'itself'], rows)}\n\n{table(['function', 'itself'], leaves)}"


def _only_work(whole: Counter[str], total: int) -> Counter[str]:
    """Without what is under everything."""
    return Counter({name: count for name, count in whole.items() if count < 0.97 * total and _is_ours(name)})
