"""The views of what peers tell, in a real Chromium: elections explained, charts, tasks and the log of events."""

import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, expect

from tests.admin.test_explaining import STORY, at, begins, changes, elected, hears, looks, serves
from tests.browser.conftest import RunningEnsemble, Watched
from trioquorum.admin.explaining import Heard, elections_of, explain
from trioquorum.events import Event, PeerStopped, StateChanged

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.timeout(180)]

COUNTER_BITS = 32


def frames(story: Sequence[Heard]) -> list[dict[str, Any]]:
    """Events as a feed tells them."""
    return [{"peer": it.peer, "wall_ms": it.wall_ms, "fact": msgspec.to_builtins(it.event)} for it in story]


def in_the_page(page: Page, story: Sequence[Heard]) -> list[dict[str, Any]]:
    """What the page's own modules make of a story: for each election its summary, steps and rounds."""
    found: list[dict[str, Any]] = page.evaluate(
        """async (frames) => {
            const { electionsOf, stepsOf, summaryOf, roundsOf, lifeBefore } = await import("/model/elections.js");
            return electionsOf(frames).map((election) => {
                const steps = stepsOf(election);
                return {
                    summary: summaryOf(election), over: election.over, began_ms: election.began_ms,
                    steps: steps.map(({ frame, text, times, section }) => ({ peer: frame.peer, text, times, section })),
                    rounds: roundsOf(steps).map(({ round, votes, quorums, ignored }) => ({
                        round, quorums, ignored: [...ignored],
                        votes: [...votes].map(([peer, changes]) => [peer, changes.map(({ leader }) => leader)]),
                    })),
                    lives: [...lifeBefore(frames, election)],
                };
            });
        }""",
        frames(story),
    )
    return found


def normal(text: str) -> str:
    """Words of the page as the terminal writes them: zxids in hexadecimal."""

    def hexadecimal(match: re.Match[str]) -> str:
        return f"{int(match[1]) << COUNTER_BITS | int(match[2]):#x}"

    return re.sub(r"(?:zxid )?(?<![\w.:\]-])(\d+):(\d+)(?![\w.:])", hexadecimal, text)


def test_it_tells_a_story_as_the_terminal_does(opened: Watched) -> None:
    (theirs,) = elections_of(STORY)
    (ours,) = in_the_page(opened.page, STORY)
    lead, *lines = explain(theirs)
    assert ours["summary"].lower().removesuffix(".") == lead
    assert ours["over"]
    assert [f"peer {step['peer']}: {normal(step['text'])}" for step in ours["steps"]] == [
        line.partition(" ms  ")[2] for line in lines
    ]


def test_a_story_round_by_round(opened: Watched) -> None:
    (election,) = in_the_page(opened.page, STORY)
    (round_,) = election["rounds"]
    assert round_["round"] == 2
    assert round_["votes"] == [[1, [1, 2]], [2, [2]]]
    assert [(it["peer"], it["leader"], it["voters"], it["wall_ms"]) for it in round_["quorums"]] == [
        (1, 2, [1, 2], 1040),
        (2, 2, [1, 2], 1041),
    ]
    assert round_["ignored"] == [["not a voter", 1]]
    sections = [step["section"] for step in election["steps"]]
    assert sections == ["before", 2, "before", *[2] * 7, "after", "after", "after"]


def test_what_is_heard_again_is_one_step_until_the_vote_changes(opened: Watched) -> None:
    old = hears(2, 2, outcome="ignored: older round")
    told = at(
        (0, 1, looks()),
        (1, 1, begins(1)),
        (2, 1, old),
        (3, 2, PeerStopped(peer=2)),
        (4, 1, old),
        (5, 1, changes(2)),
        (6, 1, old),
    )
    (election,) = in_the_page(opened.page, told)
    heard = [step["times"] for step in election["steps"] if "older round" in step["text"]]
    assert heard == [2, 1]
    assert election["rounds"][0]["ignored"] == [["older round", 3]]


