"""What the commands of the command line share."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from trioquorum.errors import ConfigError, LinkClosed, StorageError
from trioquorum.exits import Exit, explain
from trioquorum.status import Target
from trioquorum.transport import Address

DEFAULT_CLIENT_PORT: Final = 2181
BASE_PORT: Final = 2181
"""The first client port of a whole ensemble on this machine."""

PROGRESS_BYTES_MIN: Final = 4 << 20
"""Less is read before anybody would look at a bar."""


def zxid(text: str) -> int:
    """``0x100000001``, or decimal."""
    try:
        return int(text, 0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no zxid or id; write it like 0x100000001") from None


def hosts_of(text: str) -> list[Target]:
    """``host:port,[ipv6]:port,host`` as ZooKeeper's clients write it.

    Raises:
        ConfigError: it is not that.
    """

    def address(host: str) -> Address:
        has_port = ":" in host.rpartition("]")[2]
        return Address.parse(f"tcp://{host}" if has_port else f"tcp://{host}:{DEFAULT_CLIENT_PORT}")

    return [Target(client=address(host.strip())) for host in text.split(",")]


@contextmanager
def failing() -> Iterator[None]:
    """One line and an exit code instead of a traceback."""
    try:
        yield
    except LinkClosed as error:
        typer.echo(f"trioquorum: {error}", err=True)
        raise typer.Exit(Exit.UNEXPECTED) from None
    except (ConfigError, StorageError, OSError) as error:
        code, line = explain(error)
        typer.echo(f"trioquorum: {line}", err=True)
        raise typer.Exit(code) from None


@contextmanager
def progress(
    what: str, files: Iterable[Path] = (), *, total_bytes: int = 0, printing: bool = False
) -> Iterator[Callable[[int], object]]:
    """A bar over the bytes of large files and ``total_bytes`` more, on a terminal's standard error only.

    There is none where the work is ``printing`` on the same terminal.
    """
    total = total_bytes + sum(file.stat().st_size for file in files)
    if total < PROGRESS_BYTES_MIN or not sys.stderr.isatty() or (printing and sys.stdout.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        yield partial(bar.advance, bar.add_task(what, total=total))


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], object]]:
    """The bytes so far, of work whose end nobody knows; on a terminal's standard error only."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield partial(bar.advance, bar.add_task(what, total=None))


def tell(told: Any) -> None:
    """One JSON object on a line of its own."""
    typer.echo(msgspec.json.encode(told))
