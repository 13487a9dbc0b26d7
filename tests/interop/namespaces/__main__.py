"""``python -m tests.interop.namespaces --minutes 30 --seed 1``: real peers in network namespaces, under faults."""

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import trio
import typer

from tests.interop.namespaces.network import missing
from tests.interop.namespaces.run import Report, play

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long things go wrong.")] = 2.0,
    seed: Annotated[int, typer.Option(help="What the faults and the calls are drawn from.")] = 1,
    peers: Annotated[int, typer.Option(min=2, max=9, help="How many peers.")] = 3,
    folder: Annotated[Path | None, typer.Option(help="Empty; logs and data stay there [default: removed].")] = None,
) -> None:
    """Run real peers in network namespaces under faults, and check what their clients saw. Needs root."""
    reason = missing()
    if reason is not None:
        print(reason, file=sys.stderr)
        raise typer.Exit(2)
    with tempfile.TemporaryDirectory(prefix="trioquorum-", ignore_cleanup_errors=True) as scratch:
        work = partial(play, folder or Path(scratch), seed, minutes * 60, peers, say)
        report: Report = trio.run(work)
    print(msgspec.json.format(msgspec.json.encode(report)).decode())


def say(line: str) -> None:
    """At once, also into a file."""
    print(line, flush=True)


if __name__ == "__main__":
    app()
