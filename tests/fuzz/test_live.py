"""A bounded attack on the port of a real server; ``python -m tests.fuzz.live`` is the long one."""

from pathlib import Path

import pytest

from tests.fuzz.live import run

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]


def test_hostile_connections_end_and_the_server_goes_on(tmp_path: Path) -> None:
    run(tmp_path, 2000, 7)
