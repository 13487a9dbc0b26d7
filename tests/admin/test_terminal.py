"""``trioquorum explain``, ``watch`` and ``tasks`` without an ensemble."""

import io
from pathlib import Path

import pytest
import trio
from rich.console import Console
from typer.testing import CliRunner

from tests.admin.scene import config
from trioquorum import cli, cli_live
from trioquorum.admin.beside import Admin
from trioquorum.admin.feed import EventFrame, Sample, Snapshot
from trioquorum.admin.gathering import histories
from trioquorum.admin.reader import open_feed
from trioquorum.admin.settings import AdminSettings
from trioquorum.errors import ConnectFailed
from trioquorum.events import Events
from trioquorum.peer.run import Surroundings


def test_who_is_not_there_is_said(tmp_path: Path) -> None:
    runner = CliRunner()
    nobody = "http://127.0.0.1:1"
    for command in ("explain", "tasks"):
        result = runner.invoke(cli.app, [command, "--admin", nobody])
        assert result.exit_code == 1
        assert nobody in result.output
    file = tmp_path / "peers.toml"
    file.write_text('[[peer]]\nid = 1\nquorum = "tcp://a:1"\nelection = "tcp://a:2"\n')
    for words in (["--peers", str(file)], ["--peers", str(file), "--admin", nobody], ["--admin", "nonsense"]):
        assert runner.invoke(cli.app, ["watch", *words]).exit_code == 2


def test_the_board_of_watch_shows_what_is_known() -> None:
    board = cli_live.Board([NOWHERE, ELSEWHERE])
    board.take(NOWHERE, SNAPSHOT)
    board.take(NOWHERE, SAMPLE)
    board.take(NOWHERE, EventFrame(seq=1, wall_ms=0, mono_us=0, fact={"event": "elected", "leader": 2}))
    board.take(ELSEWHERE, "nobody answers")
    console = Console(width=200, file=io.StringIO())
    console.print(board.render())
    file = console.file
    assert isinstance(file, io.StringIO)
    lines = file.getvalue().splitlines()
    assert lines[1].split() == ["7", "leading", "7", "1", "0x100000002", "480", "1.5/3.0", "0.5", "1", "2", "3", "0.2"]
    assert lines[2].split() == ["127.0.0.1:2", "nobody", "answers"]
    assert lines[3] == "00:00:00 peer 7 elected leader=2"


NOWHERE, ELSEWHERE = "http://127.0.0.1:1", "http://127.0.0.1:2"
SAMPLE = Sample(
    wall_ms=0, mono_us=0, period_ms=250, role="leading", leader=7, epoch=1, zxid=1 << 32 | 2, txns=120,
    commit_ms_p50=1.5, commit_ms_p99=3.0, fsyncs=9, fsync_ms=0.5, fsync_ms_last=0.4, unflushed_txns=0,
    unapplied_txns=1, sessions=2, watches=3, znodes=4, data_bytes=5, loop_lag_ms=0.2, pages=1,
)  # fmt: skip
SNAPSHOT = Snapshot(
    feed=1, server="", peer=7, wall_ms=0, mono_us=0, started_wall_ms=0, role="leading", phase="", serving=True,
    since_wall_ms=0, reason="", leader=7, master=-1, epoch=1, zxid=0, round=1, vote=None, members=[],
    config_version=0, pending_version=None, links=[], learners=[], sessions=0, watches=0, znodes=0, data_bytes=0,
    tasks=None, oldest_seq=0, next_seq=0, dropped=0, controls=False,
)  # fmt: skip


async def test_a_feed_that_is_refused_says_why(tmp_path: Path) -> None:
    settings = AdminSettings(host="127.0.0.1", port=0, token="the-right-token")
    admin = Admin(config(tmp_path), Events(), settings, Surroundings())
    async with trio.open_nursery() as nursery:
        url = await nursery.start(admin.port.run)
        for token in ("", "another-token"):
            with pytest.raises(ConnectFailed, match="refused with status 401"):
                async with open_feed(url, token):
                    raise AssertionError("let in")
        async with open_feed(url, "the-right-token") as feed:
            assert isinstance((await feed.receive())[0], Snapshot)
        (told,) = await histories([url], "another-token")
        assert told.problem == f"{url}: refused with status 401"
        nursery.cancel_scope.cancel()
