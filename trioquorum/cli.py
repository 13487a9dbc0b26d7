"""The command line: serve, ensemble, status; with the other ``cli_`` modules the only ones to import typer and rich."""

import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import msgspec
import trio
import typer

from trioquorum import cli_backup, cli_files, cli_live, cli_simulate
from trioquorum.cli_parts import BASE_PORT, DEFAULT_CLIENT_PORT, hosts_of
from trioquorum.compiled import BUILD
from trioquorum.config import (
    STANDALONE_CLIENT,
    PeerSpec,
    ServerConfig,
    load_peers_toml,
    quorum_config,
    read_peers,
    standalone,
)
from trioquorum.errors import ConfigError
from trioquorum.running import STOP_TIMEOUT_S, collect_seldom, say, tell_why, until_signalled
from trioquorum.status import EnsembleStatus, PeerStatus, look, targets_of
from trioquorum.transport import Address
from trioquorum.zoo_cfg import load_zoo_cfg

if TYPE_CHECKING:
    from trioquorum.admin.settings import AdminSettings
    from trioquorum.events import Events
    from trioquorum.link_security import LinkSecurity

PIPE_COLUMNS: Final = 200
LAG_SHOWN: Final = 1000
"""Transactions behind the leader from which on a peer is coloured: half a second of a busy ensemble."""

