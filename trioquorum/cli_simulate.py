"""``trioquorum simulate``: seeds of the deterministic simulator, from the command line."""

import secrets
import subprocess
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from trioquorum import __version__
from trioquorum.cli_parts import BASE_PORT

if TYPE_CHECKING:
    from rich.progress import Progress

    from trioquorum.testing.campaign import Choice, Summary
    from trioquorum.testing.plan import Plan
    from trioquorum.testing.shrink import Shrunk
    from trioquorum.testing.simulation import Report

FRESH_SEEDS: Final = 1 << 40
NOTHING: Final = "-"

LIVE_PEERS: Final = 3
FOR_LIVE: Final = ("load", "base_port")
FOR_BOTH: Final = ("live", "seed", "peers")
"""Options of ``--live`` alone, and those that it shares; they are checked because what is ignored would surprise."""

Keep = Annotated[str | None, typer.Option(help="Only these strikes of the plan, by number and commas; - is none.")]
LimitMinutes = Annotated[float | None, typer.Option(help="Begin no new seed after so many minutes of real time.")]
Live = Annotated[
    bool, typer.Option("--live", help="Run in real time until Ctrl-C, with a page to watch it and break something.")
]


def simulate(
    ctx: typer.Context,
    seed: Annotated[int | None, typer.Option(help="The (first) seed [default: a fresh one, which is printed].")] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds.", min=1)] = 1,
    peers: Annotated[
        int | None, typer.Option(help="Voters [default: drawn from the seed; --live: 3].", min=1, max=9)
    ] = None,
    faults: Annotated[
        str, typer.Option(help="Which may strike: all, none, network, disk, process, or kinds, by commas.")
    ] = "all",
    minutes: Annotated[
        float | None, typer.Option(help="Virtual minutes under faults [default: drawn from the seed].")
    ] = None,
    workloads: Annotated[str | None, typer.Option(help="Workloads, by commas [default: drawn from the seed].")] = None,
    keep: Keep = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print everything that happens, with its virtual time.")
    ] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Drop faults and workloads from a failing run while it still fails.")
    ] = False,
    plan: Annotated[
        Path | None, typer.Option(help="Carry out the plan in this file instead of a seed's; --save writes one.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the plan of a failing run, what --shrink left of it, to this file.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Record a single run in this file; the page opens it.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes for several seeds [default: one a core].")] = None,
    limit_minutes: LimitMinutes = None,
    live: Live = False,
    load: Annotated[float, typer.Option(help="--live: writes per second of a client.", min=0, max=1000)] = 3.0,
    base_port: Annotated[int, typer.Option(help="--live: first client port; 0 takes free ports.")] = BASE_PORT,
) -> None:
    """Simulate ensembles under faults; each run is repeated exactly by its seed. Exit code 1 when one breaks a rule."""
    # The simulator and the servers in it load only now: help does not wait for them.
    from trioquorum.errors import ConfigError
    from trioquorum.testing.campaign import Choice, Summary
    from trioquorum.testing.plan import kinds_of
    from trioquorum.testing.workloads import ALL_WORKLOADS

    first = secrets.randbelow(FRESH_SEEDS) if seed is None else seed
    try:
        _check_together(ctx, live=live)
        if live:
            _live(first, peers or LIVE_PEERS, load, base_port)
        if record is not None and seeds != 1:
            raise ConfigError("--record is for a single run; drop --seeds")
        choice = Choice(
            peers=peers,
            safety_s=None if minutes is None else minutes * 60,
            kinds=kinds_of(faults),
            workloads=None if workloads is None else _names(workloads, ALL_WORKLOADS),
            keep=None if keep is None else _numbers(keep),
        )
        given = None if plan is None else _read_plan(plan)
    except ConfigError as error:
        typer.echo(f"trioquorum: {error}", err=True)
        raise typer.Exit(2) from None
    if given is not None or seeds == 1:
        wanted = given or choice.plan(first)
        summary = Summary()
        summary.add(_run(wanted, trace=trace, record=record))
        first = wanted.seed
    else:
        summary = _campaign(first, seeds, choice, jobs, limit_minutes)
    _sum_up(summary, first)
    if summary.failures:
        _fail(summary.failures[0], choice, shrink=shrink, traced=trace, save=save)


