"""Runs the program against an ensemble."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.kit.transcripts import Normal
from tests.kit.zookeepers import Kind, ThreeZookeepers

RECORDED: Final = Path(__file__).with_name("recorded.txt")
"""What the program printed against Apache ZooKeeper."""

_PROGRAM: Final = Path(__file__).with_name("client.js")
_MODULE: Final = "node-zookeeper-client"
_RUN_S: Final = 90


def missing() -> str | None:
    """What is needed and not there; None when the program can run."""
    if shutil.which("node") is None:
        return "no node (Debian: apt-get install nodejs)"
    found = subprocess.run(
        ["node", "-e", f"require.resolve('{_MODULE}')"], cwd=_PROGRAM.parent, capture_output=True, check=False
    )
    if found.returncode:
        return f"no {_MODULE} (npm install --prefix DIR {_MODULE}, and NODE_PATH=DIR/node_modules)"
    return None


def ensemble(kind: Kind, folder: Path) -> ThreeZookeepers:
    """Three voters as they are."""
    return ThreeZookeepers(kind, folder, ["4lw.commands.whitelist=*"])


def play(servers: ThreeZookeepers) -> str:
    """The program's transcript, without what differs from run to run."""
    ended = subprocess.run(
        ["node", str(_PROGRAM), servers.host(1)], capture_output=True, text=True, timeout=_RUN_S, check=False
    )
    normal = Normal(servers.names)
    lines = [normal(line) for line in (ended.stdout + ended.stderr).splitlines()]
    return "".join(f"{line}\n" for line in [*lines, f"exit code {ended.returncode}"])
