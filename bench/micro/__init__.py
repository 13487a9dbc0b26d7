"""Microseconds of CPU time of the parts that a request goes through, each by itself."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from bench.micro import codec, ensemble, log, pipeline, tree
from bench.micro.timing import Micro, Timed
from bench.report import number, table

PARTS: Final[dict[str, Callable[[Path], Iterable[Micro]]]] = {
    "codec": codec.micros,
    "tree": tree.micros,
    "log": log.micros,
    "pipeline": pipeline.micros,
    "ensemble": ensemble.micros,
}


def run(parts: Sequence[str], folder: Path) -> list[Timed]:
    """Everything of these parts, in order.

    Raises:
        KeyError: there is no such part.
    """
    return [micro.timed(part) for part in parts for micro in PARTS[part](folder)]


def summary(found: Sequence[Timed]) -> str:
    """A row for each."""
    head = ["part", "what", "µs", "lowest", "highest"]
    rows = [[it.part, it.what, number(it.micros), number(it.lowest), number(it.highest)] for it in found]
    return table(head, rows)