def _check_together(ctx: typer.Context, *, live: bool) -> None:
    """Whether the options that were given go together.

    Raises:
        ConfigError: they do not.
    """
    from trioquorum.errors import ConfigError

    for option in ctx.command.params:
        source = ctx.get_parameter_source(option.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        if live and option.name not in (*FOR_BOTH, *FOR_LIVE):
            raise ConfigError(f"{option.opts[0]} does not go with --live, which runs until Ctrl-C; drop one of them")
        if not live and option.name in FOR_LIVE:
            raise ConfigError(f"{option.opts[0]} is for --live; add that, or drop it")


def _live(seed: int, peers: int, load: float, base_port: int) -> NoReturn:
    """Run until a signal, and leave with an exit code.

    Raises:
        ConfigError: there are no such ports.
    """
    from trioquorum import watched
    from trioquorum.ensemble import lay_out, page_port
    from trioquorum.running import say, tell_why, until_signalled
    from trioquorum.testing.seeded import run_in_real_time

    specs = lay_out(peers, base_port)
    say(f"simulating {peers} peers in this process, seed {seed}; what they store is gone at the end")

    def serving(page: str) -> None:
        hosts = ",".join(f"{spec.client.host}:{spec.client.port}" for spec in specs if spec.client is not None)
        typer.echo(f"The simulated ensemble serves. Clients connect to {hosts}\n  page    {page}\nCtrl-C stops it.")

    work = partial(watched.run, specs, seed, load, say, serving, page_port(base_port))
    try:
        run_in_real_time(until_signalled, work)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  (the process ends here, and says why)
        raise typer.Exit(tell_why(error)) from None
    raise typer.Exit


def _fail(report: "Report", choice: "Choice", *, shrink: bool, traced: bool, save: Path | None) -> NoReturn:
    """Say what failed, once it is as small as is wanted, and leave."""
    shrunk = _shrink(report) if shrink else None
    _explain(report, choice, shrunk, traced=traced)
    if save is not None:
        _save(report, shrunk, save)
    raise typer.Exit(1)


def _run(plan: "Plan", *, trace: bool, record: Path | None) -> "Report":
    """Carry out one plan, with a trace on the terminal and a recording in a file, where asked for."""
    from trioquorum.testing.simulation import simulate as run_plan

    if trace:
        typer.echo(_describe(plan))
    tell = typer.echo if trace else None
    if record is None:
        return run_plan(plan, tell=tell)
    from trioquorum.cli_parts import failing
    from trioquorum.recorded import simulate_recorded

    with failing(), record.open("wb") as file:
        report, left_out = simulate_recorded(plan, file, tell=tell)
    typer.echo(f"written: {record}" + (f", without the last {left_out} events" if left_out else ""))
    return report


def _campaign(first: int, seeds: int, choice: "Choice", jobs: int | None, limit_minutes: float | None) -> "Summary":
    from trioquorum.testing.campaign import campaign, seeds_from

    with _progress() as progress:
        bar = progress.add_task(f"seeds from {first}", total=seeds)

        def done(report: "Report") -> None:
            progress.advance(bar)
            if report.failure is not None:
                progress.print(f"seed {report.plan.seed}, {report.failure.phase}: {report.failure.what}")

        limit_s = None if limit_minutes is None else limit_minutes * 60
        return campaign(seeds_from(first, seeds), choice, jobs=jobs, limit_s=limit_s, done=done)


def _progress() -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )


def _shrink(report: "Report") -> "Shrunk":
    from trioquorum.testing.shrink import shrink
    from trioquorum.testing.simulation import simulate as run_plan

    typer.echo("shrinking...", err=True)
    return shrink(report.plan, lambda plan: run_plan(plan).failure is not None)


def _save(report: "Report", shrunk: "Shrunk | None", file: Path) -> None:
    import msgspec

    plan = report.plan if shrunk is None else report.plan.keeping(shrunk.strikes, shrunk.workloads)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
    typer.echo(f"written: {file}")


