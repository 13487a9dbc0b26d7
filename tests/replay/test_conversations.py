"""Every conversation that was recorded on the client port of one ZooKeeper 3.8.0, held again with a server of ours.

``recorded/<scenario>.jsonl.gz``: first the server's settings, then what happened on all connections, in order: frames
and four-letter words in hex, who connected, who closed, when the server was stopped and started.

Malformed conversations are in ``tests/hostile``, four-letter words to the last letter in ``tests/words``.
"""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit.processes import free_ports
from tests.kit.zookeepers import Zookeeper
from tests.replay.conversation import hold, load

SCENARIOS: Final = sorted((Path(__file__).parent / "recorded").glob("*.jsonl.gz"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name.partition(".")[0])
def test_the_answers_are_the_recorded_ones(scenario: Path, tmp_path: Path) -> None:
    events = load(scenario)
    settings = next(events)
    port = free_ports(1)[0]
    server = Zookeeper("ours", tmp_path, port, settings["lines"], properties=settings["properties"])

    def act(event: dict[str, Any]) -> None:
        if event["do"] == "stop":
            server.stop()
        else:
            server.start()
            server.wait_serving()

    act({"do": "start"})
    try:
        assert hold(scenario.name.partition(".")[0], events, lambda _: port, act) > 1
    finally:
        server.stop()
