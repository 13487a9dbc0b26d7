"""``trioquorum explain``, ``watch`` and ``tasks``: the live feed in a terminal."""

from collections import deque
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import trio
import typer

from trioquorum.cli_parts import failing
from trioquorum.config import read_peers
from trioquorum.errors import ConfigError, ConnectFailed
from trioquorum.exits import Exit

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from trioquorum.admin.feed import AnyFrame, Sample, Snapshot, TaskInfo

REFRESH_S: Final = 0.25
EVENTS_SHOWN: Final = 12
DEFAULT_ADMIN: Final = "http://127.0.0.1:8081"
INDENT: Final = "  "

Peers = Annotated[Path | None, typer.Option(help="The ensemble, a peers.toml whose peers have admin ports.")]
Admin = Annotated[
    list[str] | None, typer.Option(help=f"An admin port, http://host:port; may come again [default: {DEFAULT_ADMIN}].")
]
TokenFile = Annotated[Path | None, typer.Option(help="A file with the token of the admin ports.")]


def explain(
    peers: Peers = None,
    admin: Admin = None,
    admin_token_file: TokenFile = None,
    last: Annotated[int, typer.Option(help="How many elections.", min=1)] = 1,
    brief: Annotated[bool, typer.Option("--brief", help="One line for each election.")] = False,
) -> None:
    """Say in words how the last elections went: who voted for whom, and why votes changed or did not count."""
    from trioquorum.admin.explaining import elections_of, explain as in_words, summary
    from trioquorum.admin.gathering import histories

    with failing():
        urls, token = _whom(peers, admin, admin_token_file)
        found = trio.run(histories, urls, token)
        for told in found:
            if told.problem is not None:
                typer.echo(f"trioquorum: {told.problem}", err=True)
        if all(told.problem is not None for told in found):
            raise ConnectFailed("no peer told anything")
    elections = elections_of(heard for told in found for heard in told.heard)
    if not elections:
        typer.echo("No election since these peers started.")
    for election in elections[-last:]:
        began = datetime.fromtimestamp(election.began_ms / 1000, UTC)
        typer.echo(f"{began:%Y-%m-%d %H:%M:%S}.{election.began_ms % 1000:03d} UTC: ", nl=False)
        typer.echo(summary(election) if brief else "\n".join(in_words(election)))


def watch(peers: Peers = None, admin: Admin = None, admin_token_file: TokenFile = None) -> None:
    """Show all peers in the terminal as they are, and what happens, until Ctrl-C."""
    with failing():
        urls, token = _whom(peers, admin, admin_token_file)
        try:
            trio.run(_watch, urls, token)
        except* KeyboardInterrupt:
            raise typer.Exit from None


def tasks(peers: Peers = None, admin: Admin = None, admin_token_file: TokenFile = None) -> None:
    """Print what each peer is doing: the tree of its tasks, as Trio knows it."""
    with failing():
        urls, token = _whom(peers, admin, admin_token_file)
        trees = trio.run(_all_tasks, urls, token)
    for url, tree in trees.items():
        typer.echo(f"{url}: {tree}" if isinstance(tree, str) else "\n".join([url, *_tree(tree, INDENT)]))
    if all(isinstance(tree, str) for tree in trees.values()):
        raise typer.Exit(Exit.UNEXPECTED)


def _whom(peers: Path | None, admin: list[str] | None, token_file: Path | None) -> tuple[list[str], str]:
    """The admin ports to ask, and the token.

    Raises:
        ConfigError: the options do not go together, or no peer of the file has an admin port.
    """
    from trioquorum.admin.settings import origin_of, read_token

    if peers is not None and admin:
        raise ConfigError("--peers and --admin both say whom to ask; give one of them")
    token = read_token(token_file)
    if peers is None:
        return [origin_of(url) for url in admin or [DEFAULT_ADMIN]], token
    urls = [origin_of(spec.admin) for spec in read_peers(peers) if spec.admin is not None]
    if not urls:
        raise ConfigError(f"{peers}: no peer has an admin port; give them admin = {DEFAULT_ADMIN!r}")
    return urls, token


# -- tasks -------------------------------------------------------------------------------------------------------------


