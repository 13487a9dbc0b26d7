"""Runs the load generator: the C program where there is a compiler, else the one in Python, which does less."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, Literal

import msgspec

SOURCES: Final = Path(__file__).parent / "load_generator"
COMPILER_FLAGS: Final = ("-std=gnu11", "-O2")
ENDING_S: Final = 30.0
"""How long a generator may take to end after its last line; the waits before that it bounds itself."""
_COMMON: Final = "client.c wire.c settings.c"
_PROGRAMS: Final = {
    "load": f"load.c worker.c plan.c session.c {_COMMON}",
    "etcd": f"load.c etcd.c http2.c plan.c {_COMMON}",
    "watch": f"watch.c session.c {_COMMON}",
}
OnLine = Callable[[str], None]
_REPOSITORY: Final = Path(__file__).parent.parent


class GeneratorFailed(Exception):
    """A reply was wrong, a server was gone, or the generator cannot do what was asked."""


class Job(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a load is: see ``load_generator/load.c``. ``pids`` are the servers whose CPU time is read.

    ``rate`` above 0 is an open loop of so many requests a second. ``measure_s`` may be 0: then ``nodes`` znodes of each
    connection are created only. ``keep`` leaves them there, for a later job with ``reuse``. ``probes``: pings beside
    the load.
    """

    ports: list[int]
    pids: list[int]
    root: str
    mix: dict[str, int]
    connections: int
    depth: int
    value_bytes: int = 100
    nodes: int = 1
    idle: int = 0
    rate: float = 0.0
    warm_up_s: float = 1.0
    measure_s: float = 3.0
    keep: bool = False
    reuse: bool = False
    probes: bool = True


class Outcome(msgspec.Struct, kw_only=True):
    """What was measured over ``elapsed_s``, after the warm-up.

    ``cpu_s`` is per process of ``Job.pids``; ``generator_share`` is the generator's CPU time per elapsed second, None
    where its work is done inside the servers; the histograms are lists of (µs, how many); ``checked`` counts all
    replies of the run.
    """

    elapsed_s: float
    sets: int = 0
    gets: int = 0
    creates: int = 0
    generator_share: float | None = 0.0
    cpu_s: list[float] = []
    latency_us: list[tuple[float, int]] = []
    ping_us: list[tuple[float, int]] = []
    filled_s: float = 0.0
    checked: int = 0

    @property
    def operations(self) -> int:
        """Of all kinds."""
        return self.sets + self.gets + self.creates


def compiler() -> str | None:
    """The C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


@cache
def _compiled() -> Path:
    """A folder with the programs; made once for each process, since that takes a second."""
    folder = Path(mkdtemp(prefix="bench-generator-"))
    for program, sources in _PROGRAMS.items():
        command = [compiler() or "cc", *COMPILER_FLAGS, "-o", str(folder / program), *sources.split()]
        subprocess.run(command, check=True, cwd=SOURCES)
    return folder


def remove_compiled() -> None:
    """Leave nothing behind."""
    if _compiled.cache_info().currsize:
        shutil.rmtree(_compiled(), ignore_errors=True)
        _compiled.cache_clear()


def load(job: Job, on_line: OnLine = lambda line: None, program: Literal["load", "etcd"] = "load") -> Outcome:
    """Run one job in a process of its own; ``on_line`` hears "measuring" and "measured" when these begin and end.

    ``etcd`` asks for the same, but etcd for it, and takes a compiler.

    Raises:
        GeneratorFailed: with what the generator says.
    """
    if compiler() is None and program != "load":
        raise GeneratorFailed("etcd is asked by a C program, and no cc is on PATH")
    if compiler() is None:
        command = [sys.executable, "-m", "bench.generator", msgspec.json.encode(job).decode()]
    else:
        command = [str(_compiled() / program), *_arguments(job)]
    return msgspec.json.decode(_run(command, on_line), type=Outcome)


def watches(ports: Sequence[int], root: str, watchers: int, rounds: int) -> list[float]:
    """Milliseconds from a change to the last of ``watchers`` told, of each round.

    Raises:
        GeneratorFailed: with what the generator says, or that there is no compiler.
    """
    if compiler() is None:
        raise GeneratorFailed("watches are measured with a C program, and no cc is on PATH")
    settings = {"ports": _list(ports), "root": root, "watchers": watchers, "rounds": rounds}
    command = [str(_compiled() / "watch"), *(f"{name}={value}" for name, value in settings.items())]
    return msgspec.json.decode(_run(command, lambda line: None), type=dict[str, list[float]])["last_ms"]


def _list(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _arguments(job: Job) -> list[str]:
    settings: dict[str, object] = {
        "ports": _list(job.ports),
        "pids": _list(job.pids),
        **{name: getattr(job, name) for name in ("root", "connections", "depth", "value_bytes", "nodes", "idle")},
        **{name: getattr(job, name) for name in ("rate", "warm_up_s", "measure_s")},
        "keep": int(job.keep),
        "reuse": int(job.reuse),
        "probes": int(job.probes),
        **job.mix,
    }
    return [f"{name}={value}" for name, value in settings.items()]


def _run(command: Sequence[str], on_line: OnLine) -> str:
    """The last line that a generator writes."""
    last = ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=_REPOSITORY
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for line in process.stdout:
                last = line.strip()
                on_line(last)
            complaint = process.stderr.read()
            process.wait(ENDING_S)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise GeneratorFailed(complaint.strip()[-2000:] or f"exit code {process.returncode}")
    return last
