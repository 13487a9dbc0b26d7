"""The command line from end to end, with two small servers."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import comparators, etcd, generate, java, regress, syncobj
from bench.__main__ import app
from bench.contest import Contest, left_out
from bench.results import Lines, read
from bench.servers import Servers, Trioquorum, trioquorum_of
from bench.workload import Workload

needs_compiler = pytest.mark.skipif(generate.compiler() is None, reason="no C compiler")

SMALL = """\
[small-set]
mix = { set = 1 }
clients = 2
depth = 4
peers = 1
seconds = 1.0

[small-half]
measure = "half"
mix = { get = 1 }
clients = 2
depth = 4
peers = 1
seconds = 1.0
"""


@pytest.mark.slow
def test_contestants_take_turns(tmp_path: Path) -> None:
    kinds = {name: trioquorum_of(name, Trioquorum.checkout) for name in ("a", "b")}
    contest = Contest(kinds, 3, 0.0, tmp_path / "servers", Lines(tmp_path / "lines"))
    done = []
    contest.done = lambda: done.append(1)
    workloads = {"it": Workload(clients=2, depth=2, peers=1, seconds=0.1)}
    found = contest.run(workloads)
    assert [(run.contestant, run.round) for run in found.runs] == [
        ("a", 0),
        ("b", 0),
        ("b", 1),
        ("a", 1),
        ("a", 2),
        ("b", 2),
    ]
    assert len(done) == contest.total(workloads) == 6
    assert read([tmp_path / "lines"]).runs == found.runs


@pytest.mark.slow
@needs_compiler
def test_run_and_report(tmp_path: Path) -> None:
    own, out, folder = tmp_path / "own.toml", tmp_path / "r.jsonl", tmp_path / "page"
    own.write_text(SMALL)
    ran = CliRunner().invoke(app, ["run", str(own), "--rounds", "1", "--out", str(out), "--folder", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    assert "| small-set " in ran.output
    found = read([out])
    assert len(found.machines) == 1
    small, half = found.runs
    small.figures.pop("writes_per_fsync", None)  # there is none of a disk that is stuck for a second
    assert {"rate_per_s", "p99_ms", "cpu_s_per_100k", "ping_p99_ms", "rss_mib"} <= small.figures.keys()
    assert half.figures.keys() - small.figures.keys() == {"max_per_s"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.toml", "r.jsonl"]
    told = CliRunner().invoke(app, ["report", str(out), "--folder", str(folder)])
    assert told.exit_code == 0, told.output
    assert {path.name for path in folder.iterdir()} == {"README.md", "throughput.svg", "latency-small-half.svg"}


def test_what_is_not_the_same_work_is_left_out() -> None:
    workloads = {
        "sets": Workload(),
        "gets": Workload(mix={"get": 1}),
        "mixed": Workload(mix={"get": 4, "set": 1}),
        "half": Workload(measure="half"),
        "idle": Workload(idle_sessions=10),
        "failover": Workload(measure="failover"),
    }
    kinds: list[type[Servers]] = [Trioquorum, java.JavaZooKeeper, etcd.Etcd, syncobj.PySyncObj]
    assert left_out({kind.name: kind for kind in kinds}, workloads) == [
        "pysyncobj (not durable) is left out of gets, mixed: a get is a look-up in the caller's own memory",
        "pysyncobj (not durable) is left out of half, failover: only loads are asked of PySyncObj",
        "etcd is left out of idle: etcd has no sessions",
        "pysyncobj (not durable) is left out of idle: callers write a key of their own each, and have no sessions",
        "etcd is left out of failover: only loads are asked of etcd",
    ]


@pytest.mark.slow
@needs_compiler
def test_a_comparator_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(etcd.Etcd):
        pass

    told = comparators.Comparator(Missing, lambda: "no etcd here", dict)
    monkeypatch.setitem(comparators.COMPARATORS, comparators.Name.ETCD, told)
    own = tmp_path / "own.toml"
    own.write_text(SMALL)
    arguments = ["compare", str(own), "--against", "etcd", "--rounds", "1", "--seconds", "0.2", "--heat-up-s", "0"]
    ran = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "r.jsonl"), "--folder", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    assert "no etcd here" in ran.output
    assert read([tmp_path / "r.jsonl"]).contestants() == ["trioquorum"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "apt-get install etcd-server" in (etcd.why_missing() or "")
    assert "apt-get install zookeeper" in (java.why_missing() or "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "python -m bench list"),
        (["run", "missing.toml"], "missing.toml"),
        (["compare", "--against", "consul"], "pysyncobj"),
        (["micro", "nothing"], "choose codec"),
        (["profile", "failover"], "failover is no load"),
    ],
)
def test_mistakes_are_told(arguments: list[str], message: str) -> None:
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 2
    assert message in ran.output


def test_every_workload_is_listed() -> None:
    ran = CliRunner().invoke(app, ["list"])
    assert ran.exit_code == 0
    assert "| set-16x64 " in ran.output


def test_commits_get_checkouts_of_their_own(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    git = ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    for text in ("1", "2"):
        for package in ("trioquorum", "transports"):
            (repository / package).mkdir(exist_ok=True)
            (repository / package / "it.py").write_text(f"VALUE = {text}\n")
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", text], check=True)
    with regress.checkouts(["HEAD~1", "HEAD"], tmp_path, repository) as kinds:
        assert [name[0] for name in kinds] == ["A", "B"]
        texts = [(kind.checkout / "trioquorum" / "it.py").read_text() for kind in kinds.values()]
        assert texts == ["VALUE = 1\n", "VALUE = 2\n"]
        assert (next(iter(kinds.values())).checkout / "trioquorum" / "__pycache__").is_dir()
    listed = subprocess.run([*git, "worktree", "list"], check=True, capture_output=True, text=True).stdout
    assert len(listed.splitlines()) == 1
