"""What the page makes of a feed with gaps, and of somebody who wants less motion."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import WebSocketRoute, expect

from tests.browser.conftest import Started, Watched
from trioquorum.admin.feed import EventFrame, frames_of

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.timeout(180)]


class Leaky:
    """All feeds go through here; while ``leaks`` their events are lost on the way, and nothing else is."""

    def __init__(self, watched: Watched) -> None:
        self.leaks = False
        self.lost: set[str] = set()
        watched.page.route_web_socket("**/feed", self._route)

    def _route(self, page_end: WebSocketRoute) -> None:
        peer_end = page_end.connect_to_server()

        def passed(message: str | bytes) -> None:
            assert isinstance(message, bytes)
            events = {frame.fact["event"] for frame in frames_of(message) if isinstance(frame, EventFrame)}
            if self.leaks and events:
                self.lost |= events
            else:
                page_end.send(message)

        peer_end.on_message(passed)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with Started(tmp_path_factory.mktemp("gaps"), "simulate", "--live") as running:
        yield running


def test_what_was_lost_on_the_way_is_asked_for_again(blank: Watched, started: Started) -> None:
    leaky = Leaky(blank)
    page = blank.page
    page.goto(started.url)
    leader = blank.leader()
    struck = next(peer for peer in (1, 2, 3) if peer != leader)
    blank.tab("events")
    page.select_option(".view-events select", str(leader))
    left = page.locator('.log [data-event="learner_left"]')
    synced = page.locator('.log [data-event="learner_synced"]')
    expect(synced).not_to_have_count(0)
    lefts, syncs = left.count(), synced.count()
    leaky.leaks = True
    blank.order(struck, "kill")
    blank.wait_role(struck, "unreachable")
    blank.order(struck, "restart")
    while not leaky.lost >= {"learner_left", "learner_synced"}:
        page.wait_for_timeout(50)
    assert (left.count(), synced.count()) == (lefts, syncs), "the page was told nothing"
    leaky.leaks = False
    blank.order(struck, "kill")  # whose events show that there were others before
    expect(left).to_have_count(lefts + 2)
    expect(synced).to_have_count(syncs + 1)
    blank.order(struck, "restart")
    expect(synced).to_have_count(syncs + 2)
    assert blank.problems == []


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_who_wants_less_motion(blank: Watched, started: Started, motion: str) -> None:
    page = blank.page
    page.emulate_media(reduced_motion="reduce" if motion == "reduce" else "no-preference")
    page.goto(started.url)
    leader = blank.leader()
    page.evaluate(
        "() => { window.flew = 0; new MutationObserver((seen) => { for (const { addedNodes } of seen)"
        " for (const node of addedNodes) window.flew += node.classList?.contains('flight') ?? false; })"
        ".observe(document.querySelector('#picture'), { childList: true, subtree: true }); }"
    )
    page.locator("#picture").get_by_label("transactions").check()
    zxid = page.locator(f'.peer[data-peer="{leader}"] .zxid')
    seen = zxid.text_content() or ""
    expect(zxid).not_to_have_text(seen)
    other = next(peer for peer in (1, 2, 3) if peer != leader)
    blank.order(other, "restart")  # it looks: votes come and go, and its frame would turn
    page.wait_for_selector(f'.peer[data-peer="{other}"].serving')
    moves = page.evaluate("document.getAnimations().length")
    if motion == "reduce":
        assert (page.evaluate("window.flew"), moves) == (0, 0)
    else:
        page.wait_for_function("window.flew > 0")
    assert blank.problems == []
