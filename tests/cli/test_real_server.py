"""The command with the real server behind it: what an operator sees when it starts, stops, or cannot."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.interop, pytest.mark.slow]

Process = subprocess.Popen[str]


@pytest.fixture
def started() -> Iterator[list[Process]]:
    """Processes that are gone at the end of the test, whatever happens."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def serve(started: list[Process], *options: str) -> Process:
    command = [sys.executable, "-m", "trioquorum", "serve", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    started.append(process)
    return process


def await_line(process: Process, part: str) -> str:
    """The first line of the log with ``part`` in it."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        if part in line:
            return line
        lines.append(line)
    raise AssertionError(f"no {part!r} in {lines}")


def ending(process: Process) -> tuple[int, str]:
    """Exit code and last line."""
    _, err = process.communicate(timeout=20)
    return process.returncode, err.splitlines()[-1]


def test_a_standalone_server_answers_and_stops(started: list[Process], tmp_path: Path) -> None:
    process = serve(started, "--client", "tcp://127.0.0.1:0", "--data-dir", str(tmp_path))
    port = int(await_line(process, "clients_listening").rpartition(":")[2])
    await_line(process, "established")
    status = [sys.executable, "-m", "trioquorum", "status", "--hosts", f"127.0.0.1:{port}"]
    asked = subprocess.run(status, check=False, capture_output=True, text=True, timeout=20)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "standalone" in asked.stdout
    process.send_signal(signal.SIGTERM)
    code, last = ending(process)
    assert code == 0
    assert "peer_stopped" in last


def test_a_directory_belongs_to_one_server(started: list[Process], tmp_path: Path) -> None:
    first = serve(started, "--client", "tcp://127.0.0.1:0", "--data-dir", str(tmp_path))
    await_line(first, "established")
    code, last = ending(serve(started, "--client", "tcp://127.0.0.1:0", "--data-dir", str(tmp_path)))
    assert code == 3
    assert last.startswith(f"trioquorum: {tmp_path}")
    assert f"in use by process {first.pid}" in last


def test_a_port_in_use_is_named(started: list[Process], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = serve(started, "--client", f"tcp://127.0.0.1:{port}", "--data-dir", str(tmp_path))
        assert ending(process) == (
            14,
            f"trioquorum: port {port} of 127.0.0.1 is already in use; stop what listens there or choose another",
        )


def test_a_data_dir_that_is_a_file(started: list[Process], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, last = ending(serve(started, "--client", "tcp://127.0.0.1:0", "--data-dir", str(tmp_path / "file")))
    assert code == 3
    assert last.startswith(f"trioquorum: {tmp_path / 'file'}")
