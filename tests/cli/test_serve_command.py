"""``trioquorum serve``: which configuration it asks for, and how it starts, stops and fails, with a stand-in peer."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from typer.testing import CliRunner

from trioquorum import cli, running
from trioquorum.compiled import BUILD
from trioquorum.errors import ConfigError

PEERS = '[[peer]]\nid = 7\nquorum = "tcp://h:1"\nelection = "tcp://h:2"\nclient = "tcp://127.0.0.1:3"\n'

STAND_IN = """
import sys, types
import trio
from trioquorum import errors

async def serve(config, events):
{body}

module = types.ModuleType("trioquorum.peer.run")
module.serve = serve
sys.modules["trioquorum.peer.run"] = module
from trioquorum.cli import main
main()
"""
WAIT = """
    print(config.my_id, flush=True)
    try:
        await trio.sleep_forever()
    finally:
        print("stopped", flush=True)
"""
STUCK = """
    print(config.my_id, flush=True)
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()
"""

Process = subprocess.Popen[str]


@pytest.fixture
def started() -> Iterator[list[Process]]:
    """Processes that are gone at the end of the test, whatever happens."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start(started: list[Process], body: str, *options: str) -> Process:
    """``trioquorum serve`` whose peer is ``body``."""
    code = STAND_IN.replace("{body}", body)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    started.append(process)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(started: list[Process], number: signal.Signals) -> None:
    process = start(started, WAIT)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_a_second_signal_does_not_wait(started: list[Process]) -> None:
    process = start(started, STUCK)
    assert process.stdout is not None
    process.stdout.readline()
    while process.poll() is None:  # the first one that is handled cancels, the next one forces
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (1, "", "trioquorum: did not stop in time; leaving anyway\n")


async def test_a_peer_that_does_not_stop_is_left(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object, capsys: pytest.CaptureFixture[str]
) -> None:

    class Left(Exception):
        pass

    async def stuck() -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 100):
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.sleep_forever()

    def leave(code: int) -> None:
        raise Left(code, trio.current_time())

    monkeypatch.setattr(os, "_exit", leave)
    start_s = trio.current_time()
    with pytest.RaisesGroup(Left) as caught:
        await running.until_signalled(stuck)
    code, end_s = caught.value.exceptions[0].args
    assert (code, end_s - start_s) == (1, running.STOP_TIMEOUT_S)
    assert capsys.readouterr().err == "trioquorum: did not stop in time; leaving anyway\n"


@pytest.mark.parametrize(
    ("body", "code", "last"),
    [
        ("    return", 0, ""),
        (
            "    raise OSError(98, 'Address already in use', str(config.client_addresses[0]))",
            14,
            "trioquorum: port 2181 of 127.0.0.1 is already in use; stop what listens there or choose another",
        ),
        (
            "    async with trio.open_nursery():\n        raise errors.StorageError('x is locked by process 7')",
            3,
            "trioquorum: x is locked by process 7",
        ),
        ("    raise errors.DiskFailed('log.1: disk full')", 10, "trioquorum: log.1: disk full"),
        ("    raise ValueError('bug')", 1, "trioquorum: stopped by an unexpected ValueError: bug"),
    ],
)
def test_what_ends_the_peer_is_told(started: list[Process], body: str, code: int, last: str) -> None:
    process = start(started, body)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (code, "")
    assert err.rstrip().rpartition("\n")[2] == last
    assert ("Traceback" in err) == (code == 1), "a traceback is for bugs only"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "peers.toml"
    path.write_text(PEERS)
    return str(path)


def test_options_choose_the_configuration(file: str, tmp_path: Path) -> None:
    alone, warnings = cli._server_config(None, None, None, None, None)
    assert (alone.my_id, alone.peers, str(alone.client_addresses[0])) == (0, (), "tcp://127.0.0.1:2181")
    assert warnings == []
    elsewhere, _ = cli._server_config(None, None, None, tmp_path, "tcp://127.0.0.2:9")
    assert (str(elsewhere.client_addresses[0]), elsewhere.data_dir) == ("tcp://127.0.0.2:9", tmp_path)
    member, _ = cli._server_config(7, Path(file), None, tmp_path, None)
    assert (member.my_id, member.data_dir) == (7, tmp_path)
    zoo_cfg = tmp_path / "zoo.cfg"
    zoo_cfg.write_text(f"dataDir={tmp_path}\nclientPort=5\nnonsense=1\n")
    java, warnings = cli._server_config(None, None, zoo_cfg, None, None)
    assert str(java.client_addresses[0]) == "tcp://0.0.0.0:5"
    assert warnings == [f"{zoo_cfg}:3: nonsense is no key of ZooKeeper; it has no effect"]
    java, warnings = cli._server_config(None, None, zoo_cfg, None, None, ["clientPort=6", "zookeeper.tickTime = 70"])
    assert (str(java.client_addresses[0]), java.tick_time_ms) == ("tcp://0.0.0.0:6", 70)


def test_options_that_do_not_go_together(file: str) -> None:
    path = Path(file)
    refused: list[tuple[tuple[Any, ...], str]] = [
        ((7, None, None, None, None), "--peers is missing"),
        ((None, path, None, None, None), f"--id is missing; say which peer of {file} this is: 7"),
        ((8, path, None, None, None), "there is no peer 8; choose --id from: 7"),
        ((7, path, path, None, None), "drop --id, --peers and --data-dir"),
        ((None, None, path, path, None), "drop --id, --peers and --data-dir"),
        ((7, path, None, None, "tcp://h:1"), "drop --client"),
        ((None, None, None, None, "h:1"), "'h:1' is not an address"),
        ((7, path, None, None, None, ["tickTime=1"]), "--set is for the keys of a zoo.cfg"),
    ]
    for options, message in refused:
        with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
            cli._server_config(*options)


def test_a_bad_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "peers.toml"
    file.write_text(PEERS + "colour = 3\n")
    result = CliRunner().invoke(cli.app, ["serve", "--id", "7", "--peers", str(file)])
    message = f"trioquorum: {file}: unknown key peer[0].colour; remove it or correct its spelling\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)


def test_set_is_spelt_as_java_spells_it(tmp_path: Path) -> None:
    zoo_cfg = tmp_path / "zoo.cfg"
    zoo_cfg.write_text(f"dataDir={tmp_path}\nclientPort=5\n")
    for options, message in [
        (["-Dzookeeper.tickTime=2s"], "--set: zookeeper.tickTime is '2s'; write a whole number"),
        (["--set", "tickTime"], "--set tickTime: write name=value"),
    ]:
        result = CliRunner().invoke(cli.app, ["serve", "--config", str(zoo_cfg), *options])
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"trioquorum: {message}\n")


def test_version() -> None:
    result = CliRunner().invoke(cli.app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"trioquorum {BUILD}\n")


def test_the_command_line_alone_loads_little() -> None:
    code = "import sys, trioquorum.cli; print(*sorted({'pydantic', 'rich', 'structlog', 'kazoo'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
