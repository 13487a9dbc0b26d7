"""The same questions to the same configuration have the answers that Apache ZooKeeper 3.8 gave."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.auth.questions import CONFIG, DEMANDING, JAAS, answers
from tests.kit.processes import four_letter, free_ports, wait_until

RECORDED = Path(__file__).parent / "recorded"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "more"), [("open", ""), ("demanding", DEMANDING)])
def test_answers(name: str, more: str, tmp_path: Path) -> None:
    [port] = free_ports(1)
    (tmp_path / "jaas.conf").write_text(JAAS)
    config = f"tickTime=2000\ndataDir={tmp_path}\nclientPort={port}\nclientPortAddress=127.0.0.1\n{CONFIG}{more}"
    (tmp_path / "zoo.cfg").write_text(config.format(jaas=tmp_path / "jaas.conf"))
    command = [sys.executable, "-m", "trioquorum", "serve", "--config", str(tmp_path / "zoo.cfg")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until("the server serves", lambda: "Mode" in four_letter(port, "srvr"))
            found = list(answers(port))
        finally:
            server.terminate()
    assert found == (RECORDED / f"{name}.txt").read_text().splitlines()
