"""Looking back in a real Chromium: elections seen again, recordings of all kinds, and a past that stays in bounds."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, expect

from tests.admin.test_recording import parts
from tests.browser.conftest import WITHIN_S, Watched
from trioquorum.admin.feed import AnyFrame, EventFrame, MemberInfo, Sample, Snapshot, encode, frame_of
from trioquorum.admin.recording import RecordedFrame, Recorder, RecordingHead
from trioquorum.events import Elected, Established, Event, PeerStarted, StateChanged
from trioquorum.testing.nemesis import Struck

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.timeout(180)]

TOKEN = "a-secret.of_the~operator"
LEAD = ("leading", "leader", 1)
FOLLOW = ("following", "follower", 1)


def member(peer: int) -> MemberInfo:
    return MemberInfo(
        id=peer,
        role="participant",
        weight=1,
        group=None,
        quorum="memory://a",
        election="memory://a",
        client=None,
        admin=None,
    )


def served(role: str, place: str, leader: int) -> list[Event]:
    """A peer starts, finds this leader and serves."""
    return [
        PeerStarted(peer=0, last_zxid=0, accepted_epoch=0, current_epoch=0),
        StateChanged(old="starting", new="looking", reason="it starts"),
        Elected(leader=leader, round=1, voters=(1, 2), duration_ms=5),
        StateChanged(old="looking", new=role, reason="peer 1 was elected"),
        Established(role=place, leader=leader, epoch=1, zxid=1 << 32),
    ]


def simulated(path: Path, told: Sequence[tuple[float, int, Event]]) -> Path:
    """A recording of three peers that serve after a second, and then of what is told."""
    with path.open("wb") as file:
        recorder = Recorder(file, "a story", [member(peer) for peer in (1, 2, 3)])
        for peer in (1, 2, 3):
            for event in served(*(LEAD if peer == 1 else FOLLOW)):
                recorder.add(1.0, peer, event)
        for time_s, peer, event in told:
            recorder.add(time_s, peer, event)
    return path


def scrub(page: Page, ms: int) -> None:
    page.evaluate(
        """(ms) => {
            const bar = document.querySelector("#scrub");
            bar.value = ms;
            bar.dispatchEvent(new Event("input"));
        }""",
        ms,
    )


def shown(opened: Watched) -> list[str]:
    """What the three peers are, once the picture shows the time that was asked for."""
    opened.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return [opened.role(peer) for peer in (1, 2, 3)]


def test_the_last_election_is_played_again_slowly(opened: Watched) -> None:
    page = opened.page
    old = opened.leader()
    opened.order(old, "kill")
    page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{old}"])')
    new = opened.leader()
    page.wait_for_selector(".peer.role-following.serving")
    page.click("#replay")
    expect(page.locator("#summary")).to_contain_text("In the past: ")
    page.wait_for_selector('.peer[data-role="looking"]')
    assert float(page.input_value("#speed")) < 1
    expect(page.locator("#play")).to_contain_text("Play", timeout=WITHIN_S * 1000)
    expect(page.locator("#summary")).to_contain_text(f"In the past: peer {new} leads")
    page.click("#live")
    opened.order(old, "restart")
    page.wait_for_selector(f'.peer[data-peer="{old}"].serving')
    expect(page.locator(".eras .era")).to_have_count(2)
    expect(page.locator(".eras title")).to_contain_text(f"peer {new} in epoch")


def test_crashes_and_partitions_of_a_simulation_are_seen(opened: Watched, tmp_path: Path) -> None:
    page = opened.page
    told: list[tuple[float, int, Event]] = [
        (2.0, 0, Struck(fault="partition", what="2 | 1 3")),
        (3.0, 0, Struck(fault="partition", what="is over")),
        (4.0, 0, Struck(fault="crash", what="peer 3")),
        (5.0, 3, PeerStarted(peer=3, last_zxid=0, accepted_epoch=1, current_epoch=1)),
        (6.0, 0, Struck(fault="crash_all", what="every peer")),
    ]
    page.set_input_files("#recording", simulated(tmp_path / "story.rec", told))
    expect(page.locator("#summary")).to_contain_text("Recording: a story. no peer is heard")
    assert shown(opened) == ["unreachable"] * 3
    scrub(page, 2500)
    assert shown(opened) == ["leading", "following", "following"]
    cuts = page.locator(".cut[data-cut]").evaluate_all("(all) => all.map((it) => it.dataset.cut)")
    assert cuts == ["1-2", "2-3"]
    expect(page.locator(".struck")).to_contain_text("partition: 2 | 1 3")
    scrub(page, 3500)
    assert shown(opened) == ["leading", "following", "following"]
    expect(page.locator(".cut[data-cut]")).to_have_count(0)
    scrub(page, 4500)
    assert shown(opened) == ["leading", "following", "unreachable"]
    scrub(page, 5500)
    assert shown(opened) == ["leading", "following", "starting"]


def test_what_is_saved_is_what_peers_told(opened: Watched, tmp_path: Path) -> None:
    opened.tab("charts")
    expect(opened.page.locator(".chart", has_text="Sessions").locator(".readout")).to_contain_text("3:")
    with opened.page.expect_download() as download:
        opened.page.click("#save")
    download.value.save_as(tmp_path / "live.rec")
    data = (tmp_path / "live.rec").read_bytes()
    head, recorded = whole(data)
    assert (head.recording, head.kind, [each.id for each in head.members]) == (1, "live", [1, 2, 3])
    frames: list[AnyFrame | None] = [frame_of(each.frame) for each in recorded]
    kinds = [type(frame) for frame in frames]
    assert set(kinds) == {Snapshot, EventFrame, Sample}
    times = [each.frame["wall_ms"] for each in recorded]
    assert times == sorted(times)
    assert all(isinstance(ms, int) for ms in times)


def whole(data: bytes) -> tuple[RecordingHead, list[RecordedFrame]]:
    """The objects of a recording, however many it has."""
    most = len(data)
    least = 0
    while least < most:
        middle = (least + most) // 2
        try:
            return parts(data, middle)
        except msgspec.DecodeError as error:
            if "truncated" in str(error):
                most = middle
            else:
                least = middle + 1
    return parts(data, least)


HEAD = encode(RecordingHead(recording=1, kind="live", title="<b>bold</b>", members=[member(1)]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        encode({"recording": 2, "members": []}),
        encode({"recording": 1, "members": [None]}),
        HEAD + b"\xc1",
        HEAD + encode([1, {"frame": "event"}]),
        HEAD + encode([1, None]),
        HEAD + encode("text"),
        HEAD + encode([1, {"frame": "sample", "wall_ms": "now"}]),
        HEAD[:-3],
    ],
)
def test_a_file_that_is_none_changes_nothing(opened: Watched, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "wrong.rec").write_bytes(data)
    opened.page.set_input_files("#recording", tmp_path / "wrong.rec")
    expect(opened.page.locator(".toast")).to_contain_text("That file cannot be opened")
    expect(opened.page.locator("#summary")).to_contain_text("3 of 3 peers serve")
    expect(opened.page.locator("#summary")).not_to_contain_text("Recording")


def test_a_recording_with_strange_frames_is_shown_as_far_as_it_is_known(opened: Watched, tmp_path: Path) -> None:
    strange: list[dict[str, Any]] = [
        {"frame": "event", "seq": 0, "fact": {"event": "constructor"}},
        {"frame": "event", "seq": 1, "fact": {"event": "of a later version", "what": "<img src=x>"}},
        {"frame": "event", "seq": 2, "fact": "none"},
        {"frame": "snapshot", "links": 7},
        {"frame": "of a later version"},
    ]
    frames = [encode([1, each | {"wall_ms": 1000 + at, "mono_us": 0}]) for at, each in enumerate(strange)]
    (tmp_path / "strange.rec").write_bytes(HEAD + b"".join(frames))
    page = opened.page
    page.set_input_files("#recording", tmp_path / "strange.rec")
    expect(page.locator("#summary")).to_contain_text("Recording: <b>bold</b>")
    opened.tab("events")
    expect(page.locator(".log tbody tr")).to_have_count(2)
    assert page.locator(".log img").count() == 0


def test_a_busy_past_stays_in_bounds_and_keeps_elections(opened: Watched) -> None:
    found = opened.page.evaluate(
        """async () => {
            const { PeerLog } = await import("/model/log.js");
            const { blank, fold } = await import("/model/state.js");
            const log = new PeerLog(1);
            const event = (seq, wall_ms, fact) => ({ frame: "event", seq, wall_ms, mono_us: 0, peer: 1, fact });
            log.add(event(0, 0, { event: "state_changed", old: "starting", new: "looking", reason: "" }));
            log.add(event(1, 0, { event: "round_started", round: 1, leader: 1, zxid: 0, peer_epoch: 0 }));
            for (let at = 0; at < 60000; at++) {
                log.add(event(-1, 1000 + at, { event: "committed", zxid: at }));
                if (at % 2) log.add(event(at, 1000 + at, { event: "session_created", session: at, timeout_ms: 1 }));
                if (at % 1000 === 0) log.measure({ frame: "sample", wall_ms: 1000 + at, zxid: at });
            }
            const again = log.add(event(1, 0, { event: "round_started", round: 1, leader: 1, zxid: 0, peer_epoch: 0 }));
            log.add(event(-1, 40000, { event: "page_paused", paused: true }));
            const wrong = [];
            for (const ms of [0, 500, 39999, 40000, 47123, 61000, 40001]) {
                const state = blank(1);
                for (const frame of log.frames) if (frame.wall_ms <= ms) fold(state, frame);
                const told = log.at(ms);
                if (["zxid", "paused", "role"].some((name) => told[name] !== state[name])) wrong.push(ms);
            }
            const sorted = log.frames.every((frame, at) => !at || log.frames[at - 1].wall_ms <= frame.wall_ms);
            const [{ fact }] = log.frames;
            return { count: log.frames.length, first: fact.event, again, wrong, sorted, round: log.at(500).round };
        }"""
    )
    assert found["count"] < 45_000
    assert found["first"] == "state_changed"
    assert found["round"] == 1
    assert found["again"] is False
    assert found["wrong"] == []
    assert found["sorted"] is True


def test_links_of_long_ago_are_known_from_what_is_left_of_the_past(opened: Watched) -> None:
    links = opened.page.evaluate(
        """async () => {
            const { PeerLog } = await import("/model/log.js");
            const log = new PeerLog(1);
            const links = [{ kind: "election", peer: 2, address: "a" }];
            const learners = [];
            log.add({ frame: "snapshot", started_wall_ms: 1, wall_ms: 9000, zxid: 0, links, learners });
            const frame = (seq, wall_ms, event, peer) =>
                ({ frame: "event", seq, wall_ms, fact: { event, kind: "election", peer } });
            log.remember([frame(7, 5000, "link_down", 3), frame(8, 6000, "link_up", 2)], []);
            return [4000, 5500, 8000, 9000].map((ms) => [...log.at(ms).election].sort());
        }"""
    )
    assert links == [[3], [], [2], [2]]


def wait_listening(page: Page, port: int) -> None:
    for _ in range(WITHIN_S * 10):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            page.wait_for_timeout(100)
        else:
            return
    raise AssertionError("the server did not start")


@pytest.fixture
def guarded(blank: Watched, tmp_path: Path) -> Iterator[str]:
    """The admin port of a standalone server that wants a token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    command = [sys.executable, "-m", "trioquorum", "serve", "--client", "tcp://127.0.0.1:0"]
    command += ["--data-dir", str(tmp_path / "data"), "--admin", f"http://127.0.0.1:{port}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--admin-token-file", str(secret)], stderr=log, stdout=log)
    try:
        wait_listening(blank.page, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(WITHIN_S)


def test_a_token_is_asked_for_and_remembered_in_the_tab_alone(blank: Watched, guarded: str) -> None:
    page = blank.page
    page.goto(guarded)
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_contain_text("That one is not right")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector('.peer[data-role="standalone"]')
    page.reload()
    page.wait_for_selector('.peer[data-role="standalone"]')
    assert page.evaluate("JSON.stringify(localStorage)").find(TOKEN) < 0


CONTROLS = """
import sys, trio
from pathlib import Path
from trioquorum.admin.controls import Controls
from trioquorum.admin.settings import AdminSettings
from trioquorum.processes import PeerProcesses

nobody = PeerProcesses((), Path(), Path(), "info", print)
controls = Controls(AdminSettings(host="127.0.0.1", port=0, token=sys.argv[1]), nobody)

async def main():
    async with trio.open_nursery() as nursery:
        print(await nursery.start(controls.port.run), flush=True)

trio.run(main)
"""


def test_a_page_with_controls_knows_a_wrong_token_too(blank: Watched) -> None:
    with subprocess.Popen([sys.executable, "-c", CONTROLS, TOKEN], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            page = blank.page
            page.goto(process.stdout.readline().strip())
            page.fill("#token", "wrong")
            page.keyboard.press("Enter")
            expect(page.locator("dialog")).to_contain_text("That one is not right")
            page.fill("#token", TOKEN)
            page.keyboard.press("Enter")
            page.wait_for_selector("#controls h2")
            expect(page.locator("dialog")).to_have_count(0)
        finally:
            process.kill()


def test_a_token_of_the_address_is_taken_out_of_it(blank: Watched, guarded: str) -> None:
    page = blank.page
    page.goto(f"{guarded}/#token={TOKEN}")
    page.wait_for_selector('.peer[data-role="standalone"]')
    assert page.url == f"{guarded}/"
    expect(page.locator("dialog")).to_have_count(0)
    assert blank.problems == []
