"""Apache ZooKeeper from Debian's ``zookeeper`` package, or whatever jars ``BENCH_JAVA_CLASSPATH`` names."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from bench.servers import HOST, ZooKeepers

_JARS: Final = Path("/usr/share/java")
_MAIN: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_LOGGING: Final = ("slf4j-log4j12.jar", "log4j-1.2.jar")
_HEAP: Final = "-Xmx1000m"  # what upstream's own start script passes
_LOG4J: Final = """\
log4j.rootLogger=INFO, OUT
log4j.appender.OUT=org.apache.log4j.ConsoleAppender
log4j.appender.OUT.layout=org.apache.log4j.PatternLayout
log4j.appender.OUT.layout.ConversionPattern=%d{ISO8601} %-5p [%t] %c{1}: %m%n
"""


def why_missing() -> str | None:
    """One line on what is missing for a comparison; None when all is there."""
    if shutil.which("java") is None:
        return "no java on PATH: the comparison is skipped (Debian: apt-get install zookeeper)"
    if "BENCH_JAVA_CLASSPATH" not in os.environ and not (_JARS / "zookeeper.jar").exists():
        return f"no zookeeper.jar in {_JARS}: the comparison is skipped (Debian: apt-get install zookeeper)"
    return None


@cache
def versions() -> dict[str, str]:
    """Versions of the virtual machine and of ZooKeeper."""
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True)
    if "BENCH_JAVA_CLASSPATH" in os.environ:
        zookeeper = "from BENCH_JAVA_CLASSPATH"
    else:
        named = sorted(_JARS.glob("zookeeper-[0-9]*.jar"))
        zookeeper = named[-1].stem.removeprefix("zookeeper-") if named else "unknown"
    return {"java": java.stderr.splitlines()[1].strip(), "zookeeper": zookeeper}


def _class_path(folder: Path) -> str:
    """The configuration's folder for log4j, then the jars; the main jar's manifest names most of the others."""
    given = os.environ.get("BENCH_JAVA_CLASSPATH")
    if given is not None:
        return f"{folder}:{given}"
    jars = [_JARS / "zookeeper.jar", *(_JARS / jar for jar in _LOGGING)]
    return ":".join(str(it) for it in (folder, *jars) if it.exists())


class JavaZooKeeper(ZooKeepers):
    """Defaults, except for ports of their own, and for ``mntr``, which tells how often a log was flushed."""

    name = "java"

    def write_files(self) -> None:
        for i, ports in self.peers.items():
            folder = self.peer_folder(i)
            (folder / "data").mkdir()
            lines = [
                "tickTime=2000",
                "initLimit=10",
                "syncLimit=5",
                f"dataDir={folder / 'data'}",
                f"clientPort={ports.client}",
                f"clientPortAddress={HOST}",
                f"admin.serverPort={ports.admin}",
                "4lw.commands.whitelist=srvr,mntr",
            ]
            if self.many_clients:
                lines.append("maxClientCnxns=0")
            if len(self.peers) > 1:
                lines += [f"server.{j}={HOST}:{other.quorum}:{other.election}" for j, other in self.peers.items()]
                (folder / "data" / "myid").write_text(f"{i}\n")
            (folder / "zoo.cfg").write_text("\n".join(lines) + "\n")
            (folder / "log4j.properties").write_text(_LOG4J)

    def configure(self, *lines: str) -> None:
        with (self.peer_folder(1) / "zoo.cfg").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def command(self, i: int) -> list[str]:
        folder = self.peer_folder(i)
        return ["java", _HEAP, "-cp", _class_path(folder), _MAIN, str(folder / "zoo.cfg")]

    def data_folders(self, i: int) -> list[Path]:
        return [self.peer_folder(i) / "data" / "version-2"]
