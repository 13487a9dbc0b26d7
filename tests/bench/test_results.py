from pathlib import Path

import msgspec
import pytest

from bench.results import Lines, Results, Run, moved, percentile_ms, ratio_of_medians, ratios, read
from bench.workload import Goal, Workload


def run(contestant: str, round_: int, workload: str = "w", **figures: float) -> Run:
    return Run(
        workload=workload, contestant=contestant, round=round_, load_average=1.0, setup=Workload(), figures=figures
    )


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "new" / "r.jsonl"
    lines = Lines(file)
    setup = Workload(mix={"get": 4, "set": 1}, goals={"rate_per_s": Goal(2, 3)})
    one = msgspec.structs.replace(run("a", 0, rate_per_s=5.0), setup=setup, latency_us=[(1.5, 3)])
    lines.add({"machine": {"cores": 2}})
    lines.add(one)
    lines.add({"part": "codec", "what": "another line"})
    assert read([file]) == Results([{"cores": 2}], [one])


def test_ratios_are_of_runs_of_the_same_round() -> None:
    a = [run("a", n, rate_per_s=rate) for n, rate in ((0, 10.0), (1, 30.0), (2, 20.0))]
    b = [run("b", n, rate_per_s=rate) for n, rate in ((1, 10.0), (0, 10.0), (2, 5.0))]
    found = Results([], a + b)
    assert ratios(found, "w", "rate_per_s", "a", "b") == [1, 3, 4]
    assert ratio_of_medians(found, "w", "rate_per_s", "a", "b") == 2
    assert ratios(found, "w", "p99_ms", "a", "b") == []
    assert ratio_of_medians(found, "w", "p99_ms", "a", "b") is None


def test_sessions_are_kept_apart(tmp_path: Path) -> None:
    """Ours got faster from the first file to the second, and others were only in one of them."""
    files = [tmp_path / "1", tmp_path / "2"]
    for file, rate, other in zip(files, (10.0, 100.0), ("b", "c"), strict=True):
        lines = Lines(file)
        lines.add({"machine": {"cores": 2}})
        for round_ in range(2):
            lines.add(run("a", round_, rate_per_s=rate))
            lines.add(run(other, round_, rate_per_s=5.0))
    found = read(files)
    assert [it.session for it in found.of("w", "a")] == [0, 0, 1, 1]
    assert ratios(found, "w", "rate_per_s", "a", "b") == [2, 2]
    assert ratios(found, "w", "rate_per_s", "a", "c") == [20, 20]
    assert ratio_of_medians(found, "w", "rate_per_s", "a", "b") == 2
    assert ratio_of_medians(found, "w", "rate_per_s", "a", "c") == 20
    assert ratio_of_medians(found, "w", "rate_per_s", "b", "c") is None


@pytest.mark.parametrize(
    ("by_round", "expected"),
    [
        ([1.2, 1.21, 1.19, 1.22, 1.2], True),
        ([0.8, 0.81, 0.79], True),
        ([1.2, 1.21, 0.99, 1.22, 1.2], False),  # a round says the opposite
        ([1.01, 1.02, 1.01, 1.02], False),  # too little
        ([1.05, 1.9, 1.4, 1.2, 1.7], False),  # the rounds are further from each other than from 1
        ([2.0, 2.0], False),  # too few
    ],
)
def test_what_moved(by_round: list[float], expected: bool) -> None:
    assert moved(by_round) is expected


def test_percentiles_weigh_counts() -> None:
    histogram = [(1000.0, 98), (5000.0, 1), (9000.0, 1)]
    assert percentile_ms(histogram, 0.5) == 1.0
    assert percentile_ms(histogram, 0.99) == 5.0
    assert percentile_ms(histogram, 1.0) == 9.0
    assert percentile_ms([], 0.5) == 0.0