# -- What is printed ---------------------------------------------------------------------------------------------------


def _describe(plan: "Plan") -> str:
    lines = [
        f"seed {plan.seed}: {plan.peers} voters, {plan.observers} observers, {plan.safety_s:g} s under faults",
        f"workloads {', '.join(plan.workloads)}",
        f"settings {plan.settings} limits {plan.limits}",
        f"groups {plan.groups or 'none'} observer masters {plan.masters or 'none'}",
        f"joiners {plan.joiners if plan.stormy else 'none'}",
    ]
    for number, strike in enumerate(plan.strikes):
        draws = f"a={strike.a} b={strike.b} size={strike.size}"
        lines.append(f"strike {number}: {strike.kind} at {strike.at_s:g} s for {strike.lasts_s:g} s ({draws})")
    return "\n".join(lines)


def _sum_up(summary: "Summary", first: int) -> None:
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.counts.items())) or "none"
    typer.echo(
        f"{summary.seeds} seeds from {first}, commit {commit()}: {len(summary.failures)} failed\n"
        f"  virtual time {summary.virtual_s / 3600:.2f} h of ensembles in {summary.wall_s:.0f} s, "
        f"{summary.elections} elections, {summary.transactions} transactions, {summary.calls} calls of clients, "
        f"healed in {summary.healed_s_max:.1f} s at most\n"
        f"  faults: {faults}"
    )
    if len(summary.failures) > 1:
        typer.echo("  failing seeds: " + ", ".join(str(report.plan.seed) for report in summary.failures))


def _explain(report: "Report", choice: "Choice", shrunk: "Shrunk | None", *, traced: bool) -> None:
    """Seed, commit, rule and facts, the end of the trace, and how to see it again."""
    assert report.failure is not None
    if not traced:
        typer.echo("\n".join(report.tail))
    typer.echo(f"seed {report.plan.seed}, commit {commit()}, {report.failure.phase}: {report.failure.what}")
    typer.echo("again:  " + _command(report.plan.seed, choice))
    if shrunk is not None:
        typer.echo(
            f"smaller, after {shrunk.runs} runs: {len(shrunk.strikes)} strikes are left\n"
            "again:  " + _command(report.plan.seed, choice, shrunk)
        )


def _command(seed: int, choice: "Choice", shrunk: "Shrunk | None" = None) -> str:
    from trioquorum.testing.plan import KINDS

    words = [f"trioquorum simulate --seed {seed}"]
    if choice.peers is not None:
        words.append(f"--peers {choice.peers}")
    if choice.safety_s is not None:
        words.append(f"--minutes {choice.safety_s / 60:g}")
    if choice.kinds != KINDS:
        words.append(f"--faults {','.join(choice.kinds) or 'none'}")
    workloads = choice.workloads if shrunk is None else shrunk.workloads
    if workloads is not None:
        words.append(f"--workloads {_listed(workloads)}")
    keep = choice.keep if shrunk is None else shrunk.strikes
    if keep is not None:
        words.append(f"--keep {_listed(keep)}")
    return " ".join([*words, "--trace"])


def _listed(items: Collection[object]) -> str:
    return ",".join(map(str, items)) or NOTHING


def commit() -> str:
    """What code runs: the commit of its checkout, with a + when something is changed there, else the version."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return found.stdout.strip()


# -- What is asked for -------------------------------------------------------------------------------------------------


def _read_plan(file: Path) -> "Plan":
    import msgspec

    from trioquorum.errors import ConfigError
    from trioquorum.testing.plan import Plan

    try:
        return msgspec.json.decode(file.read_bytes(), type=Plan)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file}: is no plan of a simulation: {error}") from None


def _names(text: str, known: Collection[str]) -> tuple[str, ...]:
    from trioquorum.errors import ConfigError

    names = () if text == NOTHING else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise ConfigError(f"no workload is called {name!r}; choose from {', '.join(known)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    from trioquorum.errors import ConfigError

    try:
        return () if text == NOTHING else tuple(int(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(f"--keep takes numbers of strikes like 0,3,7, not {text!r}") from None
