"""``trioquorum log`` and ``trioquorum snapshot``: the files of a data directory, from the command line."""

from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import trio
import typer

from trioquorum.cli_parts import failing, progress, tell, zxid
from trioquorum.exits import Exit
from trioquorum.storage.names import LOG, SNAPSHOT

log_app = typer.Typer(help="Look at transaction logs, check them, cut them.", no_args_is_help=True)
snapshot_app = typer.Typer(help="Look at snapshots, check and compare them.", no_args_is_help=True)

Paths = Annotated[list[Path], typer.Argument(help="Files, or data directories: then all their files of this kind.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


# -- log ---------------------------------------------------------------------------------------------------------------


@log_app.command("dump")
def dump_log(
    paths: Paths,
    first: Annotated[
        int | None, typer.Option("--from", parser=zxid, metavar="ZXID", help="Only from this zxid on.")
    ] = None,
    last: Annotated[int | None, typer.Option("--to", parser=zxid, metavar="ZXID", help="Only up to this zxid.")] = None,
    session: Annotated[int | None, typer.Option(parser=zxid, metavar="ID", help="Only what this session did.")] = None,
    path: Annotated[str | None, typer.Option(help="Only what touches this znode or those below it.")] = None,
) -> None:
    """Print transactions as JSON, one a line, with their file and offset."""
    from trioquorum.offline.dump import Wanted, dump

    with failing():
        from trioquorum.offline.folder import files_of

        files = files_of(paths, LOG)
        wanted = Wanted(first=first, last=last, session=session, path=path)
        with progress("reading", files, printing=True) as read:
            trio.run(partial(dump, files, wanted, tell, read))


@log_app.command("verify")
def verify_log(paths: Paths, as_json: AsJson = False) -> None:
    """Check every record of a log, its order and that nothing is missing. Exit code 10 when something is wrong."""
    from trioquorum.offline.folder import files_of
    from trioquorum.offline.logs import verify

    with failing():
        files = files_of(paths, LOG)
        with progress("checking", files) as read:
            reports = trio.run(verify, files, read)
    for report in reports:
        if as_json:
            tell(report)
            continue
        said = f"{report.records} transactions, {report.first_zxid:#x} to {report.last_zxid:#x}"
        torn = ", ends in half a record" if report.torn else ""
        typer.echo(f"{report.file}: {report.problem or 'good'} ({said}{torn})")
    if any(report.problem for report in reports):
        typer.echo(
            "A peer of an ensemble: `trioquorum serve --resync` sets its data aside and takes everything from the "
            "leader.\nA standalone server: restore a backup, or cut the log before the damage with `trioquorum log "
            "truncate DIR --to ZXID`; what lies behind is lost.",
            err=True,
        )
        raise typer.Exit(Exit.STORAGE)


@log_app.command("truncate")
def truncate_log(
    data_dir: Annotated[Path, typer.Argument(help="The data directory; its server must be stopped.")],
    to: Annotated[int, typer.Option(parser=zxid, metavar="ZXID", help="The last transaction that stays.")],
) -> None:
    """Forget every transaction behind a zxid, and snapshots that hold them. What is removed is kept beside it."""
    from trioquorum.offline.truncate import size_of, truncate

    with failing(), progress("copying", total_bytes=size_of(data_dir)) as copied:
        kept = trio.run(truncate, data_dir, to, copied)
    typer.echo(f"{data_dir} ends at {to:#x} now; as it was before it lies in {kept}")


# -- snapshot ----------------------------------------------------------------------------------------------------------


@snapshot_app.command("dump")
def dump_snapshot(
    paths: Paths,
    first: Annotated[
        int | None, typer.Option("--from", parser=zxid, metavar="ZXID", help="Only what changed at this zxid or later.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--to", parser=zxid, metavar="ZXID", help="Only what changed at this zxid or before.")
    ] = None,
    session: Annotated[
        int | None, typer.Option(parser=zxid, metavar="ID", help="Only this session and its ephemerals.")
    ] = None,
    path: Annotated[str | None, typer.Option(help="Only this znode and those below it.")] = None,
) -> None:
    """Print sessions and znodes as JSON, one a line. Of a data directory, those of its newest snapshot.

    A znode changed when its data did, or it got or lost a child, last.
    """
    from trioquorum.offline.folder import files_of
    from trioquorum.offline.snapshots import Wanted, dump, load

    with failing():
        file = files_of(paths, SNAPSHOT)[-1]
        with progress("reading", [file]) as read:
            tree = load(file, read)
        for told in dump(tree, Wanted(first=first, last=last, session=session, path=path)):
            tell(told)


@snapshot_app.command("verify")
def verify_snapshot(paths: Paths, as_json: AsJson = False) -> None:
    """Check that snapshots are whole: structure, checksums, digest. Exit code 10 when one is not."""
    from trioquorum.errors import CorruptSnapshot
    from trioquorum.offline.folder import files_of
    from trioquorum.offline.snapshots import load

    with failing():
        files = files_of(paths, SNAPSHOT)
    damaged = False
    with progress("checking", files) as read:
        for file in files:
            try:
                tree = load(file, read)
            except CorruptSnapshot as error:
                damaged = True
                said: dict[str, object] = {"file": file.name, "problem": str(error)}
            else:
                said = {"file": file.name, "problem": "", "znodes": len(tree.nodes), "sessions": len(tree.sessions)}
            if as_json:
                tell(said)
            else:
                good = f"{file.name}: good ({said.get('znodes')} znodes, {said.get('sessions')} sessions)"
                typer.echo(said["problem"] or good)
    if damaged:
        raise typer.Exit(Exit.STORAGE)


@snapshot_app.command("diff")
def diff_snapshots(
    first: Annotated[Path, typer.Argument(help="A snapshot file, or a data directory: its newest.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Print what differs between two snapshots as JSON, one znode or session a line. Exit code 1 when anything does."""
    from trioquorum.offline.folder import files_of
    from trioquorum.offline.snapshots import diff, load

    with failing():
        files = [files_of([path], SNAPSHOT)[-1] for path in (first, second)]
        with progress("reading", files) as read:
            trees = [load(file, read) for file in files]
    differ = False
    for told in diff(*trees):
        differ = True
        tell(told)
    if differ:
        raise typer.Exit(1)


@snapshot_app.command("stats")
def stats_of_snapshot(paths: Paths, as_json: AsJson = False) -> None:
    """Numbers about a snapshot: znodes, sessions, data, the largest and widest znodes. Of a directory, its newest."""
    from trioquorum.offline.folder import files_of
    from trioquorum.offline.snapshots import load, stats

    with failing():
        file = files_of(paths, SNAPSHOT)[-1]
        with progress("reading", [file]) as read:
            found = stats(file, load(file, read))
    if as_json:
        tell(found)
        return
    for name, value in msgspec.structs.asdict(found).items():
        if isinstance(value, list | dict):
            typer.echo(f"{name}:")
            for key, number in value.items() if isinstance(value, dict) else value:
                typer.echo(f"  {key}  {number if isinstance(number, int) else '{} znodes, {} bytes'.format(*number)}")
        else:
            typer.echo(f"{name}: {value}")
