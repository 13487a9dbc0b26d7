"""``python -m tests.fuzz.client --inputs 10000000``: bytes of hostile clients, against the connection without I/O.

With Atheris installed, coverage steers the inputs; otherwise they are drawn from a seed. Both start from recorded
conversations. An input that breaks a rule is written to a file, which the same command takes as an argument.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer

from tests.fuzz import recorded
from tests.fuzz.mutating import frames_of, mutated

INPUT_BYTES_MAX = 2048
CUTS = 20
REPORT_EVERY = 100_000

Examine = Callable[[bytes], None]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    inputs: Annotated[int, typer.Option(min=1, help="How many.")] = 100_000,
    seed: Annotated[int, typer.Option(help="What they are drawn from.")] = 1,
    corpus: Annotated[Path | None, typer.Option(help="Where Atheris keeps inputs that reach new code.")] = None,
    steered: Annotated[bool, typer.Option(help="Use Atheris if it is there.")] = True,
    again: Annotated[Path | None, typer.Argument(help="An input that once failed: only that one.")] = None,
) -> None:
    """Feed the connection hostile bytes until one breaks a rule."""
    atheris = _atheris() if steered and again is None else None
    if atheris is None:
        examine = _examiner()
    else:
        with atheris.instrument_imports(include=["trioquorum"]):
            examine = _examiner()
    if again is not None:
        examine(again.read_bytes())
    elif atheris is None:
        _drawn(examine, inputs, seed)
    else:
        _steered(atheris, examine, inputs, seed, corpus)


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        print("Atheris is not installed: nothing but the seed steers the inputs", file=sys.stderr)
        return None


def _examiner() -> Examine:
    """The server is imported here, so that Atheris can watch it."""
    desk = importlib.import_module("tests.fuzz.desk")

    def examine(data: bytes) -> None:
        """The first byte says how the rest is cut, mostly not at all."""
        if len(data) > 1:
            desk.examine(data[1:], 7 * data[0] + 1 if data[0] < CUTS else 0)

    return examine


def _drawn(examine: Examine, inputs: int, seed: int) -> None:
    chance = Random(seed)
    conversations = recorded.conversations()
    for number in range(1, inputs + 1):
        frames = mutated(chance.choice(conversations), conversations, chance)
        data = bytes((chance.randrange(256),)) + b"".join(frames)[:INPUT_BYTES_MAX]
        try:
            examine(data)
        except BaseException:
            failed = Path(f"failed-{seed}-{number}")
            failed.write_bytes(data)
            print(f"seed {seed}, input {number}: written to {failed}", flush=True)
            raise
        if number % REPORT_EVERY == 0 or number == inputs:
            print(f"{number} inputs", flush=True)


def _steered(atheris: Any, examine: Examine, inputs: int, seed: int, corpus: Path | None) -> None:
    conversations = recorded.conversations()
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
        for number, frames in enumerate(conversations):
            (corpus / f"recorded-{number}").write_bytes(b"\xff" + b"".join(frames)[:INPUT_BYTES_MAX])

    def mutate(data: bytes, most: int, draw: int) -> bytes:
        chance = Random(draw)
        if len(data) < 2 or chance.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        frames = mutated(frames_of(data[1:], INPUT_BYTES_MAX), conversations, chance)
        return (data[:1] + b"".join(frames))[:most]

    options = [f"-runs={inputs}", f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX}", "-rss_limit_mb=1024", "-timeout=300"]
    folders = [str(corpus)] if corpus is not None else []
    atheris.Setup([sys.argv[0], *options, *folders], examine, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    app()
