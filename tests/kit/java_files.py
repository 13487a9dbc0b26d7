"""What Apache ZooKeeper makes of the files of a data directory: its own tools, and its server on a copy of them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from kazoo.client import KazooClient

from tests.kit.processes import four_letter, free_ports
from tests.kit.zookeepers import Zookeeper, java_command
from tests.storage.kit import STAT_FIELDS
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid
from trioquorum.tree.acl import digest_id

TOOL_S: Final = 60
SUPER: Final = "super:judge"
PROPERTIES: Final = {
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.DigestAuthenticationProvider.superDigest": digest_id(SUPER.encode()),
}
CONFIG: Final = ("tickTime=3000", "4lw.commands.whitelist=*")

_SNAPSHOT_TOOL: Final = "org.apache.zookeeper.server.SnapshotFormatter"
_LOG_TOOL: Final = "org.apache.zookeeper.server.persistence.TxnLogToolkit"
_LOUD: Final = re.compile(r"^\S+ \S+ (WARN|ERROR) ")
_NOT_ABOUT_FILES: Final = ("no config or no quorum defined", "maxCnxns is not configured", "closing a command socket")

Nodes = dict[str, dict[str, Any]]
"""By path: data, stat, acl and children, as ``tests.storage.kit.seen_tree`` tells ours."""


class Judgement:
    """What Java said: ``complaints`` of tools and server, and the ``tree`` and ``zxid`` that its server shows."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.tree: Nodes = {}
        self.zxid = 0
        self.txns = 0
        self.znodes: dict[str, int] = {}


def judge(folder: Path, scratch: Path) -> Judgement:
    """Let Java look at the snapshots and logs in ``folder``, which is only read; ``scratch`` must not be there yet.

    A last log without a single byte is left out: a crash came before its header. Newer ZooKeepers remove it as we do,
    3.8 has to be helped.
    """
    found = Judgement()
    data = scratch / "data" / "version-2"
    data.mkdir(parents=True)
    names = [file.name for file in folder.iterdir()]
    for kind, look in ((SNAPSHOT, _look_at_snapshot), (LOG, _look_at_log)):
        for _, name in sorted_by_zxid(names, kind):
            if kind == LOG and not (folder / name).stat().st_size and name == sorted_by_zxid(names, LOG)[-1][1]:
                continue
            shutil.copyfile(folder / name, data / name)
            look(data / name, scratch, found)
    _boot(scratch, found)
    return found


def _run(tool: str, file: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    command = [*java_command(scratch, tool), "-d", str(file)]
    return subprocess.run(command, check=False, capture_output=True, encoding="utf-8", errors="replace", timeout=TOOL_S)


def _look_at_snapshot(file: Path, scratch: Path, found: Judgement) -> None:
    ended = _run(_SNAPSHOT_TOOL, file, scratch)
    count = re.search(r"^ZNode Details \(count=(\d+)\)", ended.stdout, re.MULTILINE)
    if ended.returncode or count is None:
        found.complaints.append(f"{file.name}: exit {ended.returncode}: {ended.stderr[-500:]}")
    else:
        found.znodes[file.name] = int(count[1])


def _look_at_log(file: Path, scratch: Path, found: Judgement) -> None:
    ended = _run(_LOG_TOOL, file, scratch)
    count = re.search(r"^EOF reached after (\d+) txns", ended.stdout, re.MULTILINE)
    if ended.returncode or count is None or "CRC" in ended.stdout:
        found.complaints.append(f"{file.name}: exit {ended.returncode}: {ended.stdout[-300:]} {ended.stderr[-500:]}")
    else:
        found.txns += int(count[1])


def _boot(scratch: Path, found: Judgement) -> None:
    (port,) = free_ports(1)
    server = Zookeeper("java", scratch, port, CONFIG, properties=PROPERTIES)
    server.start()
    try:
        server.wait_serving()
        said = dict(line.split(": ", 1) for line in four_letter(port, "srvr").splitlines() if ": " in line)
        found.zxid = int(said["Zxid"], 16)
        measured = dict(line.split("\t", 1) for line in four_letter(port, "mntr").splitlines() if "\t" in line)
        mismatches = measured.get("zk_digest_mismatches_count", "0")
        if int(float(mismatches)):
            found.complaints.append(f"the server counted {mismatches} digests that do not match")
        loud = [line for line in server.log.read_text().splitlines() if _LOUD.match(line)]
        found.complaints += [line for line in loud if not any(said in line for said in _NOT_ABOUT_FILES)]
        found.tree = dump(port)
    finally:
        server.stop()


def dump(port: int) -> Nodes:
    """The whole tree of a server with ``PROPERTIES``, as a client sees it who may see everything."""
    client = KazooClient(hosts=f"127.0.0.1:{port}", timeout=30)
    client.start(30)
    client.add_auth("digest", SUPER)
    nodes: Nodes = {}
    todo = ["/"]
    while todo:
        path = todo.pop()
        data, stat = client.get(path)
        children = client.get_children(path)
        nodes[path] = {
            "data": data,
            "stat": dict(zip(STAT_FIELDS, stat, strict=True)),
            "acl": [(acl.perms, acl.id.scheme, acl.id.id) for acl in client.get_acls(path)[0]],
            "children": set(children),
        }
        todo += [f"{path.rstrip('/')}/{child}" for child in children]
    client.stop()
    client.close()
    return nodes
