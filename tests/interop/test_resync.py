"""A peer whose log is damaged says so, and takes everything from the others when it is told to."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.test_crashes import check_all, progress
from tests.kit.load import Load
from tests.kit.processes import Ensemble, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]


def run(ensemble: Ensemble, peer: int, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trioquorum", "serve", "--id", str(peer), "--peers", str(ensemble.config)]
    command += ["--data-dir", str(ensemble.data_dir(peer)), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


def damage(folder: Path) -> None:
    """Flip one bit in the middle of the log."""
    log = max(folder.glob("log.*"), key=lambda file: int(file.name.partition(".")[2], 16))
    content = bytearray(log.read_bytes())
    end = len(content.rstrip(b"\0"))
    content[end // 2] ^= 4
    log.write_bytes(content)


def test_a_damaged_peer_is_told_what_to_do_and_does_it(fresh: Ensemble) -> None:
    fresh.start().wait_serving()
    with Load(fresh) as load:
        progress(load, 300)
        peer = fresh.followers()[0]
        fresh.kill(peer)
        folder = fresh.data_dir(peer) / "version-2"
        damage(folder)
        promised = (folder / "acceptedEpoch").read_text()

        refused = run(fresh, peer)
        assert refused.returncode == 10
        assert "damaged" in refused.stderr
        assert "--resync" in refused.stderr
        checked = subprocess.run(
            [sys.executable, "-m", "trioquorum", "log", "verify", str(fresh.data_dir(peer))],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert checked.returncode == 10
        assert "checksum" in checked.stdout or "length" in checked.stdout or "no end" in checked.stdout

        fresh.start(peer, options=["--resync"])
        wait_until("the peer serves", lambda: fresh.modes()[peer] == "follower", 30)
        progress(load, 50)
    aside = fresh.data_dir(peer) / "version-2.aside-1"
    assert sorted(file.name for file in aside.glob("log.*"))
    assert int((folder / "acceptedEpoch").read_text()) >= int(promised)
    assert not (folder / "resync").exists()
    assert fresh.events(peer, "sync_received")[-1]["mode"] == "SNAP"
    check_all(fresh, load)


def test_it_does_not_vote_before_it_has_the_data(fresh: Ensemble) -> None:
    fresh.start().wait_serving()
    client = fresh.client()
    client.create("/kept", b"value")
    client.stop()
    client.close()
    peer, other = fresh.followers()
    for i in fresh.ids:
        fresh.kill(i)
    fresh.start(peer, options=["--resync"])
    wait_until("it says that it waits", lambda: fresh.events(peer, "data_untrusted"), 20)
    fresh.kill(peer)
    # Restarted without the option it still must not elect somebody who knows nothing.
    fresh.start(peer)
    wait_until("it says so again", lambda: len(fresh.events(peer, "data_untrusted")) == 2, 20)
    fresh.start(*(i for i in fresh.ids if i != peer)).wait_serving()
    client = fresh.client(peer)
    assert client.get("/kept")[0] == b"value"
    assert fresh.modes()[other] in ("leader", "follower")
    client.stop()
    client.close()


def test_a_standalone_server_has_nobody_to_ask(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trioquorum", "serve", "--data-dir", str(tmp_path), "--resync"]
    refused = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 2
    assert "standalone" in refused.stderr
