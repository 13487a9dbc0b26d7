"""Text scripts: commands, ``----``, everything that can be seen of their effect.

A script is blocks divided by empty lines. A block is lines of commands, a line ``----`` and the output of all of them.
``#`` starts a comment line. State lives as long as the script. ``pytest --rewrite`` writes what was seen into the
scripts; the diff is then the review.
"""

from collections.abc import Awaitable, Callable
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
    _judge(path, [_shown(kept, [run(command) for command in commands]) for kept, commands in _blocks(path)], rewrite)


async def run_script_async(path: Path, run: Callable[[Command], Awaitable[str]], *, rewrite: bool) -> None:
    """``run_script`` for commands that wait."""
    shown = [_shown(kept, [await run(command) for command in commands]) for kept, commands in _blocks(path)]
    _judge(path, shown, rewrite)


def _blocks(path: Path) -> list[tuple[list[str], list[Command]]]:
    """The lines that stay as they are, and the commands among them."""
    found: list[tuple[list[str], list[Command]]] = []
    for block in path.read_text().strip().split("\n\n"):
        lines = block.splitlines()
        kept = lines[: lines.index(DIVIDER)] if DIVIDER in lines else lines
        found.append((kept, [_parse(line) for line in kept if not line.startswith("#")]))
    return found


def _shown(kept: list[str], outputs: list[str]) -> str:
    if not outputs:
        return "\n".join(kept)
    return "\n".join([*kept, DIVIDER, *(output.rstrip("\n") for output in outputs if output)])


def _judge(path: Path, shown: list[str], rewrite: bool) -> None:
    seen = "\n\n".join(shown) + "\n"
    if rewrite:
        path.write_text(seen)
    assert seen == path.read_text(), f"{path.name}: run pytest --rewrite and review the diff"


def _parse(line: str) -> Command:
    name, *rest = line.split()
    options = dict(word.split("=", 1) for word in rest if "=" in word)
    return Command(name, tuple(word for word in rest if "=" not in word), options)
