"""Open pages: the feeds are read, the modes take turns, and the figures are those of the peer that serves them."""

from pathlib import Path

import pytest

from bench import pages
from bench.pages import MODES
from bench.results import Lines


def record(mode: str, round_: int, rate: float) -> dict[str, object]:
    return {
        "measure": "load",
        "mode": mode,
        "round": round_,
        "rate_per_s": rate,
        "cpu_s_per_100k": 100_000 / rate,
        "leader_cores": 0.5,
        "p99_ms": 9.0,
        "frames_dropped": 1,
    }


def test_ratios_are_those_of_the_same_round() -> None:
    memory = {"measure": "memory", "pages": 10, "before_kib": 1000, "open_kib": 1500, "closed_kib": 1100}
    idle = {"measure": "idle", "pages": 10, "alone_cores": 0.01, "pages_cores": 0.025}
    rates = {"no page": (1000.0, 500.0), "pages": (900.0, 450.0), "pages that show transactions": (500.0, 300.0)}
    told = pages.summary(
        [memory, idle, *(record(mode, at, rate) for mode in MODES for at, rate in enumerate(rates[mode]))]
    )
    assert (
        "10 pages on the leader of three: 50.0 KiB of its memory each (1,000 → 1,500 KiB; closed again 1,100)" in told
    )
    assert "keeps 2.50 % of a core busy with them, 1.00 % without" in told
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines()[5:]]
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("no page", "1.00", "1.00–1.00"),
        ("pages", "0.900", "0.900–0.900"),
        ("pages that show transactions", "0.550", "0.500–0.600"),
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)  # Seven loads in turn on one ensemble.
def test_pages_are_open_and_read_while_the_load_runs(tmp_path: Path) -> None:
    said: list[str] = []
    found = pages.run(tmp_path / "servers", 3, 2, 1.0, Lines(tmp_path / "lines"), said.append, idle_s=0.5)
    loads = [it for it in found if it["measure"] == "load"]
    assert [it["mode"] for it in loads] == [*MODES, *list(MODES)[::-1]]
    assert [it["measure"] for it in found[:2]] == ["memory", "idle"]
    for it in loads:
        assert it["cpu_s_per_100k"] >= 0
        assert (it["kib_per_page"] > 0) == (it["mode"] != "no page")
        assert (it["frames_read"] > 0) == (it["mode"] != "no page")
    by_mode = {mode: max(it["kib_per_page"] for it in loads if it["mode"] == mode) for mode in MODES}
    assert by_mode["pages that show transactions"] > by_mode["pages"]
    assert any("round 2: no page" in line for line in said)
