"""Events as log lines."""

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from trioquorum import log
from trioquorum.events import Committed, Elected, Events, SessionExpired, SlowFlush, StateChanged, VoteHeard

ALL = [
    StateChanged(old="looking", new="leading", reason="peer 1 was elected"),
    Elected(leader=1, round=2, voters=(1, 2), duration_ms=210),
    SlowFlush(duration_ms=1200, size_bytes=64),
    SessionExpired(session=-2, timeout_ms=4000),
    VoteHeard(sender=2, state="looking", round=2, leader=1, zxid=-1, peer_epoch=1, outcome="counted"),
    Committed(zxid=0x100000005),
]


@pytest.fixture(autouse=True)
def structlog_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def lines(level: str, *, as_json: bool = True) -> list[str]:
    """What ALL leaves in the log of server 3."""
    stream = io.StringIO()
    log.configure(level, json=as_json, stream=stream)
    events = Events(log.log_events(3, level))
    for event in ALL:
        events.emit(event)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("error", []),
        ("warning", ["slow_flush"]),
        ("info", ["state_changed", "elected", "slow_flush", "session_expired"]),
        ("debug", ["state_changed", "elected", "slow_flush", "session_expired", "vote_heard"]),
        ("trace", ["state_changed", "elected", "slow_flush", "session_expired", "vote_heard", "committed"]),
    ],
)
def test_a_level_hides_what_is_quieter(level: str, names: list[str]) -> None:
    assert [json.loads(line)["event"] for line in lines(level)] == names


def test_a_line_has_every_fact() -> None:
    found = [json.loads(line) for line in lines("trace")]
    assert all(line.pop("timestamp").endswith("Z") for line in found)
    assert found == [
        {
            "level": "info",
            "server": 3,
            "event": "state_changed",
            "old": "looking",
            "new": "leading",
            "reason": "peer 1 was elected",
        },
        {
            "level": "info",
            "server": 3,
            "event": "elected",
            "leader": 1,
            "round": 2,
            "voters": [1, 2],
            "duration_ms": 210,
        },
        {"level": "warning", "server": 3, "event": "slow_flush", "duration_ms": 1200, "size_bytes": 64},
        {"level": "info", "server": 3, "event": "session_expired", "session": "0xfffffffffffffffe", "timeout_ms": 4000},
        {
            "level": "debug",
            "server": 3,
            "event": "vote_heard",
            "sender": 2,
            "state": "looking",
            "round": 2,
            "leader": 1,
            "zxid": "0xffffffffffffffff",
            "peer_epoch": 1,
            "outcome": "counted",
        },
        {"level": "trace", "server": 3, "event": "committed", "zxid": "0x100000005"},
    ]


def test_text_is_for_people() -> None:
    assert lines("info", as_json=False)[0].endswith(
        "[info     ] state_changed server=3 old=looking new=leading reason='peer 1 was elected'"
    )


def test_a_log_that_nobody_takes_stops_nobody() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    log.configure("info", json=True, stream=Broken())
    read = log.log_events(3)
    read(ALL[0])
    with pytest.raises(BrokenPipeError):
        structlog.get_logger().info("not an event")
