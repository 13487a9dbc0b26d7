"""One directory for all: a small one is written, served, snapshotted and replayed, and nothing of it is missing."""

from pathlib import Path

import pytest

from bench import data, generate
from bench.contest import Contest
from bench.results import Lines
from bench.servers import Trioquorum
from bench.workload import Workload


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(generate.compiler() is None, reason="no C compiler")
def test_a_small_directory_is_measured(tmp_path: Path) -> None:
    workload = Workload(measure="data", znodes=2000, clients=2, depth=4, peers=1, seconds=6.0, rounds=1)
    contest = Contest({Trioquorum.name: Trioquorum}, 1, 0.0, tmp_path, Lines(tmp_path / "lines"))
    (run,) = contest.run({"it": workload}).runs
    # So little is replayed in no time, so that nothing can be said of it.
    assert "replay_per_s" in run.figures
    assert all(run.figures[name] > 0 for name in ("restart_s", "rss_mib", "snapshot_mib", "ping_p50_ms"))
    assert run.figures["ping_max_ms"] >= run.figures["ping_p99_ms"]
    assert run.latency_us


def test_both_servers_log_is_understood(tmp_path: Path) -> None:
    java = "2026-11-27 07:00:00,001 INFO  [SyncThread:0] ZooKeeperServer: Snapshot taken in 2345 ms\n"
    assert [int(a or b) for a, b in data.TAKEN.findall(java)] == [2345]
