"""The page of ``trioquorum simulate --live``: peers in one process, shown and broken like those of an ensemble."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Started, Watched

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.timeout(180)]


@pytest.fixture
def simulated(tmp_path: Path, blank: Watched) -> Iterator[Watched]:
    """The page of a simulation that serves; nothing must have gone wrong in it at the end."""
    with Started(tmp_path, "simulate", "--live") as started:
        blank.page.goto(started.url)
        blank.leader()
        yield blank
    assert blank.problems == []


def test_a_killed_leader_and_the_next_one(simulated: Watched) -> None:
    page = simulated.page
    simulated.tab("election")
    old = simulated.leader()
    simulated.order(old, "kill")
    simulated.wait_role(old, "unreachable")
    expect(page.locator(f'#controls tr[data-peer="{old}"] .state')).to_have_text("✕ ended")
    page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{old}"])')
    new = simulated.leader()
    assert new != old
    expect(page.locator(".election-summary")).to_contain_text(f"peer {new} was elected in round")
    expect(page.locator("#summary")).to_contain_text("2 of 3 peers serve")
    simulated.order(old, "restart")
    page.wait_for_selector(f'.peer[data-peer="{old}"].serving')
    expect(page.locator("#summary")).to_contain_text("3 of 3 peers serve")


def test_a_paused_peer_and_a_partition(simulated: Watched) -> None:
    page = simulated.page
    leader = simulated.leader()
    simulated.order(leader, "pause")
    simulated.wait_role(leader, "paused")
    page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{leader}"])')
    simulated.order(leader, "resume")
    page.wait_for_selector(f'.peer[data-peer="{leader}"][data-role="following"].serving')
    page.check(f'input[name="side-{leader}"][value="1"]')
    page.click("#partition")
    expect(page.locator(".links .cross")).to_have_count(2)
    simulated.wait_role(leader, "looking")
    page.click("#heal")
    expect(page.locator(".links .cross")).to_have_count(0)
    page.wait_for_selector(f'.peer[data-peer="{leader}"].serving')


def test_writes_are_seen_without_anybody_writing(simulated: Watched) -> None:
    shown = simulated.page.locator(f'.peer[data-peer="{simulated.leader()}"] .zxid')
    expect(shown).to_have_text(re.compile(r"zxid 1:\d+"))
    before = shown.text_content()
    assert before is not None
    expect(shown).not_to_have_text(before)