def test_elections_are_told_apart_and_their_causes_are_told(opened: Watched) -> None:
    leads: list[tuple[int, int, Event]] = [
        (0, 1, looks()),
        (0, 2, looks()),
        (10, 1, begins(1)),
        (11, 2, begins(2)),
        (40, 1, elected()),
        (41, 2, elected()),
        (50, 2, serves("leader")),
        (52, 1, serves("follower")),
    ]
    again = [(ms + 500, peer, event) for ms, peer, event in leads]
    late = [(700 + 60, 3, StateChanged(old="starting", new="looking", reason="the peer starts"))]
    told = at(*leads, (490, 3, PeerStopped(peer=3)), *again, *late)
    first, second = in_the_page(opened.page, told)
    assert second["steps"][0]["text"] == "has stopped in order"
    assert second["began_ms"] == 500
    assert first["lives"] == []
    assert sorted(second["lives"]) == [[1, "serving"], [2, "serving"]]
    assert first["over"]
    assert not second["over"]


def said(page: Page) -> set[str]:
    """Every step of the election that is shown, but what the page saw itself."""
    told: list[list[str]] = page.eval_on_selector_all(
        '.step:not([data-event^="page_"])',
        """(all) => all.map((it) => {
            const words = [...it.childNodes].slice(2).filter((node) => !node.classList?.contains("dim"));
            return [it.querySelector(".who").textContent, words.map((node) => node.textContent).join("")];
        })""",
    )
    return {f"{who}: {normal(text).strip()}" for who, text in told}


def test_a_real_election_is_explained_as_in_the_terminal(opened: Watched, running: RunningEnsemble) -> None:
    page = opened.page
    old = opened.leader()
    opened.order(old, "kill")
    page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{old}"])')
    new = opened.leader()
    survivor = next(peer for peer in (1, 2, 3) if peer not in (old, new))
    page.wait_for_selector(f'.peer[data-peer="{survivor}"].serving')
    opened.tab("election")
    page.check("#every-step")
    expect(page.locator(".election-summary")).to_contain_text(f"peer {new} was elected in round")
    expect(page.locator(".facts")).to_contain_text("needs 2 of 3 votes")
    expect(page.locator(".quorum li")).to_have_count(2)
    expect(page.locator(".votes li", has_text=f"peer {survivor}").last).to_contain_text(str(new))
    expect(page.locator(".tally").last).to_contain_text(f"for peer {new}")
    expect(page.locator('.sequence [data-step][role="option"]').first).to_be_attached()

    command = [sys.executable, "-m", "trioquorum", "explain", "--peers", str(running.peers_file), "--last", "9"]
    terminal = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    lines = {line.partition(" ms  ")[2].strip() for line in terminal.splitlines()}
    steps = said(page)
    assert len(steps) > 10
    assert steps - lines == set()

    opened.order(old, "restart")
    page.wait_for_selector(f'.peer[data-peer="{old}"].serving')


def test_one_steps_through_the_sequence_and_sees_the_moment(opened: Watched) -> None:
    page = opened.page
    opened.tab("election")
    expect(page.locator(".sequence .seq-elected").first).to_be_attached()
    expect(page.locator("#show-moment")).to_be_disabled()
    page.focus(".sequence")
    page.keyboard.press("End")
    last = page.get_attribute(".sequence", "aria-activedescendant")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    second = page.get_attribute(".sequence", "aria-activedescendant")
    assert second is not None
    assert second != last
    picked = page.locator(f'.sequence [id="{second}"]')
    expect(picked).to_have_attribute("aria-selected", "true")
    expect(page.locator('.sequence [aria-selected="true"]')).to_have_count(1)
    words = page.locator(".picked").inner_text()
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} peer \d ", words)
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_contain_text("In the past")
    expect(page.locator(f'.sequence [id="{last}"]')).to_have_class(re.compile(r"\blater\b"))
    expect(picked).not_to_have_class(re.compile(r"\blater\b"))
    page.click("#live")
    expect(page.locator(".sequence .later")).to_have_count(0)
    page.locator(".step").last.click()
    expect(page.locator(".step.is-picked")).to_have_count(1)


def test_elections_are_looked_through(opened: Watched) -> None:
    page = opened.page
    opened.tab("election")
    old = opened.leader()
    opened.order(old, "kill")
    page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{old}"])')
    opened.order(old, "restart")
    page.wait_for_selector(f'.peer[data-peer="{old}"].serving')
    expect(page.locator("#which option").nth(1)).to_be_attached()
    newest = page.input_value("#which")
    page.get_by_role("button", name="The election before").click()
    before = page.input_value("#which")
    assert int(before) < int(newest)
    page.get_by_role("button", name="The election after").click()
    expect(page.locator("#which")).to_have_value(newest)


