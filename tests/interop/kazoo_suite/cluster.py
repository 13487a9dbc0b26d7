"""Stands in for the module of kazoo that starts servers: same names, but the servers are the ones under test.

Which ones, ``SUITE_KIND`` in the environment says: ``ours`` or ``java``.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

from tests.interop.kazoo_suite.certificates import Certificates
from tests.kit.processes import free_ports
from tests.kit.zookeepers import Kind, Zookeeper

KIND: Final = "SUITE_KIND"
_NETTY: Final = "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory"
_PER_SERVER: Final = 4


class Server:
    """One peer, with the attributes and methods that kazoo's tests use."""

    def __init__(self, number: int, server: Zookeeper, secure_port: int) -> None:
        self.number = number
        self._server = server
        self._secure_port = secure_port

    @property
    def running(self) -> bool:
        return self._server.process is not None

    @property
    def client_port(self) -> int:
        return self._server.port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    @property
    def secure_address(self) -> str:
        return f"127.0.0.1:{self._secure_port}"

    def run(self) -> None:
        if not self.running:
            self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def destroy(self) -> None:
        """Stopped and forgotten; ``run`` starts it again with nothing."""
        self._server.stop()
        self._server.wipe()

    reset = destroy

    def wait_serving(self) -> None:
        self._server.wait_serving()

    def get_logs(self, num_lines: int = 100) -> list[str]:
        if not self._server.log.exists():
            return []
        return self._server.log.read_text(errors="replace").splitlines()[-num_lines:]


class ZookeeperCluster:
    """An ensemble on ports of its own; of what kazoo passes, only what says how servers behave is used."""

    def __init__(
        self,
        *,
        size: int = 3,
        observer_start_id: int = -1,
        configuration_entries: Sequence[str] = (),
        java_system_properties: Sequence[str] = (),
        jaas_config: str | None = None,
        **_: Any,
    ) -> None:
        kind = cast("Kind", os.environ[KIND])
        self._folder = Path(tempfile.mkdtemp(prefix="kazoo-suite-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._certificates = Certificates()
        properties = dict(entry.removeprefix("-D").split("=", 1) for entry in java_system_properties)
        if jaas_config is not None:
            (self._folder / "jaas.conf").write_text(jaas_config)
            properties["java.security.auth.login.config"] = str(self._folder / "jaas.conf")
        properties |= {"readonlymode.enabled": "true", "znode.container.checkIntervalMs": "1000"}
        properties["zookeeper.authProvider.1"] = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
        ids = range(1, size + 1)
        ports = free_ports(_PER_SERVER * size)
        client, secure, quorum, election = (ports[i * size : (i + 1) * size] for i in range(_PER_SERVER))
        lines = ["tickTime=2000", "initLimit=4", "syncLimit=2", "maxClientCnxns=0", _NETTY, *configuration_entries]
        lines += self._certificates.write(self._folder)
        for i in ids:
            role = "observer" if 0 <= observer_start_id <= i else "participant"
            lines.append(f"server.{i}=127.0.0.1:{quorum[i - 1]}:{election[i - 1]}:{role}")
        self._servers = []
        for i in ids:
            folder = self._folder / f"peer{i}"
            own = [*lines, f"secureClientPort={secure[i - 1]}", "secureClientPortAddress=127.0.0.1"]
            server = Zookeeper(kind, folder, client[i - 1], own, my_id=i, properties=properties)
            self._servers.append(Server(i, server, secure[i - 1]))

    def __getitem__(self, index: int) -> Server:
        return self._servers[index]

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers)

    def start(self) -> None:
        for server in self._servers:
            server.run()
        for server in self._servers:
            server.wait_serving()

    def stop(self) -> None:
        for server in self._servers:
            server.stop()

    def reset(self) -> None:
        for server in self._servers:
            server.reset()

    def terminate(self) -> None:
        for server in self._servers:
            server.destroy()

    def get_logs(self) -> list[str]:
        return [line for server in self._servers for line in server.get_logs()]

    def get_ssl_client_configuration(self) -> dict[str, bytes]:
        pair = self._certificates.client
        return {"client_key": pair.key, "client_cert": pair.certificate, "ca_cert": self._certificates.authority}
