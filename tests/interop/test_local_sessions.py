"""Local sessions (client-protocol §17.9) with kazoo, on real processes."""

from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, EphemeralOnLocalSessionError, RolledBackError

from tests.kit.processes import Ensemble, four_letter, wait_until

pytestmark = pytest.mark.interop


def figure(ensemble: Ensemble, i: int, name: str) -> int:
    lines = four_letter(ensemble.ports[i], "mntr").splitlines()
    return next((int(line.split("\t")[1]) for line in lines if line.startswith(f"zk_{name}\t")), -1)


def serves(client: KazooClient) -> bool:
    """Whether it is connected, and not only before it hears that its peer died."""
    try:
        return client.connected and client.exists("/lock") is not None
    except ConnectionLoss:
        return False


def test_ephemerals_are_refused_and_the_session_is_unknown_elsewhere(tmp_path: Path) -> None:
    with Ensemble(tmp_path, extra="local_sessions = true").start() as ensemble:
        ensemble.wait_serving()
        first, other = ensemble.followers()
        client = ensemble.client(first)
        try:
            assert figure(ensemble, first, "local_sessions") == 1
            assert figure(ensemble, ensemble.leader(), "global_sessions") == 0
            client.create("/a", b"1")
            with pytest.raises(EphemeralOnLocalSessionError):
                client.create("/e", ephemeral=True)
            both = client.transaction()
            both.create("/b")
            both.create("/e", ephemeral=True)
            assert [type(result) for result in both.commit()] == [RolledBackError, EphemeralOnLocalSessionError]
            assert client.get("/a")[0] == b"1"
            password = client._session_id, client._session_passwd
        finally:
            client.stop()
            client.close()
        wait_until("the goodbye was heard", lambda: figure(ensemble, first, "local_sessions") == 0)
        again = ensemble.client(other, client_id=password)
        try:
            assert again.client_id[0] != password[0]
        finally:
            again.stop()
            again.close()


def test_a_lock_upgrades_its_session(tmp_path: Path) -> None:
    settings = "local_sessions = true\nlocal_sessions_upgrading = true"
    with Ensemble(tmp_path, extra=settings).start() as ensemble:
        ensemble.wait_serving()
        first, other = ensemble.followers()
        holder, waiter = ensemble.client(first, timeout_s=4.0), ensemble.client(other)
        try:
            lock = holder.Lock("/lock", "holder")
            assert lock.acquire(timeout=10)
            assert figure(ensemble, first, "local_sessions") == 0
            assert figure(ensemble, other, "global_sessions") == 1
            rival = waiter.Lock("/lock", "waiter")
            assert not rival.acquire(blocking=False)
            # The peer dies, the client goes on elsewhere with what is now everybody's session.
            session = holder.client_id[0]
            holder.set_hosts(ensemble.hosts)
            ensemble.kill(first)
            wait_until("the session goes on", lambda: serves(holder))
            assert holder.client_id[0] == session
            lock.release()
            assert rival.acquire(timeout=10)
            rival.release()
        finally:
            for client in (holder, waiter):
                client.stop()
                client.close()
