"""``python -m bench lifecycle``, ``load``, ``sessions`` and ``watches``."""

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bench import (
    java,
    lifecycle as lifecycle_bench,
    load as load_bench,
    sessions as sessions_bench,
    watches as watch_bench,
)
from bench.report import Lines, machine
from bench.servers import Servers, Trioquorum

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Rounds = Annotated[int, typer.Option(min=1, help="Rounds; in each, both kinds of server are measured.")]
Output = Annotated[Path | None, typer.Option(help="Append JSON lines here [default: standard output].")]
Folder = Annotated[Path | None, typer.Option(help="Where the servers keep their data [default: the system's].")]


@app.command()
def lifecycle(rounds: Rounds = 5, jsonl: Output = None, folder: Folder = None) -> None:
    """Start, cold start of an ensemble, failover and idle memory."""
    with _scratch(folder) as scratch:
        lines = Lines(jsonl)
        lines.add(bench="lifecycle", machine=machine(scratch))
        found = lifecycle_bench.run(scratch, rounds, _kinds(), lines)
        typer.echo(lifecycle_bench.summary(found))


@app.command()
def load(
    rounds: Rounds = 3,
    measure_s: Annotated[float, typer.Option(min=0.1, help="Measured seconds of each run.")] = 3.0,
    workload: Annotated[list[str] | None, typer.Option(help="Only these [default: all].")] = None,
    shape: Annotated[list[str] | None, typer.Option(help="Only these, as 16x64 [default: all].")] = None,
    jsonl: Output = None,
    folder: Folder = None,
) -> None:
    """Rates, latency, CPU time and memory of three peers under load."""
    shapes = load_bench.SHAPES if shape is None else tuple(_shape(it) for it in shape)
    for it in workload or ():
        if it not in load_bench.WORKLOADS:
            raise typer.BadParameter(f"{it}: choose {', '.join(load_bench.WORKLOADS)}")
    cells = [(name, *pair) for name in workload or load_bench.WORKLOADS for pair in shapes]
    with _scratch(folder) as scratch:
        lines = Lines(jsonl)
        lines.add(bench="load", machine=machine(scratch))
        found = load_bench.run(scratch, rounds, measure_s, _kinds(), cells, lines)
        typer.echo(load_bench.summary(found))


@app.command()
def sessions(
    count: Annotated[int, typer.Option(min=1, help="Sessions.")] = 10_000,
    idle_s: Annotated[float, typer.Option(min=0.1, help="Seconds in which nothing but pings happens.")] = 30.0,
    java_too: Annotated[bool, typer.Option("--java", help="Java's server as well.")] = False,
    jsonl: Output = None,
    folder: Folder = None,
) -> None:
    """Idle sessions with a watch each on one peer of three: memory, CPU time, a change of leaders."""
    _allow_files(2 * count)
    kinds = _kinds() if java_too else [Trioquorum]
    with _scratch(folder) as scratch:
        lines = Lines(jsonl)
        lines.add(bench="sessions", machine=machine(scratch))
        found = {kind.name: sessions_bench.run(kind, scratch / kind.name, count, idle_s, lines) for kind in kinds}
        typer.echo(sessions_bench.summary(found, count))


@app.command()
def watches(jsonl: Output = None, folder: Folder = None) -> None:
    """A million watches in the tables alone: memory, and the time to tell of a change."""
    with _scratch(folder) as scratch:
        lines = Lines(jsonl)
        lines.add(bench="watches", machine=machine(scratch))
        typer.echo(watch_bench.summary(watch_bench.run(lines)))


def _allow_files(wanted: int) -> None:
    """For this process and the servers, which inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        typer.echo(f"only {hard} files may be open, the hard limit; fewer sessions may fit", err=True)
        wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _shape(text: str) -> tuple[int, int]:
    connections, _, outstanding = text.partition("x")
    if not connections.isdecimal() or not outstanding.isdecimal() or not int(connections) * int(outstanding):
        raise typer.BadParameter(f"{text}: write connections x requests under way, as 16x64")
    return int(connections), int(outstanding)


def _kinds() -> list[type[Servers]]:
    """This server, and Java's where it can be started."""
    missing = java.why_missing()
    if missing is None:
        return [Trioquorum, java.JavaZooKeeper]
    typer.echo(missing, err=True)
    return [Trioquorum]


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made:
        yield Path(made)


if __name__ == "__main__":
    app()
