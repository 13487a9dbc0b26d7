"""Takes the README's pictures of the page: an ensemble under a little load, whose leader is killed meanwhile."""

import sys
import tempfile
import threading
from pathlib import Path

from kazoo.client import KazooClient
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import CHROMIUM, RunningEnsemble

LOAD_MS = 25_000
SETTLED_MS = 1500
WRITES_PER_S = 150
SERVICES = ("orders", "payments", "search")


def write(hosts: str, halt: threading.Event) -> None:
    """A little load, through everything that happens."""
    client = KazooClient(hosts=hosts, connection_retry={"max_tries": -1}, command_retry={"max_tries": -1})
    client.start(30)
    for service in SERVICES:
        client.ensure_path(f"/services/{service}/instances")
        client.retry(client.set, f"/services/{service}", b'{"port": 8080, "weight": 3}')
    number = 0
    while not halt.wait(1 / WRITES_PER_S):
        number += 1
        client.retry(client.set, f"/services/{SERVICES[number % 3]}/instances", b"%d" % number)
    client.stop()
    client.close()


def take(page: Page, url: str, folder: Path) -> None:
    """The whole set."""
    page.goto(url)
    leading = page.wait_for_selector(".peer.role-leading.serving")
    assert leading is not None
    leader = leading.get_attribute("data-peer")
    page.click("#tab-charts")
    page.wait_for_timeout(LOAD_MS)
    page.screenshot(path=folder / "charts-light.png")
    page.click(f'#controls tr[data-peer="{leader}"] [data-do="kill"]')
    page.wait_for_selector(f'.peer.role-leading.serving:not([data-peer="{leader}"])')
    page.click("#tab-election")
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=folder / "election-light.png")
    page.click("#theme")
    page.screenshot(path=folder / "election-dark.png")
    page.click(f'#controls tr[data-peer="{leader}"] [data-do="restart"]')
    page.wait_for_selector(f'.peer[data-peer="{leader}"].serving')
    page.click("#tab-tree")
    for path in ("/", "/services", "/services/orders"):
        page.locator(f'.label[data-path="{path}"]').click()
    page.click(".znode button.main")
    page.wait_for_selector(".timeline li:nth-child(6)")
    page.screenshot(path=folder / "tree-dark.png")
    page.click("#theme")
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("#tab-election")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=folder / "phone.png")


def main(folder: Path) -> None:
    """Write ``folder/*.png``."""
    if CHROMIUM is None:
        raise SystemExit("chromium is not on the PATH; install it (apt-get install chromium)")
    halt = threading.Event()
    with (
        tempfile.TemporaryDirectory() as data,
        RunningEnsemble(Path(data)) as running,
        sync_playwright() as playwright,
    ):
        writer = threading.Thread(target=write, args=(running.hosts, halt))
        writer.start()
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            context = browser.new_context(viewport={"width": 1360, "height": 850}, color_scheme="light")
            take(context.new_page(), running.url, folder)
            browser.close()
        finally:
            halt.set()
            writer.join(30)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
