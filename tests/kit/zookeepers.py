"""One server process from a ``zoo.cfg``: this server, or Apache ZooKeeper from Debian's package as the referee."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, Self

from tests.kit.processes import free_ports, mode, wait_until

Kind = Literal["ours", "java"]

JARS: Final = Path("/usr/share/java")
_REPOSITORY: Final = Path(__file__).parents[2]
_LOGGING: Final = ("slf4j-log4j12.jar", "log4j-1.2.jar")
_NETTY: Final = ("netty-codec.jar", "netty-resolver.jar")  # what the manifest of zookeeper.jar forgets
_SERVER: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_JVM: Final = ("-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8")
_LOG4J: Final = """\
log4j.rootLogger=INFO, OUT
log4j.appender.OUT=org.apache.log4j.ConsoleAppender
log4j.appender.OUT.target=System.err
log4j.appender.OUT.layout=org.apache.log4j.PatternLayout
log4j.appender.OUT.layout.ConversionPattern=%d{ISO8601} %-5p [%t] %c{1}: %m%n
"""
_STOP_S: Final = 20


def java_missing() -> str | None:
    """What Apache ZooKeeper or its command line lacks here; None when it can run."""
    if shutil.which("java") is None:
        return "no java (Debian: apt-get install zookeeper)"
    if not (JARS / "zookeeper.jar").exists():
        return f"no zookeeper.jar in {JARS} (Debian: apt-get install zookeeper)"
    return None


def package_version() -> str | None:
    """The version of ZooKeeper that the jar's name tells."""
    named = sorted(JARS.glob("zookeeper-[0-9]*.jar"))
    return named[-1].stem.removeprefix("zookeeper-") if named else None


def java_command(folder: Path, main: str, properties: Mapping[str, str] | None = None) -> list[str]:
    """What starts the class ``main`` of ZooKeeper; it logs to standard error as ``folder/log4j.properties`` says."""
    (folder / "log4j.properties").write_text(_LOG4J)
    jars = ("zookeeper.jar", "zookeeper-jute.jar", *_LOGGING, *_NETTY)
    path = ":".join(str(it) for it in (folder, *(JARS / jar for jar in jars)))
    return ["java", *_JVM, *(f"-D{key}={value}" for key, value in (properties or {}).items()), "-cp", path, main]


class Zookeeper:
    """One server: ``folder`` gets its ``zoo.cfg``, its data and its log.

    ``properties`` are what Java takes on its command line only; we take them in the file. ``options`` are of our serve.
    """

    def __init__(
        self,
        kind: Kind,
        folder: Path,
        port: int,
        lines: Iterable[str] = (),
        *,
        my_id: int | None = None,
        properties: Mapping[str, str] | None = None,
        options: Iterable[str] = (),
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.port = port
        self._lines = list(lines)
        self._my_id = my_id
        self._properties = dict(properties or {})
        self._options = list(options)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the process said so far."""
        return self.folder / "log"

    def start(self) -> None:
        """Start the process with the data that it has; does not wait until it serves."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        if self._my_id is not None:
            (data / "myid").write_text(f"{self._my_id}\n")
        lines = [f"dataDir={data}", f"clientPort={self.port}", "clientPortAddress=127.0.0.1", *self._lines]
        config = self.folder / "zoo.cfg"
        if self.kind == "java":
            command = [*java_command(self.folder, _SERVER, self._properties), str(config)]
            lines.append("admin.enableServer=false")
        else:
            command = [sys.executable, "-m", "trioquorum", "serve", "--config", str(config), *self._options]
            lines += [f"{key}={value}" for key, value in self._properties.items()]
        if not config.exists():  # a reconfig may have rewritten it
            config.write_text("".join(f"{line}\n" for line in lines))
        path = os.pathsep.join((str(_REPOSITORY), str(_REPOSITORY / "transports")))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": path}
            )

    def wait_serving(self, timeout_s: float = 60) -> str:
        """Wait until it serves; its mode."""

        def serves() -> str | None:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.kind} ended: {self.log.read_text()[-3000:]}"
            return mode(self.port)

        found: str = wait_until(f"{self.kind} on {self.port} serves, see {self.log}", serves, timeout_s)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """SIGTERM, and ``kill -9`` for who does not listen; the data stays."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def wipe(self) -> None:
        """Forget everything but the log; only when stopped."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        for file in self.folder.glob("zoo.cfg*"):
            file.unlink()


class ThreeZookeepers:
    """Three voters of one kind on ports of their own; 3 leads; stopped at the end of the block."""

    def __init__(
        self, kind: Kind, folder: Path, lines: Iterable[str] = (), *, properties: Mapping[str, str] | None = None
    ) -> None:
        ids = (1, 2, 3)
        ports = free_ports(3 * len(ids))
        self.names = {f"{what}{i}": ports.pop() for what in ("client", "quorum", "election") for i in ids}
        self.lines = [
            f"server.{i}=127.0.0.1:{self.names[f'quorum{i}']}:{self.names[f'election{i}']};"
            f"127.0.0.1:{self.names[f'client{i}']}"
            for i in ids
        ]
        common = ["tickTime=2000", "initLimit=10", "syncLimit=5", *lines, *self.lines]
        self.servers = {
            i: Zookeeper(kind, folder / f"{kind}{i}", self.names[f"client{i}"], common, my_id=i, properties=properties)
            for i in ids
        }

    def host(self, i: int) -> str:
        """Connection string of one server."""
        return f"127.0.0.1:{self.names[f'client{i}']}"

    @property
    def hosts(self) -> str:
        """Connection string of all."""
        return ",".join(self.host(i) for i in self.servers)

    def __enter__(self) -> Self:
        try:
            for i in (2, 3):
                self.servers[i].start()
            self.servers[3].wait_serving()
            self.servers[1].start()
            for server in self.servers.values():
                server.wait_serving()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.stop()
