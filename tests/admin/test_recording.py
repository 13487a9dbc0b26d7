"""``trioquorum simulate --record``: what is written is what happened, and the run is the same one."""

import io
from pathlib import Path

import msgspec
from typer.testing import CliRunner

from trioquorum import cli
from trioquorum.admin import recording
from trioquorum.admin.feed import EventFrame, event_of, frame_of
from trioquorum.admin.recording import RecordedFrame, Recorder, RecordingHead
from trioquorum.events import Committed, Elected, Established, Proposed
from trioquorum.recorded import simulate_recorded
from trioquorum.testing.campaign import Choice
from trioquorum.testing.simulation import simulate


def parts(data: bytes, frames: int) -> tuple[RecordingHead, list[RecordedFrame]]:
    """The objects of a recording that has so many frames."""
    objects = msgspec.msgpack.decode(b"\xdd" + (frames + 1).to_bytes(4, "big") + data, type=list[msgspec.Raw])
    head = msgspec.msgpack.decode(objects[0], type=RecordingHead)
    return head, [msgspec.msgpack.decode(each, type=RecordedFrame) for each in objects[1:]]


def test_a_recording_has_all_that_the_trace_has() -> None:
    plan = Choice(peers=3, safety_s=5).plan(7)
    lines: list[str] = []
    file = io.BytesIO()
    report, left_out = simulate_recorded(plan, file, lines.append)
    assert report.failure is None, report.failure
    assert left_out == 0
    same: list[str] = []
    assert simulate(plan, tell=same.append).failure is None
    assert lines == same
    head, frames = parts(file.getvalue(), len(lines))
    assert (head.recording, head.kind, head.title) == (1, "simulation", "seed 7")
    assert [member.id for member in head.members[:3]] == [1, 2, 3]
    events = [frame_of(frame.frame) for frame in frames]
    times = [event.wall_ms for event in events if isinstance(event, EventFrame)]
    assert len(times) == len(lines)
    assert times == sorted(times)
    found = {type(event_of(event.fact)) for event in events if isinstance(event, EventFrame)}
    assert found >= {Elected, Established, Proposed, Committed}
    strikes = [frame.frame["fact"]["event"] for frame in frames if frame.peer == 0]
    assert set(strikes) <= {"struck"}


def test_a_recording_is_bounded() -> None:
    file = io.BytesIO()
    recorder = Recorder(file, "much", [])
    for _ in range(3):
        recorder.add(1.5, 1, Committed(zxid=1))
    limit = recording.EVENTS_MAX
    recorder._count = limit
    recorder.add(2.0, 1, Committed(zxid=2))
    assert recorder.left_out == 1
    _, frames = parts(file.getvalue(), 3)
    assert [frame.frame["mono_us"] for frame in frames] == [1_500_000] * 3


def test_the_command_writes_one(tmp_path: Path) -> None:
    file = tmp_path / "run.tq"
    words = ["simulate", "--seed", "3", "--peers", "3", "--minutes", "0.05", "--record", str(file)]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    assert f"written: {file}" in result.output
    assert b"simulation" in file.read_bytes()[:100]
    assert CliRunner().invoke(cli.app, [*words, "--seeds", "2"]).exit_code == 2
    assert CliRunner().invoke(cli.app, [*words[:-1], str(tmp_path / "no" / "file")]).exit_code == 3
