"""Ensembles of real processes whose peers are reached by different transports, and that know each other by secrets."""

from pathlib import Path

import pytest
import trustme

from tests.kit.processes import Ensemble, four_letter, wait_until
from trioquorum.errors import ConfigError
from trioquorum.link_security import LinkSecurity, transports_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def reached_by(ensemble: Ensemble, **schemes: str) -> None:
    """Let ``peer1="ws"`` be reached that way: at its quorum and at its election port."""
    text = ensemble.config.read_text()
    for name, scheme in schemes.items():
        peer = int(name.removeprefix("peer"))
        for port in (ensemble.quorum_ports[peer], ensemble.election_ports[peer]):
            text = text.replace(f"tcp://127.0.0.1:{port}", f"{scheme}://127.0.0.1:{port}")
    ensemble.config.write_text(text)


def works(ensemble: Ensemble) -> None:
    """It serves, and goes on under another leader when the first one is killed."""
    ensemble.wait_serving()
    client = ensemble.client()
    try:
        client.create("/a", b"1")
        first = ensemble.leader()
        ensemble.kill(first)
        second = ensemble.leader()
        assert second != first
        client.set("/a", b"2")
        ensemble.start(first, options=OPTIONS)
        ensemble.wait_serving()
        ensemble.wait_equal()
        again = ensemble.client(first)
        assert again.get("/a")[0] == b"2"
        again.stop()
        again.close()
    finally:
        client.stop()
        client.close()


OPTIONS: list[str] = []


@pytest.mark.parametrize("by_websocket", [(1,), (3,), (1, 3)], ids=str)
def test_some_peers_are_reached_by_tcp_and_others_by_websocket(tmp_path: Path, by_websocket: tuple[int, ...]) -> None:
    with Ensemble(tmp_path) as ensemble:
        reached_by(ensemble, **{f"peer{peer}": "ws" for peer in by_websocket})
        ensemble.start()
        works(ensemble)


def test_a_peer_is_reached_by_both(tmp_path: Path) -> None:
    with Ensemble(tmp_path) as ensemble:
        as_tcp = ensemble.config.read_text()
        # All listen for both. 2 and 3 dial peer 1, as peers do whose number is lower: one by each.
        for peer, others in ((1, "tcp+ws"), (2, "ws"), (3, "tcp")):
            ensemble.config.write_text(as_tcp)
            reached_by(ensemble, **{f"peer{i}": "tcp+ws" if i == peer else others for i in ensemble.ids})
            ensemble.start(peer)
            wait_until("it has read its file", lambda i=peer: four_letter(ensemble.ports[i], "ruok") == "imok")
        ensemble.wait_serving()
        came = {up["peer"]: up["address"] for up in ensemble.events(1, "link_up") if up["kind"] == "election"}
        assert came[2].startswith("ws://")
        assert came[3].startswith("tcp://")
        works(ensemble)


def secrets(folder: Path) -> list[str]:
    """Options of serve: a token, a certificate for loopback, and who signed it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "peer.pem")
    (folder / "token").write_text("a secret of this ensemble\n")
    return [
        "--link-token-file", str(folder / "token"),
        "--link-certificate", str(folder / "peer.pem"),
        "--link-authority", str(folder / "authority.pem"),
    ]  # fmt: skip


def test_peers_know_each_other_by_token_and_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = secrets(tmp_path)
    monkeypatch.setitem(globals(), "OPTIONS", options)
    with Ensemble(tmp_path) as ensemble:
        reached_by(ensemble, peer1="wss", peer2="wss", peer3="ws")
        ensemble.start(options=options)
        works(ensemble)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_who_does_not_know_the_secret_stays_alone(tmp_path: Path, scheme: str) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    options = secrets(tmp_path)
    other = secrets(stranger)
    with Ensemble(tmp_path) as ensemble:
        reached_by(ensemble, peer1=scheme, peer2=scheme, peer3=scheme)
        if scheme == "ws":
            (stranger / "token").write_text("another secret")
        ensemble.start(1, 2, options=options)
        ensemble.wait_serving()
        ensemble.start(3, options=other)
        leader = ensemble.leader()
        ensemble.kill(leader)
        # With the stranger there would be a quorum.
        with pytest.raises(AssertionError, match="a leader"):
            ensemble.leader()
        assert ensemble.events(3, "link_up") == []


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, key = tmp_path / "a.pem", tmp_path / "k.pem"
    authority.cert_pem.write_to_path(certificate)
    for security in (
        LinkSecurity(certificate=tmp_path / "none.pem"),
        LinkSecurity(certificate=certificate),
        LinkSecurity(authority=tmp_path / "none.pem"),
        LinkSecurity(key=key),
    ):
        with pytest.raises(ConfigError, match=r"\.pem: "):
            transports_of(security)
    assert transports_of(LinkSecurity(authority=certificate))["tcp"] is not None
