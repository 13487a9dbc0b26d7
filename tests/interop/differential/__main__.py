"""``python -m tests.interop.differential --sequences 3000 --seed 1``: this server against Apache ZooKeeper."""

import sys
import time
from typing import Annotated

import typer

from tests.interop.differential.running import LENGTH, Pair, drawn, shrunk
from tests.interop.differential.servers import missing

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    sequences: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the first one; each further one has the next.")] = 1,
    peers: Annotated[int, typer.Option(min=1, max=5, help="1: standalone servers; more: ensembles.")] = 1,
    length: Annotated[int, typer.Option(min=1, help="Steps of one sequence.")] = LENGTH,
    shrink: Annotated[bool, typer.Option(help="Look for a shorter sequence that differs.")] = True,
    differences: Annotated[int, typer.Option(min=1, help="Stop after so many.")] = 10,
) -> None:
    """Run random sequences on both; print each that is not answered the same. Exit code 1 if there was one.

    A difference that is gone when the sequence is run again was one of moments: when a session ends, or a peer hears of
    it. It is printed and does not count.
    """
    reason = missing()
    if reason is not None:
        print(reason, file=sys.stderr)
        raise typer.Exit(2)
    began = time.monotonic()
    found, moments = 0, 0
    with Pair(peers) as pair:
        for number in range(seed, seed + sequences):
            steps = drawn(number, peers, length)
            difference = pair.run(steps)
            if difference is not None and pair.run(steps) is None:
                moments += 1
                print(f"seed {number}, but not again: {difference}", flush=True)
            elif difference is not None:
                found += 1
                print(f"seed {number}: {difference}", flush=True)
                if shrink:
                    steps, difference = shrunk(pair, steps, difference)
                    print("  shortest:", *steps, difference, sep="\n    ", flush=True)
            if found == differences:
                break
            if (number - seed) % 50 == 49:
                took = time.monotonic() - began
                print(f"{number - seed + 1} sequences, {pair.requests} requests, {took:.0f} s", flush=True)
        print(
            f"{number - seed + 1} sequences, {pair.requests} requests, {found} differ, {moments} for a moment; "
            f"excused: {dict(pair.excused)}"
        )
    raise typer.Exit(1 if found else 0)


if __name__ == "__main__":
    app()
