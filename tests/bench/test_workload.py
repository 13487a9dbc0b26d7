from pathlib import Path

import msgspec
import pytest

from bench.contest import setting_of
from bench.results import FIGURES
from bench.workload import Workload, chosen, suites

EVERYTHING = {name: workload for suite in suites().values() for name, workload in suite.items()}


def test_every_name_is_there_once() -> None:
    assert len(EVERYTHING) == sum(map(len, suites().values())) > 50


@pytest.mark.parametrize("name", EVERYTHING)
def test_goals_are_about_figures_and_aims_are_harder(name: str) -> None:
    for figure, goal in EVERYTHING[name].goals.items():
        better = FIGURES[figure].better
        assert better
        assert goal.aim * better > goal.bound * better


def test_suites_and_names_and_files_are_chosen_together(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[small]\nmix = { get = 1 }\nclients = 2\n")
    found = chosen(["latency", "set-16x64", str(own)])
    assert list(found) == [*suites()["latency"], "set-16x64", "small"]
    assert found["small"].clients == 2


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="set-17x64"):
        chosen(["set-17x64"])


@pytest.mark.parametrize(
    "text",
    [
        "mix = { delete = 1 }",
        "mix = { set = 0 }",
        "clients = 0",
        "seconds = 0.0",
        "measure = 'guess'",
        "sizes = 1",
        "znodes = 17",
        "goals = { rate_per_s = [1] }",
    ],
)
def test_what_no_server_can_be_asked_for_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(f"[it]\n{text}\n", type=dict[str, Workload])


def test_loads_that_want_the_same_servers_share_them() -> None:
    assert setting_of(Workload(clients=8)) == setting_of(Workload(mix={"get": 1}, measure="half"))
    assert setting_of(Workload(peers=5)) != setting_of(Workload())
    assert setting_of(Workload(znodes=160)) != setting_of(Workload())
    assert setting_of(Workload(measure="failover")) is None
