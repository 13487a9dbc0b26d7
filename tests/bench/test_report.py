from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import regress, report
from bench.results import Results, Run
from bench.workload import Goal, Workload

GOALS = {"rate_per_s": Goal(3, 5), "p99_ms": Goal(0.8, 0.4)}


def results(ours: dict[str, float], theirs: dict[str, float], setup: Workload, name: str = "it") -> list[Run]:
    return [
        Run(
            workload=name,
            contestant=contestant,
            round=round_,
            load_average=2.0,
            setup=setup,
            figures=figures,
            latency_us=[(100.0 * n, 1000 // n) for n in range(1, 50)],
        )
        for round_ in range(3)
        for contestant, figures in ((report.OURS, ours), (report.JAVA, theirs))
    ]


@pytest.mark.parametrize(
    ("rate", "p99", "verdicts"), [(2.0, 0.9, ["no", "no"]), (3.0, 0.8, ["yes", "yes"]), (6.0, 0.1, ["aim", "aim"])]
)
def test_goals_are_met_or_not(rate: float, p99: float, verdicts: list[str]) -> None:
    runs = results({"rate_per_s": rate, "p99_ms": p99}, {"rate_per_s": 1, "p99_ms": 1}, Workload(goals=GOALS))
    table = report.goals(Results([], runs)).splitlines()
    assert [line.split("|")[-2].strip() for line in table[2:]] == verdicts


def test_a_page_and_its_plots_are_written(tmp_path: Path) -> None:
    runs = results(
        {"rate_per_s": 50_000, "p99_ms": 1, "generator_share": 0.95}, {"rate_per_s": 9_000}, Workload(goals=GOALS)
    )
    runs += results({"p99_ms": 1.0}, {"p99_ms": 2.0}, Workload(measure="half"), "half-set")
    for clients in (1, 16):
        runs += results(
            {"rate_per_s": 100.0 * clients},
            {"rate_per_s": 30.0},
            Workload(clients=clients, scales="clients"),
            f"c{clients}",
        )
    files = report.write(Results([{"cores": 2, "command": ["compare"]}], runs), tmp_path / "out")
    assert {file.name for file in files} == {
        "README.md",
        "throughput.svg",
        "latency-half-set.svg",
        "scaling-clients.svg",
    }
    page = files[0].read_text()
    assert "50,000*" in page
    assert "cores 2" in page
    for file in files[1:]:
        assert f"({file.name})" in page
        tree = ET.parse(file)
        texts = {it.text for it in tree.iter() if it.tag.endswith("text")}
        assert {"trioquorum", "java"} <= texts or {"trioquorum set", "java set"} <= texts
        for shape in tree.iter():
            for place in ("x", "y", "x1", "y1", "cx", "cy"):
                assert 0 <= float(shape.get(place, "0")) <= 1000


def test_the_same_results_of_one_contestant_alone(tmp_path: Path) -> None:
    runs = [run for run in results({"rate_per_s": 5.0}, {}, Workload()) if run.contestant == report.OURS]
    found = Results([], runs)
    assert report.goals(found) == ""
    assert report.overview(found).count("\n") == 2
    assert len(report.write(found, tmp_path)) == 2


def test_ours_is_set_against_each_of_several_and_what_they_do_otherwise_is_told(tmp_path: Path) -> None:
    rates = {report.OURS: 60.0, report.JAVA: 30.0, "etcd": 20.0}
    runs = [
        Run(
            workload="w",
            contestant=who,
            round=0,
            load_average=1,
            setup=Workload(),
            figures={"rate_per_s": rate},
            note="it has no order" if who == "etcd" else "",
        )
        for who, rate in rates.items()
    ]
    head, _, row = ([cell.strip() for cell in line.split("|")[1:-1]] for line in overview_lines(Results([], runs)))
    found = dict(zip(head, row, strict=False))
    assert found["trioquorum ÷ java"] == "2.00"
    assert found["trioquorum ÷ etcd"] == "3.00"
    page = report.write(Results([], runs), tmp_path)[0].read_text()
    assert "- etcd: it has no order." in page
    assert "- java:" not in page


def overview_lines(results: Results) -> list[str]:
    return report.overview(results).splitlines()


def test_what_moved_between_two_commits_is_told() -> None:
    runs = [
        Run(workload="w", contestant=who, round=n, load_average=1, setup=Workload(), figures=figures)
        for n in range(5)
        for who, figures in (
            ("A 1", {"rate_per_s": 100.0 + n, "p99_ms": 5.0 + n % 2, "cpu_s_per_100k": 4.0}),
            ("B 2", {"rate_per_s": 150.0 + n, "p99_ms": 6.0 - n % 2, "cpu_s_per_100k": 8.0}),
        )
    ]
    text = regress.summary(Results([], runs))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:4]]
    assert [(row[1], row[-1]) for row in rows] == [
        ("operations/s", "better"),
        ("CPU s per 100,000, all servers", "worse"),
    ]
    assert text.endswith("1 figures did not move by more than the noise.")
