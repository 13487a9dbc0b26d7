"""``trioquorum simulate``: what it prints, and how a failure is shown, made smaller and repeated."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trioquorum.cli import app
from trioquorum.invariants import InvariantViolation
from trioquorum.testing.workloads.register import Register

FAST = ["--minutes", "0.05", "--faults", "crash,cut"]


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["simulate", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_a_seed_is_summed_up() -> None:
    code, output = run("--seed", "3", *FAST)
    assert code == 0
    assert "1 seeds from 3, commit " in output
    assert ": 0 failed" in output
    assert "elections" in output


def test_a_trace_is_a_timeline() -> None:
    _, output = run("--seed", "3", *FAST, "--trace")
    lines = output.splitlines()
    assert lines[0].startswith("seed 3: ")
    assert any("peer 1   elected leader=" in line for line in lines)
    times = [float(line[:11]) for line in lines if "  peer " in line]
    assert times == sorted(times)


def test_many_seeds_run_on_several_processes() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "trioquorum", "simulate", "--seed", "1", "--seeds", "3", "--jobs", "2", *FAST],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "3 seeds from 1" in found.stdout


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(self: Register, truth: object) -> None:
        raise InvariantViolation("registers are fine: left=1, right=2")

    monkeypatch.setattr(Register, "check", check)


@pytest.mark.usefixtures("broken")
def test_a_failure_says_seed_commit_rule_facts_and_how_to_see_it_again(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    words = ("--workloads", "register,bank", *FAST)
    code, output = run("--seed", "7", *words, "--shrink", "--save", str(file))
    assert code == 1
    assert "seed 7, commit " in output
    assert "checks: InvariantViolation: registers are fine: left=1, right=2" in output
    again = [line.removeprefix("again:  trioquorum simulate ") for line in output.splitlines() if "again:" in line]
    assert again == [
        "--seed 7 --minutes 0.05 --faults cut,crash --workloads register,bank --trace",
        "--seed 7 --minutes 0.05 --faults cut,crash --workloads register --keep - --trace",
    ]
    for command in again:
        code, output = run(*command.split())
        assert code == 1
        assert "registers are fine" in output
    code, output = run("--plan", str(file))
    assert code == 1
    assert "registers are fine" in output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--faults", "meteor"], "no fault is called 'meteor'"),
        (["--workloads", "idle"], "no workload is called 'idle'; choose from"),
        (["--keep", "x"], "--keep takes numbers of strikes like 0,3,7, not 'x'"),
        (["--plan", "nowhere.json"], "nowhere.json: cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_option_says_what_to_do(words: list[str], says: str) -> None:
    code, output = run(*words)
    assert code == 2
    assert says in output
