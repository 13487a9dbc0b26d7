"""Plays a scripted session against an ensemble; the scripts hold commands and what Apache ZooKeeper answered."""

import tomllib
from pathlib import Path
from typing import Final

from tests.interop.zkcli.session import Session
from tests.kit.transcripts import Normal, read_blocks
from tests.kit.zookeepers import Kind, ThreeZookeepers

SCRIPTS: Final = sorted(Path(__file__).parent.glob("*.txt"))
PROMPT: Final = "zk> "
_SUPER: Final = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="


def ensemble(kind: Kind, folder: Path) -> ThreeZookeepers:
    """Three voters that let the command line do everything that it knows; the super user's password is ``test``."""
    lines = ["4lw.commands.whitelist=*", "reconfigEnabled=true", "extendedTypesEnabled=true", "enforceQuota=true"]
    lines.append(f"DigestAuthenticationProvider.superDigest={_SUPER}")
    properties = {"zookeeper.extendedTypesEnabled": "true"}
    return ThreeZookeepers(kind, folder, lines, properties=properties)


def differences() -> dict[tuple[str, str], list[str]]:
    """What we answer otherwise on purpose, by script and command; the file gives the reasons."""
    found = tomllib.loads((Path(__file__).parent / "differences.toml").read_text(encoding="utf-8"))
    return {(one["script"], one["command"]): one["answer"] for one in found["difference"]}


def play(script: Path, servers: ThreeZookeepers, folder: Path) -> str:
    """The transcript of all commands of ``script``, without what differs from run to run."""
    normal = Normal(servers.names)
    head = [line for line in script.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    shown = [*head, ""] if head else []
    members = folder / "members"
    members.write_text("".join(f"{line}\n" for line in servers.lines))
    with Session(folder, servers.host(1)) as session:
        for command, _ in read_blocks(script, PROMPT):
            shown.append(PROMPT + command)
            lines = [normal(line) for line in session.run(normal.fill(command).replace("<members>", str(members)))]
            shown += sorted(lines) if command == "whoami" else lines  # Java keeps ids in the order of their hashes
    return "".join(f"{line}\n" for line in shown)
