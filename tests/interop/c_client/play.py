"""Compiles the program and runs it against an ensemble."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.kit.transcripts import Normal
from tests.kit.zookeepers import Kind, ThreeZookeepers

RECORDED: Final = Path(__file__).with_name("recorded.txt")
"""What the program printed against Apache ZooKeeper."""

_SOURCES: Final = sorted(Path(__file__).parent.glob("*.c"))
_HEADER: Final = Path("/usr/include/zookeeper/zookeeper.h")
_FLAGS: Final = ("-DTHREADED", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1")
_SUPER: Final = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
_RUN_S: Final = 150


def missing() -> str | None:
    """What is needed and not there; None when the program can be compiled."""
    if shutil.which("gcc") is None:
        return "no gcc (Debian: apt-get install gcc libc6-dev)"
    if not _HEADER.exists():
        return f"no {_HEADER} (Debian: apt-get install libzookeeper-mt-dev)"
    return None


def ensemble(kind: Kind, folder: Path) -> ThreeZookeepers:
    """Three voters that may be reconfigured; the super user's password is ``test``."""
    lines = ["4lw.commands.whitelist=*", "reconfigEnabled=true", "extendedTypesEnabled=true"]
    return ThreeZookeepers(kind, folder, [*lines, f"DigestAuthenticationProvider.superDigest={_SUPER}"])


def compile_client(folder: Path) -> Path:
    """The program, built in ``folder`` with warnings as errors."""
    program = folder / "client"
    subprocess.run(["gcc", *_FLAGS, *map(str, _SOURCES), "-lzookeeper_mt", "-lpthread", "-o", str(program)], check=True)
    return program


def play(program: Path, servers: ThreeZookeepers) -> str:
    """The program's transcript, without what differs from run to run; server 2 leaves and joins again."""
    names = servers.names
    joining = f"server.2=127.0.0.1:{names['quorum2']}:{names['election2']};127.0.0.1:{names['client2']}"
    ended = subprocess.run(
        [str(program), servers.host(1), "2", joining], capture_output=True, text=True, timeout=_RUN_S, check=False
    )
    normal = Normal(names)
    lines = [normal(line) for line in ended.stdout.splitlines()]
    return "".join(f"{line}\n" for line in [*lines, f"exit code {ended.returncode}"])
