"""``trioquorum simulate --live`` as a process: its page, its controls, its clients, and its end."""

import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from typer.testing import CliRunner

from tests.admin.hand import WITHIN_S, controls, seen, snapshot_of, state_of
from trioquorum.admin.feed import Snapshot, TaskInfo
from trioquorum.admin.gathering import tasks_of
from trioquorum.admin.orders import Kill, Pause, Restart
from trioquorum.admin.reader import open_feed
from trioquorum.cli import app
from trioquorum.client import Client, connect_tcp
from trioquorum.errors import LinkClosed
from trioquorum.watched import WRITTEN

PEERS = (1, 2, 3)


class Live:
    """The process; ``page`` and ``hosts`` are what it told."""

    def __init__(self, process: trio.Process, told: str, log: Path) -> None:
        self.process = process
        hosts, page = re.search(r"connect to (\S+)", told), re.search(r"page +(http://\S+)", told)
        assert hosts is not None
        assert page is not None
        self.hosts, self.page = hosts[1], page[1]
        self._log = log

    def said(self) -> str:
        return self._log.read_text()

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        with trio.fail_after(WITHIN_S):
            return await self.process.wait()


@asynccontextmanager
async def live(tmp_path: Path, *words: str) -> AsyncIterator[Live]:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "trioquorum", "simulate", "--live", "--base-port", "0", *words]
    with log.open("wb") as err:
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=err)
    told = b""
    assert process.stdout is not None
    try:
        with trio.fail_after(WITHIN_S):
            while b"Ctrl-C" not in told:
                piece = await process.stdout.receive_some()
                assert piece, log.read_text()
                told += piece
        yield Live(process, told.decode(), log)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def admin_of(page: str, peer: int) -> str:
    async with controls(page) as hand:
        return (await hand.state()).peers[peer - 1].admin


async def leader_of(page: str, *, but: int = 0) -> int:
    """Who leads and serves."""
    async with controls(page) as hand:
        running = [peer for peer in (await hand.state()).peers if peer.id != but]
    with trio.fail_after(WITHIN_S):
        while True:
            for peer in running:
                snapshot = await snapshot_of(peer.admin)
                if snapshot.role == "leading" and snapshot.serving:
                    return peer.id
            await trio.sleep(0.1)


async def at_work(client: Client) -> None:
    """Wait for the next write of the client that the simulation brings along."""
    before = await client.exists(WRITTEN)
    with trio.fail_after(WITHIN_S):
        while await client.exists(WRITTEN) == before:
            await trio.sleep(0.05)


def names(task: TaskInfo) -> list[str]:
    return [task.name, *(name for nursery in task.nurseries for child in nursery for name in names(child))]


@pytest.mark.slow
async def test_it_is_watched_struck_and_stopped(tmp_path: Path) -> None:
    async with live(tmp_path, "--seed", "5") as run, controls(run.page) as hand:
        state = await hand.state()
        assert [(peer.id, peer.state) for peer in state.peers] == [(peer, "running") for peer in PEERS]
        leader = await leader_of(run.page)
        async with connect_tcp(run.hosts) as client:
            await at_work(client)
            await client.create("/mine", b"over TCP")
        await hand.order(Kill(peer=leader))
        await hand.until(state_of(leader, "ended"))
        with pytest.raises(LinkClosed):
            await snapshot_of(state.peers[leader - 1].admin)
        assert await leader_of(run.page, but=leader) != leader
        await hand.order(Restart(peer=leader))
        await hand.until(state_of(leader, "running"))
        async with open_feed(state.peers[leader - 1].admin) as feed:
            first = await seen(feed, lambda frame: isinstance(frame, Snapshot))
        assert isinstance(first, Snapshot)
        assert [member.admin for member in first.members] == [peer.admin for peer in state.peers]
        async with connect_tcp(run.hosts) as client:
            assert (await client.get("/mine"))[0] == b"over TCP"
        await hand.order(Pause(peer=2))
        await hand.until(state_of(2, "paused"))
        assert await run.stop() == 0
        assert run.said().splitlines() == [
            "trioquorum: simulating 3 peers in this process, seed 5; what they store is gone at the end"
        ]


@pytest.mark.slow
async def test_a_peer_shows_its_own_tasks_only(tmp_path: Path) -> None:
    async with live(tmp_path, "--peers", "2", "--load", "0") as run:
        tree = await tasks_of(await admin_of(run.page, 2), "")
        assert isinstance(tree, TaskInfo)
        assert tree.name == "peer2"
        assert sum("LogWriter" in name for name in names(tree)) == 1


@pytest.mark.slow
async def test_a_peer_that_cannot_start_again_leaves_the_others_alone(tmp_path: Path) -> None:
    async with live(tmp_path) as run, controls(run.page) as hand:
        await hand.order(Kill(peer=3))
        await hand.until(state_of(3, "ended"))
        address = urlsplit(await admin_of(run.page, 3))
        taken = await trio.open_tcp_listeners(int(address.port or 0), host="127.0.0.1")
        await hand.order(Restart(peer=3))
        await hand.until(lambda told: told.peers[2].code == 14)
        assert f"peer 3 ended with code 14: port {address.port} of 127.0.0.1 is already in use" in run.said()
        for listener in taken:
            await listener.aclose()
        await hand.order(Restart(peer=3))
        await hand.until(state_of(3, "running"))
        assert await run.stop() == 0


@pytest.mark.slow
async def test_a_port_that_is_taken_at_the_start_ends_it(tmp_path: Path) -> None:
    async with live(tmp_path, "--peers", "1") as run:
        port = int(run.hosts.rpartition(":")[2])
        command = [sys.executable, "-m", "trioquorum", "simulate", "--live", "--peers", "1", "--base-port", str(port)]
        with trio.fail_after(WITHIN_S):
            ended = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert ended.returncode == 14
    assert f"port {port} of 127.0.0.1 is already in use" in ended.stderr.decode()
    assert ended.stdout == b""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--live", "--shrink"], "--shrink does not go with --live"),
        (["--live", "--minutes", "1"], "--minutes does not go with --live"),
        (["--live", "--base-port", "65000"], "choose 1 to"),
        (["--load", "2"], "--load is for --live"),
        (["--base-port", "0"], "--base-port is for --live"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["simulate", *words])
    assert result.exit_code == 2
    assert says in result.output
