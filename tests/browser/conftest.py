"""A real Chromium that looks at a real ensemble of three processes."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

WITHIN_S = 45
"""For an ensemble to start or stop, on a busy machine; a bound against hanging, no measure."""

WITHIN_MS = 30_000
"""For anything to be seen in the page."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Chromium none of this can be seen."""
    if CHROMIUM is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="there is no chromium on the PATH"))


class Started:
    """A command that runs three peers: a process. ``url`` is the page with the controls, ``hosts`` is for clients."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "trioquorum", *words, "--peers", "3", "--base-port", "0"]
        self._log = (folder / "log").open("wb+")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        self.hosts, self.url = self._read()

    def _read(self) -> tuple[str, str]:
        assert self._process.stdout is not None
        told = ""
        for line in self._process.stdout:
            told += line
            if page := re.search(r"page +(http://\S+)", line):
                hosts = re.search(r"connect to (\S+)", told)
                assert hosts is not None
                return hosts[1], page[1]
        raise AssertionError(f"the ensemble did not start: {told}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(WITHIN_S)
        self._process.stdout.close()
        self._log.close()


class RunningEnsemble(Started):
    """``trioquorum ensemble``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "ensemble", "--data-dir", str(folder / "data"))

    @property
    def peers_file(self) -> Path:
        return self.folder / "data" / "peers.toml"

    def process_of(self, peer: int) -> int:
        """The process id of a peer that runs: a child of the ensemble's, told by its command line."""
        # Trio starts processes in threads of its own, and a child is listed under the thread that made it.
        lists = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        for pid in [pid for children in lists for pid in children.read_text().split()]:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if "--id" in words and words[words.index("--id") + 1] == str(peer):
                return int(pid)
        raise AssertionError(f"peer {peer} does not run")


class Watched:
    """A page, and what must not be in it: errors, and requests to hosts that are not this ensemble's."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(WITHIN_MS)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", self._said)
        page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        # A peer that is down refuses connections; Chromium says so, and the page shows it.
        if message.type in ("error", "warning") and "WebSocket connection to" not in message.text:
            self.problems.append(f"{message.type}: {message.text} at {message.location}")

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)

    def role(self, peer: int) -> str:
        """What the picture says a peer is."""
        return self.page.locator(f'.peer[data-peer="{peer}"]').get_attribute("data-role") or ""

    def wait_role(self, peer: int, role: str) -> None:
        self.page.wait_for_selector(f'.peer[data-peer="{peer}"][data-role="{role}"]')

    def leader(self) -> int:
        """Who leads, once somebody does and serves."""
        found = self.page.wait_for_selector(".peer.role-leading.serving:not(.gone)")
        assert found is not None
        return int(found.get_attribute("data-peer") or 0)

    def order(self, peer: int, what: str) -> None:
        """Press a button of the controls."""
        self.page.click(f'#controls tr[data-peer="{peer}"] button[data-do="{what}"]')

    def mend(self) -> None:
        """Undo what a test before left behind when it failed."""
        self.page.wait_for_selector("#controls tr[data-peer]")
        self.page.evaluate(
            "document.querySelectorAll('#heal:enabled, [data-do=resume]:enabled').forEach((it) => it.click());"
            "document.querySelectorAll('#controls tr[data-peer]').forEach((row) => {"
            "  if (row.textContent.includes('ended')) row.querySelector('[data-do=restart]').click(); });"
        )

    def tab(self, name: str) -> None:
        self.page.click(f"#tab-{name}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEnsemble]:
    """An ensemble for a module. Whoever breaks something mends it."""
    with RunningEnsemble(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def blank(browser: Browser) -> Iterator[Watched]:
    """A page in a context of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    yield Watched(context.new_page())
    context.close()


@pytest.fixture
def opened(blank: Watched, running: RunningEnsemble) -> Iterator[Watched]:
    """The page of a serving ensemble; nothing must have gone wrong in it at the end."""
    blank.page.goto(running.url)
    blank.mend()
    blank.leader()
    for peer in (1, 2, 3):
        blank.page.wait_for_selector(f'.peer[data-peer="{peer}"].serving')
    yield blank
    assert blank.problems == []
