"""Every conversation that was recorded on the client ports of ensembles of ZooKeeper 3.8.0, held again with ours.

``recorded/ensembles/<scenario>.jsonl.gz``: who votes and who observes, with the servers' settings; then what happened,
in order, as for one server, with long pauses cut to half a second. A connection's name ends with its server. What was
done to servers: ``start``, ``stop`` (SIGTERM), ``kill`` (SIGKILL), ``pause`` (SIGSTOP), and ``serve``: wait until they
serve in this mode. Members have one address each, also where the recorded ones had two.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit.processes import free_ports, mode, wait_until
from tests.kit.zookeepers import Zookeeper
from tests.replay.conversation import hold, load

SCENARIOS: Final = sorted((Path(__file__).parent / "recorded/ensembles").glob("*.jsonl.gz"))
RECORDED_PORTS: Final = {"client": 24100, "quorum": 24110, "election": 24120}
"""Server 0's; each next server has the next ones."""

MAY_JOIN: Final = 9
"""Members up to this one occur in the recorded reconfigurations; not all of them ever ran."""

SERVES_S: Final = 60
TOLD_CHARS: Final = 5000


class Servers:
    """The servers of a scenario; at first none runs."""

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        found = iter(free_ports(len(RECORDED_PORTS) * (MAY_JOIN + 1)))
        self.ports = {base + i: next(found) for base in RECORDED_PORTS.values() for i in range(MAY_JOIN + 1)}
        members = [
            f"server.{i}=127.0.0.1:{self._port('quorum', i)}:{self._port('election', i)}:{role};"
            f"127.0.0.1:{self._port('client', i)}"
            for role in ("participant", "observer")
            for i in settings[role]
        ]
        lines = [*settings["lines"], *members]
        self._servers = {
            i: Zookeeper(
                "ours",
                folder / str(i),
                self._port("client", i),
                lines,
                my_id=i,
                properties=settings["properties"],
                options=("--log-level", "debug"),
            )
            for role in ("participant", "observer")
            for i in settings[role]
        }

    def of_connection(self, name: str) -> int:
        """The client port of the server that a connection was made to."""
        return self._port("client", int(name.rpartition("to")[2]))

    def act(self, event: dict[str, Any]) -> None:
        """Do to servers what was done to them."""
        for i in event["servers"]:
            server = self._servers[i]
            match event["do"]:
                case "start":
                    server.start()
                case "stop":
                    server.stop()
                case "kill":
                    server.signal(signal.SIGKILL)
                    server.stop()
                case "pause":
                    server.signal(signal.SIGSTOP)
                case "serve":
                    self._wait_serving(i, event["mode"])

    def tell(self) -> None:
        """Print the end of what each server said."""
        for i, server in self._servers.items():
            if server.log.exists():
                print(f"server {i}:", server.log.read_text()[-TOLD_CHARS:], sep="\n")

    def kill(self) -> None:
        """The end."""
        self.act({"do": "kill", "servers": [i for i, server in self._servers.items() if server.process]})

    def _wait_serving(self, i: int, as_what: str) -> None:
        server = self._servers[i]
        wait_until(f"{i} is a {as_what}, see {server.log}", lambda: mode(server.port) == as_what, SERVES_S)

    def _port(self, what: str, i: int) -> int:
        return self.ports[RECORDED_PORTS[what] + i]


@contextmanager
def running(settings: dict[str, Any], folder: Path) -> Iterator[Servers]:
    servers = Servers(settings, folder)
    try:
        yield servers
    except BaseException:
        servers.tell()
        raise
    finally:
        servers.kill()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name.partition(".")[0])
def test_the_answers_are_the_recorded_ones(scenario: Path, tmp_path: Path) -> None:
    events = load(scenario)
    with running(next(events), tmp_path) as servers:
        ports = {str(recorded).encode(): str(ours).encode() for recorded, ours in servers.ports.items()}
        name = scenario.name.partition(".")[0]
        assert hold(name, events, servers.of_connection, servers.act, ports) > 1
