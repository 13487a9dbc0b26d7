"""``python -m bench``: this server measured, next to Java's and others, and next to itself."""

import resource
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import (
    comparators,
    generate,
    java,
    machine,
    micro,
    pages as open_pages,
    regress as regressions,
    report as reports,
    results,
    sessions as idle,
    snapshots as taken,
    watches as watch_tables,
)
from bench.contest import Contest, Contestants, left_out
from bench.profiling import profile as profiling
from bench.results import Lines, Results
from bench.servers import Servers, Trioquorum, ZooKeepers
from bench.workload import Workload, chosen, suites

DEFAULT = ("throughput",)
OPEN_FILES = 20_000
"""For this process, the servers and the generator: a connection is a file at each end."""

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(stderr=True)

Names = Annotated[list[str] | None, typer.Argument(help="Workloads, suites, or TOML files [default: throughput].")]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds; in each, all are measured, every second one backwards.")]
Seconds = Annotated[float | None, typer.Option(min=0.1, help="Measured seconds of each load [default: its own].")]
HeatUp = Annotated[float, typer.Option(min=0, help="Seconds of work for each ensemble before anything counts.")]
Output = Annotated[Path | None, typer.Option(help="Append JSON lines here [default: standard output].")]
Folder = Annotated[Path | None, typer.Option(help="Where the servers keep their data [default: the system's].")]


@app.command("list")
def list_workloads() -> None:
    """All suites and workloads."""
    for suite, workloads in suites().items():
        rows = [reports.describe(name, workload) for name, workload in workloads.items()]
        head = ["workload", "measure", "mix", "clients×depth", "peers", "goal ours ÷ Java (aim)"]
        typer.echo(f"{suite}\n{reports.table(head, rows)}\n")


@app.command()
def run(
    names: Names = None,
    rounds: Rounds = 3,
    seconds: Seconds = None,
    heat_up_s: HeatUp = 0,
    out: Output = None,
    folder: Folder = None,
) -> None:
    """Measure this server alone."""
    found = _contest({Trioquorum.name: Trioquorum}, _workloads(names, seconds), rounds, heat_up_s, out, folder)
    typer.echo(reports.overview(found))


@app.command()
def compare(
    names: Names = None,
    against: Annotated[list[comparators.Name], typer.Option(help="With whom; may be given more than once.")] = [  # noqa: B006
        comparators.Name.JAVA
    ],
    rounds: Rounds = 5,
    seconds: Seconds = None,
    heat_up_s: HeatUp = 50,
    out: Output = None,
    folder: Folder = None,
) -> None:
    """Measure this server and others in turn."""
    contestants: dict[str, type[Servers]] = {Trioquorum.name: Trioquorum}
    for name in against:
        other = comparators.COMPARATORS[name]
        missing = other.why_missing()
        if missing is None:
            contestants[other.kind.name] = other.kind
        else:
            typer.echo(missing, err=True)
    found = _contest(contestants, _workloads(names, seconds), rounds, heat_up_s, out, folder)
    typer.echo("\n\n".join(part for part in (reports.goals(found), reports.overview(found)) if part))


@app.command()
def report(
    files: Annotated[list[Path], typer.Argument(help="JSON lines of run or compare.")],
    folder: Annotated[Path, typer.Option(help="Where the page and its plots go.")] = Path("bench/results"),
) -> None:
    """Write tables and plots of results."""
    for file in reports.write(results.read(files), folder):
        typer.echo(file)


@app.command()
def regress(
    a: Annotated[str, typer.Argument(help="The commit before.")],
    b: Annotated[str, typer.Argument(help="The commit after.")],
    names: Annotated[list[str] | None, typer.Argument(help="As for run.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds.")] = 7,
    seconds: Seconds = None,
    out: Output = None,
    folder: Folder = None,
) -> None:
    """Measure two commits in turn and print what moved by more than the noise."""
    workloads = _workloads(names, seconds)
    with _scratch(folder) as scratch, regressions.checkouts([a, b], scratch) as kinds:
        found = _contest(kinds, workloads, rounds, 3.0, out, scratch)
    typer.echo(regressions.summary(found))


@app.command("micro")
def micro_benchmarks(
    only: Annotated[
        list[str] | None, typer.Argument(help="Parts: codec, tree, log, pipeline, ensemble [default: all].")
    ] = None,
    out: Output = None,
) -> None:
    """Microseconds of the parts that a request goes through, each by itself."""
    with _scratch(None) as scratch:
        try:
            found = micro.run(only or list(micro.PARTS), scratch)
        except KeyError as error:
            raise typer.BadParameter(f"{error.args[0]}: choose {', '.join(micro.PARTS)}") from None
        lines = Lines(out)
        lines.add({"machine": machine.description(scratch)})
        for figure in found:
            lines.add(figure)
    typer.echo(micro.summary(found))


