"""``trioquorum ensemble``: ports, files, start, stop, and a peer that dies; peers are played by a little script."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from trioquorum import ensemble
from trioquorum.config import PeerSpec, load_peers_toml
from trioquorum.errors import ConfigError

PEER = """
import pathlib, signal, socket, sys, tomllib
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
peer = int(options["--id"])
if (code := pathlib.Path(options["--peers"]).with_name(f"die{peer}")).exists():
    print("cannot go on", file=sys.stderr)
    sys.exit(int(code.read_text()))
table = tomllib.loads(pathlib.Path(options["--peers"]).read_text())["peer"][peer - 1]
mode = "leader" if peer == 1 else "follower"
def stop(*_):
    with pathlib.Path(options["--peers"]).with_name("stopped").open("a") as file:
        file.write(f"{peer} ")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
host, port = table["client"].removeprefix("tcp://").split(":")
server = socket.create_server((host, int(port)))
while True:
    connection, _ = server.accept()
    with connection:
        if connection.recv(4) == b"quit":
            sys.exit(5)
        connection.sendall(f"Zxid: 0x100000000\\nMode: {mode}\\n".encode())
"""

PYTHON = sys.executable


@pytest.fixture
def peer_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers are processes of PEER instead of servers."""
    script = tmp_path / "peer.py"
    script.write_text(PEER)
    python = tmp_path / "python"
    # The command is `python -m trioquorum.ensemble_peer --id …`; this stand-in runs the script with the same arguments.
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(PYTHON)} -S {shlex.quote(str(script))} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


def test_a_layout_has_the_ports_of_the_example() -> None:
    specs = ensemble.lay_out(2, 2181)
    assert [(s.id, str(s.client), str(s.quorum), str(s.election)) for s in specs] == [
        (1, "tcp://127.0.0.1:2181", "tcp://127.0.0.1:2881", "tcp://127.0.0.1:3881"),
        (2, "tcp://127.0.0.1:2182", "tcp://127.0.0.1:2882", "tcp://127.0.0.1:3882"),
    ]


def test_free_ports_are_all_different(tmp_path: Path) -> None:
    specs = ensemble.lay_out(5, 0)
    file = tmp_path / "peers.toml"
    file.write_text(ensemble.peers_toml(specs))
    assert load_peers_toml(file, 3).peers == specs, "the loader refuses an address that is used twice"


@pytest.mark.parametrize(("count", "base_port"), [(0, 0), (-1, 0), (255, 0), (3, -1), (3, 65000), (3, 70000)])
def test_what_cannot_be_laid_out(count: int, base_port: int) -> None:
    with pytest.raises(ConfigError, match="choose 1 to"):
        ensemble.lay_out(count, base_port)


@pytest.mark.usefixtures("peer_script")
async def test_it_runs_until_cancelled_and_stops_in_order(tmp_path: Path) -> None:
    served, said = trio.Event(), list[str]()
    specs = ensemble.lay_out(3, 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ensemble.run, specs, tmp_path / "data", "info", said.append, lambda _: served.set())
        with trio.fail_after(20):
            await served.wait()
        nursery.cancel_scope.cancel()
    assert said == []
    assert (tmp_path / "data" / "stopped").read_text().split() == ["3", "2", "1"]
    assert sorted(path.name for path in (tmp_path / "data").glob("*.log")) == ["peer1.log", "peer2.log", "peer3.log"]


@pytest.mark.usefixtures("peer_script")
async def test_a_peer_that_cannot_start_ends_them_all(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "die2").write_text("14")
    said: list[str] = []
    served = trio.Event()
    with trio.fail_after(20):
        code = await ensemble.run(ensemble.lay_out(3, 0), data, "info", said.append, lambda _: served.set())
    assert (code, served.is_set()) == (14, False)
    assert said == ["peer 2 ended with code 14; it said: cannot go on"]


@pytest.mark.usefixtures("peer_script")
async def test_a_peer_that_dies_later_leaves_the_others_alone(tmp_path: Path) -> None:
    specs = ensemble.lay_out(2, 0)
    said: list[str] = []
    served = trio.Event()
    codes: list[int] = []

    async def work() -> None:
        codes.append(await ensemble.run(specs, tmp_path / "data", "info", said.append, lambda _: served.set()))

    async def end(spec: PeerSpec) -> None:
        assert spec.client is not None
        async with await trio.open_tcp_stream(spec.client.host, spec.client.port) as stream:
            await stream.send_all(b"quit")
            await stream.receive_some()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await served.wait()
            await end(specs[1])
            while not said:
                await trio.sleep(0.01)
            assert codes == [], "the other still runs"
            await end(specs[0])
    assert said == ["peer 2 ended with code 5", "peer 1 ended with code 5"]
    assert codes == [5]


@pytest.mark.usefixtures("peer_script")
def test_the_command_tells_how_to_connect_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    code = f"import sys; sys.executable = {sys.executable!r}; from trioquorum.cli import main; main()"
    command = [PYTHON, "-c", code, "ensemble", "--peers", "2", "--base-port", "0", "--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert lines[0].startswith("The ensemble serves. Clients connect to 127.0.0.1:")
    hosts = lines[0].split()[-1]
    assert f'KazooClient(hosts="{hosts}")' in lines[1]
    assert f"zkCli.sh -server {hosts}" in lines[2]
    assert f"trioquorum status --peers {tmp_path / 'data' / 'peers.toml'}" in lines[3]
    assert lines[4].startswith("  page    http://127.0.0.1:")
    assert lines[5] == "Ctrl-C stops it.\n"
    assert process.returncode == 0, err
    assert (tmp_path / "data" / "stopped").read_text().split() == ["2", "1"]
