"""ZooKeeper's C client cannot tell us from Apache ZooKeeper: every call it has that reaches a server."""

from pathlib import Path

import pytest

from tests.interop.c_client.play import RECORDED, compile_client, ensemble, missing, play


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_transcript_is_the_recorded_one(tmp_path: Path) -> None:
    program = compile_client(tmp_path)
    with ensemble("ours", tmp_path) as servers:
        assert play(program, servers).splitlines() == RECORDED.read_text(encoding="utf-8").splitlines()
