"""The pytest plugin of a run of kazoo's tests: puts our cluster in the place of kazoo's and notes each outcome.

``SUITE_OUTCOMES`` in the environment names the file of JSON lines: ``test``, ``outcome``, ``seconds``, ``why``.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.interop.kazoo_suite import cluster

OUTCOMES = "SUITE_OUTCOMES"

sys.modules["kazoo.testing.common"] = cluster

_notes: dict[str, dict[str, object]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The worst phase of a test is its outcome."""
    name = report.nodeid[report.nodeid.rindex("tests/") :]
    note = _notes.setdefault(name, {"test": name, "outcome": "passed", "seconds": 0.0, "why": ""})
    note["seconds"] = round(report.duration + float(str(note["seconds"])), 2)
    if report.outcome != "passed":
        note["outcome"] = report.outcome
        note["why"] = str(report.longreprtext if report.failed else (report.longrepr or ("", 0, ""))[2])[-2000:]  # type: ignore[index]
    if report.when == "teardown":
        with Path(os.environ[OUTCOMES]).open("a") as out:
            out.write(json.dumps(note) + "\n")
