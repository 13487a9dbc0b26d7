"""Text scripts: commands, ``----``, everything that can be seen of their effect.

A script is blocks divided by empty lines. A block is lines of commands, a line ``----`` and the output of all of them.
``#`` starts a comment line. State lives as long as the script. ``pytest --rewrite`` writes what was seen into the
scripts; the diff is then the review.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
DIVIDER = "----"


@dataclass(frozen=True)
class Command:
    """``name word word key=value``."""

    name: str
    words: tuple[str, ...]
    options: dict[str, str]


def scripts(folder: str) -> list[Path]:
    """The scripts of one subject; none is an error, so that a wrong name cannot pass for success."""
    found = sorted((HERE / folder).glob("*.txt"))
    if not found:
        raise FileNotFoundError(f"no scripts in {HERE / folder}")
    return found


def run_script(path: Path, run: Callable[[Command], str], *, rewrite: bool) -> None:
    """Feed each command to ``run`` and compare what it says, line by line, with the script."""
    blocks = path.read_text().strip().split("\n\n")
    seen = "\n\n".join(_run_block(block, run) for block in blocks) + "\n"
    if rewrite:
        path.write_text(seen)
    assert seen == path.read_text(), f"{path.name}: run pytest --rewrite and review the diff"


def _run_block(block: str, run: Callable[[Command], str]) -> str:
    lines = block.splitlines()
    kept = lines[: lines.index(DIVIDER)] if DIVIDER in lines else lines
    outputs = [run(_parse(line)) for line in kept if not line.startswith("#")]
    if not outputs:
        return "\n".join(kept)
    return "\n".join([*kept, DIVIDER, *(output.rstrip("\n") for output in outputs if output)])


def _parse(line: str) -> Command:
    name, *rest = line.split()
    options = dict(word.split("=", 1) for word in rest if "=" in word)
    return Command(name, tuple(word for word in rest if "=" not in word), options)