def test_a_pointer_in_one_chart_points_in_all(opened: Watched) -> None:
    page = opened.page
    opened.tab("charts")
    expect(page.locator(".chart", has_text="Watches").locator(".readout")).to_contain_text("2:")
    page.locator(".chart", has_text="Sessions").locator("canvas").focus()
    page.keyboard.press("ArrowLeft")
    when = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} ")
    for title in ("Transactions", "Sessions", "Event loop late"):
        expect(page.locator(".chart", has_text=title).locator(".readout").first).to_have_text(when)
    page.keyboard.press("Escape")
    expect(page.locator(".chart", has_text="Sessions").locator(".readout")).not_to_have_text(when)
    label = page.locator(".chart", has_text="Sessions").locator("canvas").get_attribute("aria-label") or ""
    assert re.search(r"peer 1: \d+, peer 2: \d+, peer 3: \d+", label)
    dashes = page.eval_on_selector_all(
        ".chart-key path", "(all) => all.map((it) => it.getAttribute('stroke-dasharray'))"
    )
    assert len(set(dashes)) == len(dashes) == 3


def test_what_was_folded_stays_folded(opened: Watched) -> None:
    page = opened.page
    opened.tab("tasks")
    tree = page.locator('.task-tree[data-peer="1"]')
    expect(tree.locator("code", has_text="LogWriter.run")).to_be_visible()
    tree.locator("summary").first.click()
    expect(tree.locator("code", has_text="LogWriter.run")).to_be_hidden()
    page.fill('[aria-label="Find a task by its name"]', "logwriter")  # draws all anew
    expect(page.locator('.task-tree[data-peer="2"] code.found')).to_have_text("LogWriter.run")
    expect(tree.locator("code", has_text="LogWriter.run")).to_be_hidden()


def test_the_log_is_filtered(opened: Watched) -> None:
    page = opened.page
    opened.tab("events")
    rows = page.locator(".log tbody tr")
    expect(page.locator('.log [data-event="established"]').first).to_be_visible()
    expect(page.locator('.log [data-event="vote_heard"]')).to_have_count(0)
    page.get_by_label("votes heard").check()
    expect(page.locator('.log [data-event="vote_heard"]').first).to_contain_text("hears that peer")
    page.select_option('[aria-label="Peer"]', "2")
    assert set(page.eval_on_selector_all(".log .who", "(all) => all.map((it) => it.textContent)")) == {"peer 2"}
    page.fill('[aria-label="Filter by words"]', "ELECTED in round")
    expect(page.locator('.log tbody tr:not([data-event="elected"])')).to_have_count(0)
    expect(rows.first).to_contain_text("a quorum agrees")
    zxid = page.locator(".log .told-zxid")
    page.fill('[aria-label="Filter by words"]', "serves as follower")
    page.select_option('[aria-label="Peer"]', "")
    expect(zxid.first).to_have_attribute("title", re.compile("^0x[0-9a-f]+$"))
    page.locator(".log .when").first.click()
    expect(page.locator("#summary")).to_contain_text("In the past")
    page.click("#live")
    page.check("#only-warnings")
    page.fill('[aria-label="Filter by words"]', "nothing says this")
    expect(rows).to_have_count(0)


def test_text_of_peers_is_text(opened: Watched) -> None:
    """Reasons come from other machines: whatever is in them, they are shown and are no HTML."""
    told = opened.page.evaluate(
        """async () => {
            const { told } = await import("/views/told.js");
            const { sentence } = await import("/model/words.js");
            const place = document.createElement("p");
            const reason = "<img src=x onerror=alert(1)> at tcp://10.0.0.1:2181, [::1]:2888, zxid 3:17";
            place.append(...told(sentence({ event: "link_down", kind: "quorum", peer: 2, reason })));
            const strange = sentence({ event: "constructor", text: "<b>" });
            const titles = [...place.querySelectorAll("*")].map((it) => [it.localName, it.title]);
            return [place.textContent, titles, strange];
        }"""
    )
    assert told == [
        "quorum link with peer 2 ended: <img src=x onerror=alert(1)> at tcp://10.0.0.1:2181, [::1]:2888, zxid 3:17",
        [["span", "0x300000011"]],
        "constructor: text <b>",
    ]