@app.command()
def profile(
    name: Annotated[str, typer.Argument(help="A workload of the measure load.")],
    peer: Annotated[profiling.Role, typer.Option(help="Which peer is looked at.")] = profiling.Role.LEADER,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long.")] = 5.0,
    out: Annotated[Path, typer.Option(help="The flame graph; its stacks go next to it.")] = Path("profile.svg"),
    folder: Folder = None,
) -> None:
    """Where one peer of this server spends its CPU time under a workload: a table, and a flame graph."""
    workload = _workloads([name], seconds)[name]
    if workload.measure != "load":
        raise typer.BadParameter(f"{name} is no load")
    with _scratch(folder) as scratch:
        typer.echo(profiling.run(name, workload, peer, out, scratch))


@app.command()
def sessions(
    count: Annotated[int, typer.Option(min=1, help="Sessions.")] = 10_000,
    idle_s: Annotated[float, typer.Option(min=0.1, help="Seconds in which nothing but pings happens.")] = 30.0,
    java_too: Annotated[bool, typer.Option("--java", help="Java's server as well.")] = False,
    out: Output = None,
    folder: Folder = None,
) -> None:
    """Idle sessions with a watch each on one peer of three: memory, CPU time, a change of leaders."""
    kinds: list[type[ZooKeepers]] = [Trioquorum]
    if java_too and java.why_missing() is None:
        kinds.append(java.JavaZooKeeper)
    with _scratch(folder, 2 * count) as scratch:
        lines = Lines(out)
        lines.add({"machine": machine.description(scratch)})
        found = {kind.name: idle.run(kind, scratch / kind.name, count, idle_s, lines) for kind in kinds}
        typer.echo(idle.summary(found, count))


@app.command()
def pages(
    count: Annotated[int, typer.Option(min=1, max=256, help="Open pages on the leader.")] = 100,
    rounds: Rounds = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Measured seconds of each load.")] = 5.0,
    out: Output = None,
    folder: Folder = None,
) -> None:
    """Sets with and without open pages on the leader, in turn; memory a page."""
    with _scratch(folder) as scratch:
        lines = Lines(out)
        lines.add({"machine": machine.description(scratch)})
        found = open_pages.run(scratch / "servers", count, rounds, seconds, lines, console.print)
    typer.echo(open_pages.summary(found))


@app.command()
def snapshots(out: Output = None, folder: Folder = None) -> None:
    """A snapshot of a million znodes while they are written to: how long it holds the loop, memory, time, size."""
    with _scratch(folder) as scratch:
        lines = Lines(out)
        lines.add({"machine": machine.description(scratch)})
        typer.echo(taken.summary(taken.run(lines, scratch)))


@app.command()
def watches(out: Output = None) -> None:
    """A million watches in the tables alone: memory, and the time to tell of a change."""
    with _scratch(None) as scratch:
        lines = Lines(out)
        lines.add({"machine": machine.description(scratch)})
        typer.echo(watch_tables.summary(watch_tables.run(lines)))


def _workloads(names: list[str] | None, seconds: float | None) -> dict[str, Workload]:
    try:
        found = chosen(names or DEFAULT)
    except KeyError as error:
        raise typer.BadParameter(f"{error.args[0]}: python -m bench list shows what there is") from None
    except (msgspec.ValidationError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    if seconds is not None:
        found = {name: msgspec.structs.replace(workload, seconds=seconds) for name, workload in found.items()}
    return found


def _contest(
    contestants: Contestants,
    workloads: Mapping[str, Workload],
    rounds: int,
    heat_up_s: float,
    out: Path | None,
    folder: Path | None,
) -> Results:
    """Run everything, with a bar on standard error; the machine's line comes first."""
    with _scratch(folder) as scratch:
        lines = Lines(out)
        described = machine.description(scratch) | comparators.versions(contestants)
        lines.add({"machine": described})
        for line in left_out(contestants, workloads):
            typer.echo(line, err=True)
        contest = Contest(contestants, rounds, heat_up_s, scratch, lines)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=contest.total(workloads))
            contest.doing = lambda what: progress.update(task, description=what)
            contest.done = lambda: progress.advance(task)
            found = contest.run(workloads)
    found.machines.append(described)
    return found


@contextmanager
def _scratch(folder: Path | None, open_files: int = OPEN_FILES) -> Iterator[Path]:
    """A folder for everything that is written, gone at the end; and room for enough open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = open_files if hard == resource.RLIM_INFINITY else min(open_files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as made:
            yield Path(made)
    finally:
        generate.remove_compiled()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


if __name__ == "__main__":
    app()
