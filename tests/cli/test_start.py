"""What a peer loads before it serves: the start and the memory of every process depend on it."""

import subprocess
import sys
from pathlib import Path

HEAVY = ("pydantic", "rich", "pygments")
PROGRAM = """
import sys, trio
from trioquorum import cli
trio.run = lambda *_: print("loaded", *sys.modules)
cli.app(["serve", "--data-dir", sys.argv[1]])
"""


def test_a_server_loads_nothing_heavy_that_it_does_not_use(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = ran.stdout.split()
    assert loaded[0] == "loaded"
    assert "trioquorum.peer.run" in loaded or "trioquorum.log" in loaded
    assert not set(HEAVY) & set(loaded)