app = typer.Typer(
    name="trioquorum",
    help="A ZooKeeper-compatible coordination server.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(cli_simulate.simulate)
app.command()(cli_live.explain)
app.command()(cli_live.watch)
app.command()(cli_live.tasks)
app.command()(cli_backup.backup)
app.command()(cli_backup.restore)
app.command("import")(cli_backup.import_)
app.add_typer(cli_files.log_app, name="log")
app.add_typer(cli_files.snapshot_app, name="snapshot")


class LogLevel(StrEnum):
    """How loud the log is."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def main() -> None:
    """Entry point of the ``trioquorum`` command."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trioquorum {BUILD}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    del version  # its callback has done the work


@app.command()
def serve(
    peer_id: Annotated[int | None, typer.Option("--id", help="Which peer of --peers this is.")] = None,
    peers: Annotated[Path | None, typer.Option(help="The ensemble, a peers.toml.")] = None,
    config: Annotated[Path | None, typer.Option(help="ZooKeeper's zoo.cfg, instead of --id and --peers.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-D", metavar="NAME=VALUE", help="A key of --config that counts more than the file."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the data is kept [default: below ./trioquorum-data].")
    ] = None,
    client: Annotated[
        str | None, typer.Option(help=f"Client address of a standalone server [default: {STANDALONE_CLIENT}].")
    ] = None,
    admin: Annotated[
        str | None, typer.Option(help="Serve the admin page there, http://127.0.0.1:8081 [default: as --peers says].")
    ] = None,
    admin_token_file: Annotated[Path | None, typer.Option(help="A file with the secret of the admin port.")] = None,
    admin_origin: Annotated[
        list[str] | None, typer.Option(help="A page, http://host:port, that may use the admin port beside the peers'.")
    ] = None,
    link_token_file: Annotated[Path | None, typer.Option(help="ws, wss: a file with a secret of all peers.")] = None,
    link_certificate: Annotated[Path | None, typer.Option(help="wss: this peer's certificate, in PEM.")] = None,
    link_key: Annotated[Path | None, typer.Option(help="wss: its key, if not in the same file.")] = None,
    link_authority: Annotated[Path | None, typer.Option(help="wss: who signed the certificates of peers.")] = None,
    resync: Annotated[
        bool, typer.Option("--resync", help="Set damaged data aside and take everything from the leader.")
    ] = False,
    log_level: Annotated[LogLevel, typer.Option(help="The quietest events to log.")] = LogLevel.INFO,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON objects, one a line.")] = False,
) -> None:
    """Run one server until SIGINT or SIGTERM: a peer of an ensemble, or a standalone server without options."""
    try:
        server, warnings = _server_config(peer_id, peers, config, data_dir, client, overrides or ())
        # The server's modules load only now: help and status do not wait for them.
        from trioquorum.admin.settings import read_token, settings_of
        from trioquorum.events import Events
        from trioquorum.link_security import LinkSecurity
        from trioquorum.log import configure, log_events

        port = settings_of(server, url=admin, token=read_token(admin_token_file), origins=tuple(admin_origin or ()))
        links = LinkSecurity(
            token=read_token(link_token_file), certificate=link_certificate, key=link_key, authority=link_authority
        )
        configure(log_level, json=log_json)
        for line in warnings:
            say(line)
        if resync:
            _set_aside(server)
        events = Events(log_events(server.my_id, log_level))
        collect_seldom()
        trio.run(until_signalled, _runner(server, events, port, links))
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  (the process ends here, and says why)
        _fail(error)


@app.command()
def ensemble(
    peers: Annotated[int, typer.Option(help="How many peers.")] = 3,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data and logs are kept [default: a folder that is removed at the end].")
    ] = None,
    base_port: Annotated[int, typer.Option(help="First client port; 0 takes free ports.")] = BASE_PORT,
    log_level: Annotated[LogLevel, typer.Option(help="The quietest events the peers log.")] = LogLevel.INFO,
) -> None:
    """Run a whole ensemble on loopback, one process per peer, until Ctrl-C."""
    from trioquorum.ensemble import lay_out, page_port

    try:
        specs = lay_out(peers, base_port)
        with tempfile.TemporaryDirectory(prefix="trioquorum-") as scratch:
            code = trio.run(_watch_ensemble, specs, data_dir or Path(scratch), str(log_level), page_port(base_port))
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  (the process ends here, and says why)
        _fail(error)
    raise typer.Exit(code)


@app.command()
def status(
    peers: Annotated[Path | None, typer.Option(help="The ensemble, a peers.toml.")] = None,
    hosts: Annotated[
        str | None, typer.Option(help="Client addresses, host:port,host:port [default: localhost].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Ask every peer how it is; exit code 1 when there is no quorum."""
    try:
        if peers is not None and hosts is not None:
            raise ConfigError("--peers and --hosts both say whom to ask; give one of them")
        if peers is not None:
            specs = read_peers(peers)
            found = trio.run(look, targets_of(specs), quorum_config(specs))
        else:
            found = trio.run(look, hosts_of(hosts or f"127.0.0.1:{DEFAULT_CLIENT_PORT}"))
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  (the process ends here, and says why)
        _fail(error)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _print_table(found)
    raise typer.Exit(0 if found.quorum else 1)


# -- serve -------------------------------------------------------------------------------------------------------------


def _server_config(
    peer_id: int | None,
    peers: Path | None,
    config: Path | None,
    data_dir: Path | None,
    client: str | None,
    overrides: Sequence[str] = (),
) -> tuple[ServerConfig, list[str]]:
    """What the options ask for, and warnings.

    Raises:
        ConfigError: the options do not go together, or a file is wrong.
    """
    if client is not None and (peers is not None or config is not None):
        raise ConfigError("--client is for a standalone server; the file says where this one listens, drop --client")
    if config is not None:
        if peer_id is not None or peers is not None or data_dir is not None:
            raise ConfigError(
                "--config names a zoo.cfg, which says all there is to say; drop --id, --peers and --data-dir"
            )
        return load_zoo_cfg(config, overrides)
    if overrides:
        raise ConfigError("--set is for the keys of a zoo.cfg; name it with --config, or drop --set")
    if peers is not None:
        if peer_id is None:
            ids = ", ".join(str(spec.id) for spec in read_peers(peers))
            raise ConfigError(f"--id is missing; say which peer of {peers} this is: {ids}")
        return load_peers_toml(peers, peer_id, data_dir), []
    if peer_id is not None:
        raise ConfigError("--peers is missing; name the peers.toml that has this --id, or drop --id")
    return standalone(data_dir, STANDALONE_CLIENT if client is None else Address.parse(client)), []


def _runner(
    server: ServerConfig, events: "Events", port: "AdminSettings | None", links: "LinkSecurity"
) -> Callable[[], Awaitable[object]]:
    """What runs the server; a peer without an admin port does not even load one.

    Raises:
        ConfigError: a file of ``links`` cannot be used.
    """
    from trioquorum.link_security import LinkSecurity, transports_of
    from trioquorum.peer.run import serve as serve_peer

    if port is None and links == LinkSecurity():
        return partial(serve_peer, server, events)
    from trioquorum.peer.run import Surroundings

    around = Surroundings(transports=transports_of(links))
    if port is None:
        return partial(serve_peer, server, events, around)
    from trioquorum.admin.beside import serve as serve_with_admin

    return partial(serve_with_admin, server, events, port, around)


def _set_aside(server: ServerConfig) -> None:
    """What ``--resync`` does before the start.

    Raises:
        ConfigError: there is no ensemble to take data from.
        StorageError, OSError: the data cannot be moved.
    """
    from trioquorum.peer.run import DATA_FOLDER
    from trioquorum.storage.resync import set_aside

    if not server.peers:
        raise ConfigError("--resync takes the data from a leader, and a standalone server has none; restore a backup")
    for moved in set_aside(server.data_dir / DATA_FOLDER, server.data_log_dir / DATA_FOLDER):
        say(f"the data as it was lies in {moved} now")


def _fail(error: BaseException) -> NoReturn:
    raise typer.Exit(tell_why(error))


# -- ensemble ----------------------------------------------------------------------------------------------------------


async def _watch_ensemble(specs: tuple[PeerSpec, ...], data_dir: Path, log_level: str, page_port: int) -> int:
    """Run the ensemble until a signal or its end; the exit code."""
    from trioquorum import ensemble as local

    code = 0
    told = partial(_tell_how_to_connect, specs, data_dir)

    async def run() -> None:
        nonlocal code
        code = await local.run(specs, data_dir, log_level, say, told, page_port)

    say(f"starting {len(specs)} peers; data and logs are in {data_dir}")
    await until_signalled(run, STOP_TIMEOUT_S + local.STOP_TIMEOUT_S * len(specs))
    return code


def _tell_how_to_connect(specs: tuple[PeerSpec, ...], data_dir: Path, page: str) -> None:
    hosts = ",".join(f"{spec.client.host}:{spec.client.port}" for spec in specs if spec.client is not None)
    print(
        f"The ensemble serves. Clients connect to {hosts}\n"
        f'  kazoo   KazooClient(hosts="{hosts}")\n'
        f"  zkCli   zkCli.sh -server {hosts}\n"
        f"  state   trioquorum status --peers {data_dir / 'peers.toml'}\n"
        f"  page    {page}\n"
        "Ctrl-C stops it.",
        flush=True,
    )


# -- status ------------------------------------------------------------------------------------------------------------


def _print_table(found: EnsembleStatus) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(
        "id",
        Column("address", no_wrap=True),
        "role",
        "member",
        "epoch",
        "zxid",
        "lag",
        "sessions",
        "problem",
        box=None,
        pad_edge=False,
    )
    for peer in found.peers:
        cells = (
            peer.id,
            peer.address.removeprefix("tcp://"),
            peer.role,
            peer.member,
            peer.epoch,
            peer.zxid,
            peer.lag,
            peer.sessions,
            peer.problem,
        )
        table.add_row(*("" if cell is None else str(cell) for cell in cells), style=_colour(peer))
    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    console.print(table)
    console.print("quorum: yes" if found.quorum else "quorum: no", style="green" if found.quorum else "bold red")


def _colour(peer: PeerStatus) -> str:
    """Red for what is wrong, yellow for what may be on its way."""
    if peer.role in ("unreachable", "unknown") or (peer.problem and peer.role != "not serving"):
        return "red"
    if peer.problem or peer.role == "read-only" or (peer.lag or 0) > LAG_SHOWN:
        return "yellow"
    return "bold green" if peer.role == "leader" else ""
