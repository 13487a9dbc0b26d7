"""PySyncObj under the harness, where the Python that runs the tests has it."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import syncobj
from bench.contest import Contest
from bench.generate import GeneratorFailed, Job
from bench.results import Lines
from bench.workload import Workload

pytestmark = [
    pytest.mark.skipif(syncobj.why_missing() is not None, reason=syncobj.why_missing() or "it is there"),
    pytest.mark.slow,
]


@pytest.mark.parametrize("mix", [{"set": 1}, {"create": 1}], ids=str)
def test_three_peers_are_measured(mix: dict[str, int], tmp_path: Path) -> None:
    workload = Workload(mix=mix, clients=4, depth=8, seconds=1.0)
    kind = syncobj.PySyncObj
    contest = Contest({kind.name: kind}, 1, 0.0, tmp_path / "servers", Lines(tmp_path / "lines"))
    (run,) = contest.run({"it": workload}).runs
    assert "not durable" in run.contestant
    assert run.note == kind.note
    assert run.figures["rate_per_s"] * 1.0 == pytest.approx(sum(count for _, count in run.latency_us), rel=0.2)
    assert run.figures["p99_ms"] >= run.figures["p50_ms"] > 0
    assert {"cpu_s_per_100k", "leader_share", "follower_share", "rss_mib"} <= run.figures.keys()
    assert not {"generator_share", "fsyncs_per_s", "ping_p99_ms"} & run.figures.keys()


def test_an_answer_that_is_not_the_one_due_ends_the_run(tmp_path: Path) -> None:
    with syncobj.PySyncObj(tmp_path / "servers", 1) as servers:
        servers.start()
        assert servers.wait_serving() == {1: "standalone"}
        port = servers.peers[1].client
        job = Job(ports=[port], pids=[], root="/r", mix={"set": 1}, connections=2, depth=4)
        job.warm_up_s, job.measure_s = 0.1, 0.3
        for _ in range(2):  # what the first one wrote is forgotten
            outcome = servers.load(job, lambda line: None)
            assert outcome.sets == sum(count for _, count in outcome.latency_us)
            assert outcome.checked >= outcome.sets > 0
        with ExitStack() as stack:
            peer = servers.reach(stack, port, 10.0)
            syncobj.tell(peer, "begin", root="/r", callers=[1], depth=1, value_bytes=10, creates=False)
            assert syncobj.tell(peer, "end")["failure"] == ""
        with pytest.raises(GeneratorFailed, match="due: version 1 of /r/1; came: 2"):
            servers.load(job, lambda line: None)
