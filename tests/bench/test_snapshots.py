"""A snapshot under load: small ones are measured whole, and the file is what the tree was."""

import json
from pathlib import Path

import pytest
import trio

from bench import snapshots
from bench.results import Lines
from trioquorum.backup.directory import load_directory


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_small_tree_is_measured(tmp_path: Path) -> None:
    found = snapshots.run(Lines(tmp_path / "lines"), tmp_path, [(10, 50, ""), (1, 6000, "snappy")])
    assert [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()] == found
    for number, it in enumerate(found):
        assert it["hold_ms"] > 0
        assert it["size_mib"] > 0
        assert it["late_max_ms"] >= it["late_p99_ms"]
        # What was written meanwhile is in the log, so the directory holds all of it.
        nodes = trio.run(load_directory, tmp_path / str(number)).tree.nodes
        assert len(nodes) > it["parents"] * it["children"]
    told = snapshots.summary(found)
    assert "10 × 50" in told
    assert "1 × 6,000 snappy" in told
