"""node-zookeeper-client cannot tell us from Apache ZooKeeper: every call it has that reaches a server."""

from pathlib import Path

import pytest

from tests.interop.node_client.play import RECORDED, ensemble, missing, play


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_transcript_is_the_recorded_one(tmp_path: Path) -> None:
    with ensemble("ours", tmp_path) as servers:
        assert play(servers).splitlines() == RECORDED.read_text(encoding="utf-8").splitlines()
