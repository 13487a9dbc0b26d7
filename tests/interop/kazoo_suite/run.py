"""Runs kazoo's own tests in a process of their own and judges the outcomes by what the referee's run gave."""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import kazoo

from tests.interop.kazoo_suite.cluster import KIND
from tests.interop.kazoo_suite.plugin import OUTCOMES
from tests.kit.zookeepers import Kind

REFEREE: Final = Path(__file__).with_name("referee.txt")
"""What each test gave against Apache ZooKeeper: an outcome and a test's name in a line."""

DIFFERENCES: Final = Path(__file__).with_name("differences.toml")
"""Tests that give something else against us, with the reason."""

FOR_EVERY_RUN: Final = ("client", "connection", "lease", "lock", "queue", "sasl", "watchers")
"""Files that say most about a server, for each run of our own tests; together they take about a minute."""

NOT_FOR_EVERY_RUN: Final = "not ReadOnly"  # sleeps for a quarter of a minute

_KAZOO: Final = Path(kazoo.__file__).parent
_REPOSITORY: Final = Path(__file__).parents[3]
_AS_VERSION: Final = "3.8.0"  # which kazoo configures servers for; it asks the servers themselves, too
_SETTINGS: Final = "[pytest]\naddopts = -p no:cacheprovider\ntimeout = 120\n"


class Outcome(NamedTuple):
    """What one test gave: ``passed``, ``failed`` or ``skipped``, and why."""

    test: str
    outcome: str
    seconds: float
    why: str


def run(kind: Kind, files: Sequence[str] = (), only: str = "") -> dict[str, Outcome]:
    """Run ``test_<file>.py`` of kazoo (all by default), and once more by themselves the tests that failed.

    kazoo's tests wait for fixed times here and there: what fails twice, fails.
    """
    tests = [f"tests/test_{file}.py" for file in files] or ["tests"]
    found = _run(kind, tests, only)
    failed = [name for name, outcome in found.items() if outcome.outcome == "failed"]
    return found | _run(kind, failed) if failed else found


def _run(kind: Kind, tests: Iterable[str], only: str = "") -> dict[str, Outcome]:
    with tempfile.TemporaryDirectory() as name:
        settings, outcomes = Path(name, "pytest.ini"), Path(name, "outcomes")
        settings.write_text(_SETTINGS)
        outcomes.touch()
        environment = {key: value for key, value in os.environ.items() if key != "CI"}  # there kazoo sleeps longer
        environment |= {
            KIND: kind,
            OUTCOMES: str(outcomes),
            "ZOOKEEPER_VERSION": _AS_VERSION,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "pytest_timeout,tests.interop.kazoo_suite.plugin",
            "PYTHONPATH": os.pathsep.join(filter(None, (*_paths(), os.environ.get("PYTHONPATH")))),
        }
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-c", str(settings), "--rootdir", str(_KAZOO)]
        command += ["-k", only, *(str(_KAZOO / test) for test in tests)]
        ended = subprocess.run(command, env=environment, cwd=name, capture_output=True, text=True, check=False)
        found = [Outcome(**json.loads(line)) for line in outcomes.read_text().splitlines()]
        assert found, f"no test ran: {ended.stdout[-3000:]}{ended.stderr[-3000:]}"
        return {outcome.test: outcome for outcome in found}


def _paths() -> tuple[str, str]:
    return str(_REPOSITORY), str(_REPOSITORY / "transports")


def referee() -> dict[str, str]:
    """Test → what it gave against Apache ZooKeeper."""
    lines = (line.split(" ", 1) for line in REFEREE.read_text().splitlines())
    return {test: outcome for outcome, test in lines}


def differences() -> dict[str, str]:
    """Test → what it gives against us instead."""
    return {one["test"]: one["ours"] for one in tomllib.loads(DIFFERENCES.read_text()).get("difference", ())}


def judge(found: Mapping[str, Outcome]) -> list[str]:
    """What must not be: a test that passes against the referee and not against us, or a difference that is none."""
    expected, listed, wrong = referee(), differences(), []
    for test, outcome in found.items():
        if test in listed:
            if outcome.outcome != listed[test]:
                wrong.append(f"{test}: {outcome.outcome}, listed as {listed[test]}")
        elif outcome.outcome != "passed" and expected.get(test, "passed") == "passed":
            wrong.append(f"{test}: {outcome.outcome}: {outcome.why[-1500:]}")
    return wrong
