"""ZooKeeper's own command line cannot tell us from Apache ZooKeeper: every command it has, with its flags."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.zkcli.play import PROMPT, SCRIPTS, differences, ensemble, play
from tests.kit.transcripts import read_blocks
from tests.kit.zookeepers import ThreeZookeepers, java_missing, package_version

RECORDED_WITH = "3.8.0"

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(java_missing() is not None, reason=str(java_missing())),
    pytest.mark.skipif(
        package_version() != RECORDED_WITH, reason=f"the transcripts are of the command line of {RECORDED_WITH}"
    ),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeZookeepers]:
    with ensemble("ours", tmp_path_factory.mktemp("zkcli")) as started:
        yield started


@pytest.mark.timeout(180)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_transcript_is_the_recorded_one(script: Path, servers: ThreeZookeepers, tmp_path: Path) -> None:
    ours = tmp_path / "ours.txt"
    ours.write_text(play(script, servers, tmp_path), encoding="utf-8")
    on_purpose = differences()
    expected = [
        (command, on_purpose.get((script.stem, command), answer)) for command, answer in read_blocks(script, PROMPT)
    ]
    assert read_blocks(ours, PROMPT) == expected


def test_differences_name_commands_that_exist() -> None:
    commands = {(script.stem, command) for script in SCRIPTS for command, _ in read_blocks(script, PROMPT)}
    assert differences().keys() <= commands
