"""The tree browser is a client like any other: ACLs hold, watches fire, and what is text stays text."""

from collections.abc import Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl
from playwright.sync_api import expect

from tests.browser.conftest import WITHIN_MS, RunningEnsemble, Watched

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.timeout(180)]


@pytest.fixture
def client(running: RunningEnsemble) -> Iterator[Any]:
    client = KazooClient(hosts=running.hosts)
    client.start(30)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def tree(opened: Watched) -> Watched:
    """The tree browser with its session."""
    opened.tab("tree")
    expect(opened.page.locator(".view-tree [role=status]")).to_contain_text("session 0x")
    return opened


def choose(tree: Watched, path: str) -> None:
    """Open everything on the way to a znode, and choose it."""
    parts = path.strip("/").split("/")
    tree.page.click('.label[data-path="/"]')
    for depth in range(1, len(parts) + 1):
        tree.page.locator(f'.label[data-path="/{"/".join(parts[:depth])}"]').click()
    expect(tree.page.locator(".znode h2")).to_have_text(path)


def test_a_znode_is_created_changed_followed_and_deleted(tree: Watched, client: Any) -> None:
    page = tree.page
    page.click('.label[data-path="/"]')
    page.fill(".child-name", "made")
    page.fill('[aria-label="Data of the child"]', "by the page")
    page.click(".creation button")
    choose(tree, "/made")
    client.sync("/made")
    assert client.get("/made")[0] == b"by the page"
    expect(page.locator(".data")).to_have_value("by the page")
    created = page.locator(".follow h3").inner_text()
    page.fill(".data", "and changed")
    page.click(".znode button.main")
    expect(page.locator(".follow h3")).not_to_have_text(created)
    expect(page.locator(".timeline li")).to_have_count(6)  # sent, proposed, three commits, replied
    kinds = page.eval_on_selector_all(".timeline li", "(all) => all.map((it) => it.dataset.kind)")
    assert kinds[0] == "sent"
    assert sorted(kinds) == sorted(["sent", "proposed", "committed", "committed", "committed", "replied"])
    client.sync("/made")
    assert client.get("/made")[0] == b"and changed"
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".znode")).to_contain_text("/made is deleted")
    client.sync("/")
    assert client.exists("/made") is None


def test_a_watched_znode_is_seen_to_change(tree: Watched, client: Any) -> None:
    page = tree.page
    client.create("/watched", b"one")
    choose(tree, "/watched")
    page.get_by_role("button", name="Watch").click()
    expect(page.get_by_role("button", name="Watched")).to_be_visible()
    for data in ("two", "three"):
        client.set("/watched", data.encode())
        expect(page.locator(".data")).to_have_value(data)
    expect(page.locator(".watch-news li")).to_have_count(2)
    client.create("/watched/child", b"")
    expect(page.locator(".watch-news li").first).to_contain_text("has other children")
    client.delete("/watched", recursive=True)
    expect(page.locator(".znode")).to_contain_text("there is no such node")


def test_an_acl_refuses_until_the_right_login(tree: Watched, client: Any) -> None:
    page = tree.page
    client.add_auth("digest", "ann:secret")
    client.create("/private", b"for ann only", acl=[make_digest_acl("ann", "secret", all=True)])
    choose(tree, "/private")
    expect(page.locator(".znode .problem")).to_contain_text("no permission")
    assert "for ann only" not in page.content()
    page.fill("#login", "ann:secret")
    page.keyboard.press("Enter")
    expect(page.locator(".data")).to_have_value("for ann only")
    client.delete("/private")


def test_the_session_goes_on_at_another_peer(tree: Watched) -> None:
    page = tree.page
    status = page.locator(".view-tree [role=status]")
    said = status.inner_text()
    session, peer = said.split()[1], int(said.split()[-1])
    tree.order(peer, "kill")
    expect(status).not_to_contain_text(f"at peer {peer}")
    expect(status).to_contain_text(f"session {session} at peer")
    tree.order(peer, "restart")
    page.wait_for_selector(f'.peer[data-peer="{peer}"].serving')


def test_a_peer_that_stands_still_is_left_before_the_session_expires(tree: Watched, client: Any) -> None:
    page = tree.page
    client.add_auth("digest", "ben:secret")
    client.create("/kept", b"for ben only", acl=[make_digest_acl("ben", "secret", all=True)])
    page.fill("#login", "ben:secret")
    page.keyboard.press("Enter")
    choose(tree, "/kept")
    page.get_by_role("button", name="Watch").click()
    expect(page.get_by_role("button", name="Watched")).to_be_visible()
    status = page.locator(".view-tree [role=status]")
    said = status.inner_text()
    session, peer = said.split()[1], int(said.split()[-1])
    tree.order(peer, "pause")
    expect(status).not_to_contain_text(f"at peer {peer}", timeout=WITHIN_MS)
    expect(status).to_contain_text(f"session {session} at peer", timeout=WITHIN_MS)
    # The login and the watch went along.
    client.retry(client.set, "/kept", b"still for ben")
    expect(page.locator(".data")).to_have_value("still for ben", timeout=WITHIN_MS)
    tree.order(peer, "resume")
    page.wait_for_selector(f'.peer[data-peer="{peer}"].serving:not(.gone)')
    client.retry(client.delete, "/kept")


MARKUP = "<img src=x onerror=document.title='owned'>"


def test_markup_in_names_and_data_is_text(tree: Watched, client: Any) -> None:
    page = tree.page
    client.create(f"/{MARKUP}", f"<script>document.title='owned'</script>{MARKUP}".encode())
    page.click('.label[data-path="/"]')
    label = page.locator(".znodes .label", has_text="<img src=x")
    expect(label).to_have_text(MARKUP)
    label.click()
    expect(page.locator(".znode h2")).to_have_text(f"/{MARKUP}")
    expect(page.locator(".data")).to_have_value(f"<script>document.title='owned'</script>{MARKUP}")
    page.get_by_role("button", name="Watch").click()
    client.set(f"/{MARKUP}", b"\x00\xff\xfe")
    expect(page.locator(".watch-news li").first).to_contain_text(MARKUP)
    expect(page.locator(".data")).to_have_value("00 ff fe")
    assert page.title() == "trioquorum"
    assert page.locator("img[src=x]").count() == 0
    client.delete(f"/{MARKUP}")
