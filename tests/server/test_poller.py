"""One epoll for many tasks: who is called back, when a round ends, whose an error is, and who goes on."""

import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioquorum import poller
from trioquorum.poller import Watch, watching


class Pipe:
    """Two ends of a socket; whoever watches ``here`` is called back when something was sent from ``there``."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.fd = self.here.fileno()

    def send(self) -> None:
        self.there.send(b"x")

    def take(self) -> None:
        self.here.recv(100)


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    made = [Pipe(), Pipe(), Pipe()]
    yield made
    for pipe in made:
        pipe.here.close()
        pipe.there.close()


class Owner:
    """A task with a watch of its own for one pipe."""

    def __init__(self, pipe: Pipe, said: list[str], name: str, flush: Callable[[], None] | None = None) -> None:
        self.pipe = pipe
        self.scope = trio.CancelScope()
        self.ended = ""
        self.action: Callable[[], None] = lambda: None
        self.watch: Watch
        self._said = said
        self._name = name
        self._flush = flush or (lambda: said.append(f"{name} flushes"))

    async def run(self) -> None:
        try:
            with self.scope, watching(self._flush) as self.watch:
                self.watch.add(self.pipe.fd, select.EPOLLIN, self._ready)
                await self.watch.run()
                self.ended = "stopped"
            self.ended = self.ended or "cancelled"
        except ValueError as error:
            self.ended = str(error)

    def _ready(self, mask: int) -> None:
        del mask
        self.pipe.take()
        self._said.append(self._name)
        self.action()


def fail() -> None:
    raise ValueError("broken")


async def test_a_round_ends_with_one_flush_of_whoever_shares_it(nursery: trio.Nursery, pipes: list[Pipe]) -> None:
    said: list[str] = []

    def flush() -> None:
        said.append("flush")

    owners = [Owner(pipe, said, name, flush) for pipe, name in zip(pipes, "abc", strict=True)]
    for owner in owners:
        nursery.start_soon(owner.run)
    await wait_all_tasks_blocked()
    pipes[0].send()
    pipes[1].send()
    await wait_all_tasks_blocked(0.01)
    assert sorted(said[:2]) == ["a", "b"]
    assert said[2:] == ["flush"]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("first", [0, 1], ids=["who drives", "who is parked"])
async def test_an_error_ends_its_owner_only_and_the_others_go_on(
    nursery: trio.Nursery, pipes: list[Pipe], first: int
) -> None:
    said: list[str] = []
    owners = [Owner(pipe, said, name) for pipe, name in zip(pipes, "abc", strict=True)]
    for owner in owners:
        nursery.start_soon(owner.run)
        await wait_all_tasks_blocked()
    failing, other = owners[first], owners[1 - first]
    failing.action = fail
    failing.pipe.send()
    await wait_all_tasks_blocked(0.01)
    assert failing.ended == "broken"
    # What came up before the error leaves all the same.
    assert said[1].endswith("flushes")
    del said[:]
    failing.pipe.send()
    other.pipe.send()
    await wait_all_tasks_blocked(0.01)
    assert len(said) == 2
    assert not other.ended
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("first", [0, 1], ids=["who drives", "who is parked"])
async def test_whoever_is_cancelled_is_not_called_back_any_more(
    nursery: trio.Nursery, pipes: list[Pipe], first: int
) -> None:
    said: list[str] = []
    owners = [Owner(pipe, said, name) for pipe, name in zip(pipes, "abc", strict=True)]
    for owner in owners:
        nursery.start_soon(owner.run)
        await wait_all_tasks_blocked()
    cancelled, other = owners[first], owners[1 - first]
    cancelled.scope.cancel()
    cancelled.pipe.send()
    other.pipe.send()
    await wait_all_tasks_blocked(0.01)
    assert cancelled.ended == "cancelled"
    assert [word for word in said if "flushes" not in word] == ["ab"[1 - first]]
    nursery.cancel_scope.cancel()


async def test_who_is_cancelled_by_a_callback_is_not_called_in_the_same_round(
    nursery: trio.Nursery, pipes: list[Pipe]
) -> None:
    said: list[str] = []
    a, b, c = (Owner(pipe, said, name, said.clear) for pipe, name in zip(pipes, "abc", strict=True))
    called: list[str] = []
    for owner in (c, a, b):  # c drives
        nursery.start_soon(owner.run)
        await wait_all_tasks_blocked()

    def cancel_other() -> None:
        called.append("a")
        b.scope.cancel()

    a.action = cancel_other
    b.action = lambda: called.append("b")
    a.pipe.send()  # what was ready first is called back first
    b.pipe.send()
    await wait_all_tasks_blocked(0.01)
    assert called == ["a"]
    assert b.ended == "cancelled"
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("place", [0, 1], ids=["who drives", "who is parked"])
async def test_a_watch_can_be_stopped_by_any_task(nursery: trio.Nursery, pipes: list[Pipe], place: int) -> None:
    said: list[str] = []
    owners = [Owner(pipe, said, name) for pipe, name in zip(pipes, "abc", strict=True)]
    for owner in owners:
        nursery.start_soon(owner.run)
        await wait_all_tasks_blocked()
    owners[place].watch.stop()
    owners[place].pipe.send()
    owners[1 - place].pipe.send()
    await wait_all_tasks_blocked(0.01)
    assert owners[place].ended == "stopped"
    assert said[0] == "ab"[1 - place]
    assert len(said) == 2
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("place", [0, 1], ids=["who drives", "who is parked"])
async def test_who_was_stopped_learns_of_an_error_in_the_flush(
    nursery: trio.Nursery, pipes: list[Pipe], place: int
) -> None:
    owners = [Owner(pipe, [], "a", fail) for pipe in pipes]
    for owner in owners:
        nursery.start_soon(owner.run)
        await wait_all_tasks_blocked()
    owners[place].action = owners[place].watch.stop
    owners[place].pipe.send()
    await wait_all_tasks_blocked(0.01)
    assert [owner.ended for owner in owners] == ["broken" if at == place else "" for at in range(3)]
    nursery.cancel_scope.cancel()


async def test_who_is_to_drive_may_be_stopped_before(nursery: trio.Nursery, pipes: list[Pipe]) -> None:
    said: list[str] = []
    owners = [Owner(pipe, said, name) for pipe, name in zip(pipes, "abc", strict=True)]
    for owner in owners:
        nursery.start_soon(owner.run)
        await wait_all_tasks_blocked()

    owners[0].action = owners[0].watch.stop
    owners[0].pipe.send()
    while not owners[0].ended:
        await trio.lowlevel.checkpoint()
    owners[1].watch.stop()
    await wait_all_tasks_blocked()
    owners[2].pipe.send()
    await wait_all_tasks_blocked(0.01)
    assert "c" in said
    nursery.cancel_scope.cancel()


async def test_an_error_is_told_though_its_owner_was_cancelled_meanwhile(
    nursery: trio.Nursery, pipes: list[Pipe]
) -> None:
    said: list[str] = []
    driver, owner = Owner(pipes[0], said, "driver"), Owner(pipes[1], said, "owner", fail)
    for each in (driver, owner):
        nursery.start_soon(each.run)
        await wait_all_tasks_blocked()
    owner.action = owner.scope.cancel
    owner.pipe.send()
    await wait_all_tasks_blocked(0.01)
    assert owner.ended == "broken"
    nursery.cancel_scope.cancel()


async def test_more_to_do_is_done_in_the_next_round_beside_what_the_others_have(
    nursery: trio.Nursery, pipes: list[Pipe]
) -> None:
    said: list[str] = []
    greedy, other = Owner(pipes[0], said, "greedy"), Owner(pipes[1], said, "other")
    left = 1000

    def more() -> None:
        nonlocal left
        left -= 1
        if left == 990:
            pipes[1].send()
        if left:
            pipes[0].there.send(b"x")  # or taking would fail
            greedy.watch.again(greedy.pipe.fd)

    greedy.action = more
    for owner in (greedy, other):
        nursery.start_soon(owner.run)
        await wait_all_tasks_blocked()
    pipes[0].send()
    with trio.fail_after(5):
        while left:
            await trio.sleep(0.001)
    assert said.count("greedy") == 1000
    assert [word for word in said if "flushes" not in word].index("other") <= 12
    nursery.cancel_scope.cancel()


async def test_again_needs_no_readiness(nursery: trio.Nursery, pipes: list[Pipe]) -> None:
    calls: list[int] = []
    with watching() as watch:

        def ready(mask: int) -> None:
            calls.append(mask)
            if mask:
                pipes[0].take()
            if len(calls) < 3:
                watch.again(pipes[0].fd)
            else:
                watch.stop()

        watch.add(pipes[0].fd, select.EPOLLIN, ready)
        pipes[0].send()
        await watch.run()
    assert calls == [select.EPOLLIN, 0, 0]
    nursery.cancel_scope.cancel()


async def test_what_is_put_to_the_end_comes_behind_the_flush_or_at_once(
    nursery: trio.Nursery, pipes: list[Pipe]
) -> None:
    said: list[str] = []

    def end() -> None:
        said.append("end")

    def flush() -> None:
        said.append("flush")
        owner.watch.at_end(end)

    owner = Owner(pipes[0], said, "a", flush)
    owner.action = lambda: owner.watch.at_end(end)
    nursery.start_soon(owner.run)
    await wait_all_tasks_blocked()
    pipes[0].send()
    await wait_all_tasks_blocked(0.01)
    assert said == ["a", "flush", "end"]
    owner.watch.at_end(end)
    assert said[3:] == ["end"]
    owner.watch.at_end(fail)
    await wait_all_tasks_blocked()
    assert owner.ended == "broken"


async def test_tasks_get_their_turns_beside_sockets_that_are_always_ready(
    nursery: trio.Nursery, pipes: list[Pipe]
) -> None:
    calls = 0

    def ready(mask: int) -> None:
        nonlocal calls
        calls += mask

    async def busy() -> None:
        with watching() as watch:
            watch.add(pipes[0].fd, select.EPOLLIN, ready)
            await watch.run()

    pipes[0].send()
    nursery.start_soon(busy)
    with trio.fail_after(5):
        for _ in range(50):
            await trio.lowlevel.checkpoint()
    assert calls > 50
    nursery.cancel_scope.cancel()


async def test_a_task_that_can_go_on_is_not_kept_waiting(
    nursery: trio.Nursery, pipes: list[Pipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "LINGER_S", 30.0)
    event = trio.Event()
    owner = Owner(pipes[0], [], "a")
    owner.action = event.set
    nursery.start_soon(owner.run)
    await wait_all_tasks_blocked()
    pipes[0].send()
    began = trio.current_time()
    await event.wait()
    assert trio.current_time() - began < 10
    # Nor is a timer: the next one is nearer than that.
    with trio.move_on_after(0.01):
        owner.action = lambda: None
        pipes[0].send()
        await trio.sleep_forever()
    assert trio.current_time() - began < 10
    nursery.cancel_scope.cancel()


async def test_what_comes_soon_needs_no_turn_of_the_loop(
    nursery: trio.Nursery, pipes: list[Pipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who answers at once, from another thread, is heard in the same turn."""
    monkeypatch.setattr(poller, "LINGER_S", 5.0)
    monkeypatch.setattr(poller, "HOLD_LOOP_S", 5.0)
    turns = 0
    work = poller.Poller._work

    def counted(self: poller.Poller) -> None:
        nonlocal turns
        turns += 1
        work(self)

    monkeypatch.setattr(poller.Poller, "_work", counted)
    count = 0

    def echo() -> None:
        while pipes[0].there.recv(1) != b"e":
            pipes[0].there.send(b"x")

    def answer() -> None:
        nonlocal count
        count += 1
        pipes[0].here.send(b"q" if count < 100 else b"e")
        if count == 100:
            owner.watch.stop()

    owner = Owner(pipes[0], [], "a")
    owner.action = answer
    nursery.start_soon(trio.to_thread.run_sync, echo)
    await wait_all_tasks_blocked(0.01)
    nursery.start_soon(owner.run)
    await wait_all_tasks_blocked(0.01)
    pipes[0].send()
    await wait_all_tasks_blocked(0.05)
    assert count == 100
    assert turns < 10


async def test_nothing_stays_open(pipes: list[Pipe]) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(2):
        with watching() as watch:
            watch.add(pipes[0].fd, select.EPOLLIN, lambda _: watch.stop())
            with trio.move_on_after(0.01):
                await watch.run()
            pipes[0].send()
            await watch.run()
            watch.modify(pipes[0].fd, 0)
            with trio.move_on_after(0.01) as scope:
                await watch.run()
            assert scope.cancelled_caught
            watch.remove(pipes[0].fd)
        pipes[0].take()
    assert set(Path("/proc/self/fd").iterdir()) == before
