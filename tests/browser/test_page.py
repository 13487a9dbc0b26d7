"""The page in a real Chromium: it loads, shows elections and partitions, looks back, keeps and opens recordings."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import WITHIN_MS, RunningEnsemble, Watched

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.timeout(180)]

ELECTION_WITHIN_MS = 20_000
"""From the kill of the leader until the page shows the next one. It takes well under a second on a quiet machine."""


def test_it_loads_without_an_error_and_asks_no_other_host(opened: Watched) -> None:
    page = opened.page
    expect(page.locator("#summary")).to_contain_text("3 of 3 peers serve")
    for tab in ("election", "charts", "tree", "tasks", "events"):
        opened.tab(tab)
        expect(page.locator(f".view-{tab}")).to_be_visible()
    assert {urlsplit(url).hostname for url in opened.requests} == {"127.0.0.1"}
    assert all(urlsplit(url).scheme in ("http", "ws") for url in opened.requests)
    opened.tab("election")
    expect(page.locator(".election-summary")).to_contain_text("was elected in round")
    expect(page.locator(".sequence .seq-vote_heard").first).to_be_attached()


def test_it_is_read_by_keyboard(opened: Watched) -> None:
    page = opened.page
    page.focus("#tab-election")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-charts")).to_be_focused()
    expect(page.locator("#tab-charts")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#tab-election")).to_have_attribute("aria-selected", "true")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, textarea')]"
        ".filter((it) => !it.hidden && !it.textContent && !it.labels?.length && !it.ariaLabel)"
        ".map((it) => it.outerHTML)"
    )
    assert unnamed == []


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(opened: Watched, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 780})
    for tab in ("election", "charts", "tree", "tasks", "events"):
        opened.tab(tab)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_takes_the_colours_that_are_preferred_and_lets_one_choose(
    blank: Watched, running: RunningEnsemble, scheme: str
) -> None:
    blank.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    blank.page.goto(running.url)
    expect(blank.page.locator("html")).to_have_attribute("data-theme", scheme)
    blank.page.click("#theme")
    expect(blank.page.locator("html")).to_have_attribute("data-theme", "light" if scheme == "dark" else "dark")


def test_a_killed_leader_and_the_election_after_it(opened: Watched) -> None:
    page = opened.page
    opened.tab("election")
    old = opened.leader()
    opened.order(old, "kill")
    opened.wait_role(old, "unreachable")
    page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{old}"])', timeout=ELECTION_WITHIN_MS)
    new = opened.leader()
    assert new != old
    expect(page.locator(".election-summary")).to_contain_text(f"peer {new} was elected in round")
    expect(page.locator('.step[data-event="vote_heard"]').first).to_contain_text("hears that peer")
    expect(page.locator('.step[data-event="elected"]').first).to_contain_text(f"peer {new} is elected")
    expect(page.locator("#summary")).to_contain_text("2 of 3 peers serve")
    opened.order(old, "restart")
    page.wait_for_selector(f'.peer[data-peer="{old}"].serving')


def test_a_leader_whose_process_dies(tmp_path: Path, blank: Watched) -> None:
    """Nobody asked the ensemble for it: the process is gone from one moment to the next."""
    page = blank.page
    with RunningEnsemble(tmp_path) as running:
        page.goto(running.url)
        old = blank.leader()
        os.kill(running.process_of(old), signal.SIGKILL)
        blank.wait_role(old, "unreachable")
        page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{old}"])', timeout=ELECTION_WITHIN_MS)
        blank.tab("election")
        new = blank.leader()
        expect(page.locator(".election-summary")).to_contain_text(f"peer {new} was elected in round")
        expect(page.locator("#summary")).to_contain_text("2 of 3 peers serve")
    assert blank.problems == []


def test_a_paused_peer_is_shown(opened: Watched) -> None:
    follower = next(peer for peer in (1, 2, 3) if opened.role(peer) == "following")
    opened.order(follower, "pause")
    opened.wait_role(follower, "paused")
    opened.order(follower, "resume")
    opened.page.wait_for_selector(f'.peer[data-peer="{follower}"].serving:not(.gone)')


def test_a_partition_is_drawn_and_healed(opened: Watched) -> None:
    page = opened.page
    leader = opened.leader()
    others = [peer for peer in (1, 2, 3) if peer != leader]
    page.check(f'input[name="side-{leader}"][value="1"]')
    page.click("#partition")
    for other in others:
        page.wait_for_selector(f'[data-cut="{min(leader, other)}-{max(leader, other)}"]', state="attached")
    expect(page.locator(".links .cross")).to_have_count(2)
    opened.wait_role(leader, "looking")
    page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{leader}"])')
    page.click("#heal")
    expect(page.locator(".links .cross")).to_have_count(0)
    page.wait_for_selector(f'.peer[data-peer="{leader}"].serving')


def test_looking_back_and_a_recording(opened: Watched, running: RunningEnsemble, tmp_path: Path) -> None:
    page = opened.page
    old = opened.leader()
    opened.order(old, "kill")
    page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{old}"])')
    new = opened.leader()
    opened.order(old, "restart")
    page.wait_for_selector(f'.peer[data-peer="{old}"].serving')
    opened.tab("events")
    died_ms = page.evaluate("Number(document.querySelector('#scrub').max)")

    def look_back(until_leader: int) -> None:
        """Step back until somebody led."""
        newest, oldest = died_ms, page.evaluate("Number(document.querySelector('#scrub').min)")
        at = newest
        while at > oldest and opened.page.locator(f'.peer[data-peer="{until_leader}"].role-leading').count() == 0:
            at -= 100
            page.evaluate(
                """(at) => { const bar = document.querySelector('#scrub'); bar.value = at;
                             bar.dispatchEvent(new Event('input')); }""",
                at,
            )
            page.wait_for_timeout(20)
        expect(page.locator(f'.peer[data-peer="{until_leader}"]')).to_have_attribute("data-role", "leading")

    look_back(old)
    expect(page.locator("#summary")).to_contain_text(f"In the past: peer {old} leads")
    page.click("#live")
    expect(page.locator("#summary")).to_contain_text(f"peer {new} leads")

    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "live.rec")
    page.set_input_files("#recording", tmp_path / "live.rec")
    expect(page.locator("#summary")).to_contain_text("Recording: live,")
    expect(page.locator("#controls")).to_be_hidden()
    look_back(old)
    page.click("#play")
    expect(page.locator("#play")).to_contain_text("Stop")
    page.wait_for_selector(f'.peer[data-peer="{new}"].role-leading')


def test_a_recording_of_a_simulation_opens(opened: Watched, tmp_path: Path) -> None:
    page = opened.page
    command = [sys.executable, "-m", "trioquorum", "simulate", "--seed", "7", "--record", str(tmp_path / "seven.rec")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    page.set_input_files("#recording", tmp_path / "seven.rec")
    expect(page.locator("#summary")).to_contain_text("Recording: seed 7")
    opened.tab("election")
    expect(page.locator(".election-summary")).to_contain_text("was elected in round")
    opened.tab("events")
    expect(page.locator(".log tbody tr").first).to_be_visible()


def test_what_is_no_recording_is_said(opened: Watched, tmp_path: Path) -> None:
    (tmp_path / "wrong.rec").write_bytes(b"\x93\x01\x02")
    opened.page.set_input_files("#recording", tmp_path / "wrong.rec")
    expect(opened.page.locator(".toast")).to_contain_text("That file cannot be opened")
    assert opened.leader()


def test_charts_read_out_what_is_under_the_pointer(opened: Watched) -> None:
    page = opened.page
    opened.tab("charts")
    chart = page.locator(".chart", has_text="Sessions")
    expect(chart.locator(".readout")).to_contain_text("3:")
    chart.locator("canvas").focus()
    page.keyboard.press("ArrowRight")
    expect(chart.locator(".readout")).to_contain_text(":", timeout=WITHIN_MS)


def test_the_tasks_of_every_peer(opened: Watched) -> None:
    opened.tab("tasks")
    for peer in (1, 2, 3):
        expect(opened.page.locator(f'.task-tree[data-peer="{peer}"]')).to_contain_text("LogWriter.run")