async def _all_tasks(urls: list[str], token: str) -> "dict[str, TaskInfo | str]":
    from trioquorum.admin.gathering import tasks_of

    found: dict[str, TaskInfo | str] = {}
    await trio.lowlevel.checkpoint()
    for url in urls:
        found[url] = await tasks_of(url, token)
    return found


def _tree(task: "TaskInfo", indent: str) -> "list[str]":
    lines = [f"{indent}{task.name}"]
    several = len(task.nurseries) > 1
    for number, nursery in enumerate(task.nurseries, 1):
        if several:
            lines.append(f"{indent}{INDENT}nursery {number}")
        for child in nursery:
            lines += _tree(child, indent + INDENT * (2 if several else 1))
    if task.left_out:
        lines.append(f"{indent}{INDENT}and {task.left_out} more")
    return lines


# -- watch -------------------------------------------------------------------------------------------------------------


class Row(msgspec.Struct):
    """What is known of one peer."""

    snapshot: "Snapshot | None" = None
    sample: "Sample | None" = None
    problem: str = "no answer yet"


class Board:
    """The peers and the last events; ``take`` is given every frame."""

    def __init__(self, urls: list[str]) -> None:
        self.rows = {url: Row() for url in urls}
        self.events: deque[str] = deque(maxlen=EVENTS_SHOWN)

    def take(self, url: str, frame: "AnyFrame | str") -> None:
        """A frame of the peer at ``url``, or why it is silent."""
        from trioquorum.admin.feed import EventFrame, Sample, Snapshot

        row = self.rows[url]
        match frame:
            case str():
                row.problem, row.sample = frame, None
            case Snapshot():
                row.snapshot, row.problem = frame, ""
            case Sample():
                row.sample = frame
            case EventFrame():
                peer = "?" if row.snapshot is None else str(row.snapshot.peer)
                fields = " ".join(f"{name}={value}" for name, value in frame.fact.items() if name != "event")
                moment = datetime.fromtimestamp(frame.wall_ms / 1000, UTC)
                self.events.append(f"{moment:%H:%M:%S} peer {peer} {frame.fact.get('event')} {fields}")

    def render(self) -> "Group":
        """The board as it is."""
        from rich.console import Group
        from rich.text import Text

        return Group(self._table(), *(Text(line, no_wrap=True, overflow="ellipsis") for line in self.events))

    def _table(self) -> "Table":
        from rich.table import Column, Table

        names: tuple[str, ...] = ("peer", "role", "leader", "epoch", "zxid", "txn/s", "commit ms", "fsync ms", "queued")
        names += ("sessions", "watches", "loop lag ms", "problem")
        table = Table(*(Column(name, no_wrap=True) for name in names), box=None, pad_edge=False)
        for url, row in self.rows.items():
            table.add_row(*_cells(url, row), style="red" if row.problem else None)
        return table


def _cells(url: str, row: Row) -> "list[RenderableType]":
    snapshot, sample = row.snapshot, row.sample
    if snapshot is None or row.problem:
        name = url.removeprefix("http://") if snapshot is None else str(snapshot.peer)
        return [name, *[""] * 11, row.problem]
    if sample is None:
        return [str(snapshot.peer), snapshot.role, "", str(snapshot.epoch), hex(snapshot.zxid), *[""] * 8]
    return [
        str(snapshot.peer),
        sample.role,
        "" if sample.leader < 0 else str(sample.leader),
        str(sample.epoch),
        hex(sample.zxid),
        f"{sample.txns * 1000 / sample.period_ms:.0f}",
        "" if sample.commit_ms_p50 is None else f"{sample.commit_ms_p50:.1f}/{sample.commit_ms_p99:.1f}",
        "" if sample.fsync_ms is None else f"{sample.fsync_ms:.1f}",
        str(sample.unapplied_txns),
        str(sample.sessions),
        str(sample.watches),
        f"{sample.loop_lag_ms:.1f}",
        "",
    ]


async def _watch(urls: list[str], token: str) -> None:
    """Redraw the board by a task of Trio's; rich's own thread stays out of it."""
    from rich.live import Live

    from trioquorum.admin.gathering import follow

    board = Board(urls)
    with Live(board.render(), auto_refresh=False) as live:
        async with trio.open_nursery() as nursery:
            for url in urls:
                nursery.start_soon(partial(follow, url, token, board.take))
            while True:
                await trio.sleep(REFRESH_S)
                live.update(board.render(), refresh=True)
