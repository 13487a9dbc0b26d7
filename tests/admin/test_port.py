"""The admin port itself: who is let in, what is refused, files, commands, bounds."""

from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from tests.admin.scene import HOST, OTHER, Scene, answer_of, closed_with, config, frames, until
from trioquorum.admin import static
from trioquorum.admin.commands import prometheus
from trioquorum.admin.settings import AdminSettings, settings_of
from trioquorum.admin.tasks import task_tree
from trioquorum.config import STANDALONE_CLIENT, standalone
from trioquorum.errors import ConfigError

UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
TOKEN = "let-me-in.0123456789"


async def test_the_page_comes_with_a_strict_policy(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        status, head, body = await scene.get("/")
        assert (status, body.startswith(b"<!doctype html>")) == (200, True)
        assert "Content-Type: text/html; charset=utf-8\r\n" in head
        policy = next(line for line in head.splitlines() if line.startswith("Content-Security-Policy: "))
        assert "default-src 'none'; script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "ws://127.0.0.1:8082" in policy
        for header in ("X-Content-Type-Options: nosniff", "X-Frame-Options: DENY", "Referrer-Policy: no-referrer"):
            assert header in head
        tag = next(line.partition(": ")[2] for line in head.splitlines() if line.startswith("ETag: "))
        status, _, body = await scene.get("/", f"If-None-Match: {tag}")
        assert (status, body) == (304, b"")
        status, head, body = await scene.get("/", method="HEAD")
        assert (status, body) == (200, b"")
        assert "Content-Length: 0" not in head
        nursery.cancel_scope.cancel()


async def test_one_connection_may_ask_several_times(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        one = f"GET /peers.json HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        last = f"GET /peers.json HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
        stream = scene.call()
        await stream.send_all(one + one + last)
        answer = b""
        with trio.fail_after(5):
            while more := await stream.receive_some():
                answer += more
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        told = msgspec.json.decode(answer.rpartition(b"\r\n\r\n")[2])
        assert told["self"] == 1
        assert told["controls"] is False
        assert [peer["id"] for peer in told["peers"]] == [1, 2, 3]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "path",
    [
        "/../settings.py",
        "/..%2fsettings.py",
        "/%2e%2e/settings.py",
        "/static/../../settings.py",
        "//etc/passwd.txt",
        "/%2fetc/passwd.txt",
        "/.hidden.txt",
        "/a/.hidden.txt",
        "/secret.txt",
        "/link.txt",
        "/up/settings.txt",
        "/index.html/",
        "/index.html%00.txt",
        "/index.html%0a.txt",
        "/INDEX.HTM",
        "/no-such.js",
        "/index",
        "/a\\..\\b.txt",
    ],
)
async def test_no_path_leads_out_of_the_folder(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "static"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "settings.txt").write_text("secret")
    (folder / "index.html").write_text("page")
    (folder / ".hidden.txt").write_text("secret")
    (folder / "a" / ".hidden.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "settings.txt")
    (folder / "up").symlink_to(tmp_path)
    (folder / "a" / "b.js").write_text("1")
    monkeypatch.setattr(static, "FOLDER", folder)
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        status, _, body = await scene.get(path)
        assert status in (400, 404)
        assert b"secret" not in body
        status, head, body = await scene.get("/a/b.js")
        assert (status, body) == (200, b"1")
        assert "Content-Type: text/javascript" in head
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["evil.example:8081", "", "127.0.0.1:8081;x", "127.0.0.1@evil.example", "[::1"])
async def test_other_names_are_not_ours(tmp_path: Path, host: str) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        assert (await scene.get("/", host=host))[0] in (400, 421)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost:9000", "[::1]:8081", "10.1.2.3:80"])
async def test_numbers_and_localhost_are_ours(tmp_path: Path, host: str) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        assert (await scene.get("/", host=host))[0] == 200
        assert (await scene.get("/", f"Origin: http://{host}", host=host))[0] == 200
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:3000", "file://", OTHER + "/"])
async def test_foreign_pages_are_turned_away(tmp_path: Path, origin: str) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        assert (await scene.get("/commands", f"Origin: {origin}"))[0] == 403
        head = (*UPGRADE, KEY, "Sec-WebSocket-Protocol: trioquorum.feed", f"Origin: {origin}")
        assert (await scene.get("/feed", *head[:1], *head[1:]))[0] in (400, 403)
        assert scene.admin.hub.pages == 0
        async with scene.websocket("/feed", "trioquorum.feed", origin=OTHER) as page:
            await frames(page)
        nursery.cancel_scope.cancel()


async def test_without_the_token_nothing_but_files_is_served(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery, token=TOKEN)
        for path in ("/metrics", "/commands", "/commands/mntr", "/commands/tasks"):
            assert (await scene.get(path))[0] == 401
            assert (await scene.get(path, "Authorization: Bearer nonsense"))[0] == 401
            assert (await scene.get(path, f"Authorization: Bearer {TOKEN}"))[0] in (200, 503)
        status, _, body = await scene.get("/peers.json")
        assert (status, msgspec.json.decode(body)["token"]) == (200, True)
        for path, protocol in (("/feed", "trioquorum.feed"), ("/client", "trioquorum.client")):
            for more in ("", ", token.nonsense", f", {TOKEN}", ", token."):
                answer = await scene.raw(_upgrade(path, protocol + more))
                assert (answer[0], more) == (401, more)
        async with scene.websocket("/feed", "trioquorum.feed", f"token.{TOKEN}") as page:
            assert page.subprotocol == "trioquorum.feed", "the token is not said aloud"
            await frames(page)
        nursery.cancel_scope.cancel()


def _upgrade(path: str, protocol: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", *UPGRADE, KEY, f"Sec-WebSocket-Protocol: {protocol}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nOrigin: a\r\nOrigin: {OTHER}\r\n\r\n".encode(), 400),
        (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello".encode(), 413),
        (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(), 413),
        (f"POST / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(), 405),
        (f"DELETE /commands/ruok HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(), 405),
        (f"GET /feed HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode(), 400),
        (f"GET /{'a' * 20000} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(), 431),
        (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {'a' * 40000}".encode(), 431),
        (f"GET /%ff HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(), 400),
        (_upgrade("/elsewhere", "trioquorum.feed"), 404),
        (_upgrade("/ensemble", "trioquorum.ensemble"), 404),
        (_upgrade("/feed", "something.else"), 400),
        (_upgrade("/feed", "trioquorum.feed").replace(b"Version: 13", b"Version: 8"), 400),
        (_upgrade("/feed", "trioquorum.feed").replace(KEY.encode(), b"Sec-WebSocket-Key: short"), 400),
        (_upgrade("/feed", "trioquorum.feed").replace(b"GET", b"POST"), 400),
    ],
    ids=range(18),
)
async def test_what_makes_no_sense_is_refused(tmp_path: Path, data: bytes, status: int) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery, head_s=1.0)
        assert (await scene.raw(data))[0] == status
        assert scene.admin.port.failures == 0, scene.admin.port.last_failure
        nursery.cancel_scope.cancel()


async def test_who_says_nothing_is_cut(tmp_path: Path, autojump_clock: object) -> None:
    del autojump_clock
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        began = trio.current_time()
        assert await scene.call().receive_some() == b""
        assert trio.current_time() - began == scene.admin.settings.limits.idle_s
        slow = scene.call()
        await slow.send_all(b"GET / HTTP/1.1\r\n")
        began = trio.current_time()
        assert await slow.receive_some() == b""
        assert trio.current_time() - began == scene.admin.settings.limits.head_s
        nursery.cancel_scope.cancel()


async def test_connections_and_pages_are_bounded(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery, connections_max=2, pages_max=1)
        async with scene.websocket("/feed", "trioquorum.feed") as page:
            await frames(page)
            assert (await scene.raw(_upgrade("/feed", "trioquorum.feed")))[0] == 503
            idle = scene.call()
            await idle.send_all(b"GET")
            await trio.testing.wait_all_tasks_blocked()
            assert await answer_of(scene.call()) == (0, "", b"")
            await trio.aclose_forcefully(idle)
        nursery.cancel_scope.cancel()


async def test_a_peer_that_does_not_serve_says_so(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(tmp_path, nursery)
        assert (await scene.get("/commands/ruok"))[0] == 503
        assert (await scene.get("/commands/srst"))[0] == 404
        status, head, body = await scene.get("/metrics")
        assert (status, b"trioquorum_serving 0" in body) == (200, True)
        assert "text/plain; version=0.0.4" in head
        async with scene.websocket("/client", "trioquorum.client") as client:
            assert await closed_with(client) == 1013
        await until(lambda: scene.admin.port.failures == 0)
        nursery.cancel_scope.cancel()


def test_metrics_are_as_prometheus_reads_them() -> None:
    numbers = {"version": "3", "avg_x": 1.5, "min_x": 1, "max_x": 2, "cnt_x": 2, "sum_x": 3, "avg_latency": 0.5, "n": 4}
    lines = prometheus(numbers, {"trioquorum_epoch": 7}).body.decode().splitlines()
    assert "x_count 2" in lines
    assert "x_sum 3" in lines
    assert "# TYPE x summary" in lines
    assert "avg_latency 0.5" in lines
    assert "n 4" in lines
    assert "trioquorum_epoch 7" in lines
    assert not any("version" in line for line in lines)


def test_where_the_port_is(tmp_path: Path) -> None:
    peer = config(tmp_path)
    told = settings_of(peer)
    assert told is not None
    assert (told.host, told.port, told.token) == ("127.0.0.1", 8081, "")
    assert told.origins == {f"http://127.0.0.1:{port}" for port in (8081, 8082, 8083)}
    assert settings_of(standalone(tmp_path, STANDALONE_CLIENT)) is None
    other = settings_of(peer, url="http://[::1]:9", token=TOKEN, origins=("http://x:80",))
    assert other == AdminSettings(
        host="::1", port=9, token=TOKEN, origins=told.origins | {"http://x"}, hosts=frozenset({"127.0.0.1", "::1"})
    )
    with pytest.raises(ConfigError, match="needs a token"):
        settings_of(peer, url="http://0.0.0.0:8081")
    for url in (
        "https://127.0.0.1:1",
        "http://127.0.0.1",
        "http://127.0.0.1:1/x",
        "127.0.0.1:80",
        "http://127.0.0.1:x",
    ):
        with pytest.raises(ConfigError, match="is not like"):
            settings_of(peer, url=url)
    with pytest.raises(ConfigError, match="must be 8 to 256"):
        settings_of(peer, token="short")


async def test_the_nursery_tree_is_bounded() -> None:
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(trio.sleep_forever, name=f"sleeper {number}")
        await trio.testing.wait_all_tasks_blocked()
        whole, cut = task_tree(1000, 64), task_tree(4, 64)
        nursery.cancel_scope.cancel()
    assert whole is not None
    assert cut is not None
    text = msgspec.json.encode(whole).decode()
    assert all(f'"sleeper {number}"' in text for number in range(10))
    assert msgspec.json.encode(cut).count(b'"name"') <= 4
    assert b'"left_out":0}' in msgspec.json.encode(cut)
