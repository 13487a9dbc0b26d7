"""The same server twice, from the same ``zoo.cfg``: Apache ZooKeeper (Debian's package) and trioquorum."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final, Self

from tests.kit.processes import free_ports, mode, wait_until

JARS: Final = Path("/usr/share/java")
SUPER: Final = b"super:secret"
SESSION_TIMEOUT_MS: Final = 300_000
"""Nobody may expire: this machine can be slow."""

_MAIN: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_JVM: Final = ("-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_SUPER_DIGEST: Final = "super:" + base64.b64encode(hashlib.sha1(SUPER).digest()).decode()
_REPOSITORY: Final = Path(__file__).parents[3]

# Flushing would only cost time here, and the sweep would come at moments of its own.
_ZOO_CFG: Final = f"""\
tickTime=2000
initLimit=60
syncLimit=60
maxSessionTimeout={SESSION_TIMEOUT_MS}
maxClientCnxns=0
forceSync=no
4lw.commands.whitelist=*
reconfigEnabled=true
extendedTypesEnabled=true
enforceQuota=true
DigestAuthenticationProvider.superDigest={_SUPER_DIGEST}
"""
_JAVA_ONLY: Final = "admin.enableServer=false\n"
_SWEEP: Final = "znode.container.checkIntervalMs"  # Java takes it on its command line alone
_NEVER: Final = "86400000"
_LOG4J: Final = """\
log4j.rootLogger=WARN, OUT
log4j.appender.OUT=org.apache.log4j.ConsoleAppender
log4j.appender.OUT.layout=org.apache.log4j.PatternLayout
log4j.appender.OUT.layout.ConversionPattern=%d{ISO8601} %-5p [%t] %c{1}: %m%n
"""


def missing() -> str | None:
    """What is not installed here; None when the comparison can run."""
    if shutil.which("java") is None:
        return "no java (Debian: apt-get install zookeeper)"
    if not (JARS / "zookeeper.jar").exists():
        return f"no zookeeper.jar in {JARS} (Debian: apt-get install zookeeper)"
    return None


class Servers(ABC):
    """One standalone server, or voters 1 to ``count``; killed at the end of the block."""

    name: str
    more = ""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        ports = free_ports(3 * count)
        self.ports = ports[:count]
        lines = [f"server.{i + 1}=127.0.0.1:{ports[count + i]}:{ports[2 * count + i]}\n" for i in range(count)]
        self.processes: list[subprocess.Popen[bytes]] = []
        for i, port in enumerate(self.ports):
            data = self._peer(i) / "data"
            data.mkdir(parents=True)
            config = f"{_ZOO_CFG}{self.more}dataDir={data}\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
            if count > 1:
                config += "".join(lines)
                (data / "myid").write_text(f"{i + 1}\n")
            (self._peer(i) / "zoo.cfg").write_text(config)

    def _peer(self, i: int) -> Path:
        return self.folder / f"peer{i + 1}"

    @abstractmethod
    def command(self, folder: Path) -> list[str]:
        """What starts the peer whose ``zoo.cfg`` is in ``folder``."""

    def __enter__(self) -> Self:
        for i in range(len(self.ports)):
            folder = self._peer(i)
            with (folder / "log").open("ab") as log:
                path = os.pathsep.join((str(_REPOSITORY), str(_REPOSITORY / "transports")))
                self.processes.append(
                    subprocess.Popen(
                        self.command(folder),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        cwd=folder,
                        env=os.environ | {"PYTHONPATH": path},
                    )
                )
        try:
            wait_until(f"{self.name} serves, see {self.folder}", self._serve, 120)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _serve(self) -> bool:
        self.check_alive()
        return all(mode(port) for port in self.ports)

    def check_alive(self) -> None:
        """No process ended."""
        for i, process in enumerate(self.processes):
            assert process.poll() is None, f"{self.name}: {(self._peer(i) / 'log').read_text()[-3000:]}"

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def leader_last(self) -> list[int]:
        """The client ports, with that of the leader, which checks more than the others, at the end."""
        return sorted(self.ports, key=lambda port: mode(port) == "leader")


class Java(Servers):
    """Apache ZooKeeper."""

    name = "java"
    more = _JAVA_ONLY

    def command(self, folder: Path) -> list[str]:
        """The class that Debian's script starts."""
        (folder / "log4j.properties").write_text(_LOG4J)
        jars = [JARS / jar for jar in ("zookeeper.jar", "slf4j-log4j12.jar", "log4j-1.2.jar")]
        path = ":".join(map(str, (folder, *jars)))
        return [
            "java",
            *_JVM,
            f"-D{_SWEEP}={_NEVER}",
            "-cp",
            path,
            _MAIN,
            str(folder / "zoo.cfg"),
        ]


class Trioquorum(Servers):
    """This server, from this checkout."""

    name = "trioquorum"
    more = f"{_SWEEP}={_NEVER}\n"

    def command(self, folder: Path) -> list[str]:
        """As a user starts it."""
        return [sys.executable, "-m", "trioquorum", "serve", "--config", str(folder / "zoo.cfg")]
