from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.profiling import flame, profile
from bench.profiling.profile import Role
from bench.workload import Workload

TEXT = "a;b;c;line 1 6\na;b;line 7 2\na;d;d;line 9 4\n"


def test_times_of_functions_alone_and_with_what_they_call() -> None:
    stacks = flame.parse(TEXT)
    assert flame.self_times(stacks) == {"c": 6, "b": 2, "d": 4}
    assert flame.whole_times(stacks) == {"a": 12, "b": 8, "c": 6, "d": 4}


def test_widths_are_shares() -> None:
    picture = ET.fromstring(flame.svg("it", flame.parse(TEXT)))
    found = {}
    for group in picture.iter("{http://www.w3.org/2000/svg}g"):
        title, box = group.find("{*}title"), group.find("{*}rect")
        if title is not None and title.text is not None and box is not None:
            found[title.text] = (float(box.get("x", "")), float(box.get("width", "")))
    assert found["a 100.0%"] == (0, 1199.5)
    assert found["b 66.7%"] == (0, 799.5)
    assert found["d 33.3%"] == (800, 399.5)


def test_a_stack_begins_where_it_is_wanted() -> None:
    stacks = flame.below(flame.parse(TEXT), lambda name: name in ("b", "d"))
    assert stacks == {("b", "c", "line 1"): 6, ("b", "line 7"): 2, ("d", "d", "line 9"): 4}


def test_nothing_sampled_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        flame.svg("it", {})


@pytest.mark.slow
def test_a_server_tells_where_its_time_goes(tmp_path: Path) -> None:
    out = tmp_path / "out" / "get.svg"
    workload = Workload(mix={"get": 4, "set": 1}, clients=4, peers=1, seconds=0.5)
    table = profile.run("it", workload, Role.STANDALONE, out, tmp_path)
    assert "Connection.feed" in table
    assert "Connection.feed" in out.with_suffix(".stacks").read_text()
    ET.parse(out)
