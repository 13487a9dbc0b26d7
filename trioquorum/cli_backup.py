"""``trioquorum backup``, ``restore`` and ``import``: whole trees in and out, from the command line."""

from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec
import trio
import typer

from trioquorum.cli_parts import counting, failing, hosts_of, progress, tell
from trioquorum.config import ServerConfig, load_peers_toml, read_peers
from trioquorum.errors import ConfigError
from trioquorum.exits import Exit
from trioquorum.zoo_cfg import load_zoo_cfg

PATIENCE_S: Final = 30.0

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def backup(
    folder: Annotated[Path, typer.Argument(help="The folder to make; it must not be there yet, or be empty.")],
    peers: Annotated[Path | None, typer.Option(help="The ensemble, a peers.toml.")] = None,
    config: Annotated[Path | None, typer.Option(help="The ensemble, or the standalone server, a zoo.cfg.")] = None,
    hosts: Annotated[
        str | None, typer.Option(help="Client addresses of the ensemble, host:port,host:port, which answer `conf`.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="A standalone server's data directory, or what is left of a peer.")
    ] = None,
    log_dir: Annotated[Path | None, typer.Option(help="Where the logs of --data-dir are, if elsewhere.")] = None,
    patience_s: Annotated[
        float, typer.Option("--patience", metavar="SECONDS", help="How long to look for a leader, and to wait for it.")
    ] = PATIENCE_S,
    as_json: AsJson = False,
) -> None:
    """Copy the tree of an ensemble that runs, exactly as it was behind one transaction, into a folder.

    The leader is joined as an observer that nobody counts, for as long as it takes. A standalone server cannot be
    joined: its data directory is read, whether it runs or not.
    """
    from trioquorum.backup.taking import back_up_directory, back_up_ensemble

    with failing():
        if sum(given is not None for given in (peers, config, hosts, data_dir)) != 1:
            raise ConfigError("say what to back up, by one of --peers, --config, --hosts and --data-dir")
        server = _server(peers, config)
        if server is not None and not server.peers:
            data_dir, log_dir = server.data_dir, server.data_log_dir
        with counting("copying") as received:
            if data_dir is not None:
                manifest = trio.run(back_up_directory, folder, data_dir, log_dir)
            else:
                targets = [] if hosts is None else hosts_of(hosts)
                work = partial(back_up_ensemble, patience_s=patience_s, received=received)
                manifest = trio.run(work, folder, server, targets)
    if as_json:
        tell(manifest)
        return
    counts = manifest.counts
    typer.echo(
        f"{folder} holds the tree at {manifest.zxid} from {manifest.source}: {counts.znodes} znodes, "
        f"{counts.sessions} sessions, {manifest.snapshot_bytes} bytes, digest {manifest.digest}"
    )


def _server(peers: Path | None, config: Path | None) -> ServerConfig | None:
    """A server of the ensemble that was named; which one it is changes nothing here."""
    if peers is not None:
        return load_peers_toml(peers, read_peers(peers)[0].id)
    return load_zoo_cfg(config)[0] if config is not None else None


def restore(
    folder: Annotated[Path, typer.Argument(help="What `trioquorum backup` made.")],
    data_dirs: Annotated[
        list[Path], typer.Argument(metavar="DATA_DIR...", help="The empty data directory of each peer, or of one.")
    ],
    log_dirs: Annotated[
        list[Path] | None, typer.Option("--log-dir", help="A peer's directory of logs, if elsewhere: it must be empty.")
    ] = None,
    epoch: Annotated[
        int, typer.Option(help="Begin above this epoch, if the old ensemble went on after the backup [default: its].")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Let a new ensemble of any size begin with a backup. Fill the directories of all its peers, then start them.

    Sessions are kept: clients may go on with theirs, and those that do not expire with their ephemerals.
    """
    from trioquorum.backup.restoring import restore as fill

    with failing():
        total = sum(file.stat().st_size for file in folder.glob("snapshot.*")) * (1 + len(data_dirs))
        with progress("restoring", total_bytes=total) as done:
            manifest = fill(folder, data_dirs, log_dirs or (), epoch, done)
    if as_json:
        tell(manifest)
        return
    for data_dir in data_dirs:
        typer.echo(f"{data_dir} begins at {manifest.zxid}: {manifest.counts.znodes} znodes, digest {manifest.digest}")


def import_(
    source: Annotated[Path, typer.Argument(help="ZooKeeper's dataDir, or the zoo.cfg that names it.")],
    log_dir: Annotated[Path | None, typer.Option(help="Its dataLogDir, if there is one.")] = None,
    to: Annotated[Path | None, typer.Option(help="The empty data directory that gets a copy.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look, and say what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at every file of a ZooKeeper data directory, and copy it. Exit code 10 when no server would start from it.

    Stop the server that writes there. The original stays as it is; `trioquorum serve` takes it as well as the copy.
    """
    from trioquorum.backup.importing import inspect, size_of, take_over

    with failing():
        if (to is None) != dry_run:
            raise ConfigError("say where to copy it with --to, or --dry-run")
        warnings: list[str] = []
        data_dir = source
        if source.is_file():
            server, warnings = load_zoo_cfg(source)
            data_dir, log_dir = server.data_dir, log_dir or server.data_log_dir
        with progress("reading", total_bytes=size_of(data_dir, log_dir)) as done:
            report = trio.run(inspect, data_dir, log_dir, done)
        report.notes += warnings
        if as_json:
            tell(report)
        else:
            _print_report(msgspec.to_builtins(report))
        if report.refused:
            raise typer.Exit(Exit.STORAGE)
        if to is not None:
            with progress("copying", total_bytes=size_of(data_dir, log_dir)) as done:
                trio.run(take_over, report, data_dir, to, done)
            typer.echo(f"{to} holds a copy that loads; serve it with --data-dir, or as dataDir", err=as_json)


def _print_report(report: dict[str, object]) -> None:
    """A value a line, lists below their name."""
    for name, value in report.items():
        if isinstance(value, dict):
            typer.echo(f"{name}: " + ", ".join(f"{number} {what}" for what, number in value.items()))
        elif isinstance(value, list):
            typer.echo(f"{name}: {len(value)}")
            for each in value:
                said = each if not isinstance(each, dict) else _row(each)
                typer.echo(f"  {said}")
        elif isinstance(value, str) and "\n" in value:
            typer.echo(f"{name}:")
            for line in value.splitlines():
                typer.echo(f"  {line}")
        elif value not in (None, ""):
            typer.echo(f"{name}: {value}")


def _row(each: dict[str, object]) -> str:
    row = dict(each)
    file, problem = row.pop("file"), row.pop("problem")
    told = [f"{name} {value:#x}" if name.endswith("zxid") else f"{name} {value}" for name, value in row.items()]
    return f"{file}: {problem or 'good'} ({', '.join(told)})"
