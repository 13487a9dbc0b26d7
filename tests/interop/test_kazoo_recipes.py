"""kazoo's recipes between clients of different peers."""

import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient

from tests.kit.processes import Ensemble

pytestmark = pytest.mark.interop


@pytest.fixture
def clients(ensemble: Ensemble) -> Iterator[list[KazooClient]]:
    made = [ensemble.client(i) for i in ensemble.ids]
    yield made
    for client in made:
        client.stop()
        client.close()


@pytest.fixture
def base(clients: list[KazooClient]) -> str:
    path = f"/r{uuid.uuid4().hex}"
    clients[0].create(path)
    for client in clients:
        client.sync(path)
    return path


def run_all(*targets: object) -> None:
    threads = [threading.Thread(target=target) for target in targets]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_lock_is_held_by_one(clients: list[KazooClient], base: str) -> None:
    inside: list[int] = []
    overlaps: list[int] = []
    done: list[int] = []

    def work(n: int) -> None:
        for _ in range(10):
            with clients[n].Lock(f"{base}/lock", str(n)):
                inside.append(n)
                if len(inside) > 1:
                    overlaps.append(n)
                time.sleep(0.001)
                inside.remove(n)
                done.append(n)

    run_all(*[lambda n=n: work(n) for n in range(3)])
    assert (len(done), overlaps) == (30, [])


def test_election_lets_each_lead_in_turn(clients: list[KazooClient], base: str) -> None:
    led: list[int] = []
    run_all(*[lambda n=n: clients[n].Election(f"{base}/election", str(n)).run(led.append, n) for n in range(3)])
    assert sorted(led) == [0, 1, 2]


def test_queue_gives_each_item_to_one(clients: list[KazooClient], base: str) -> None:
    queues = [client.LockingQueue(f"{base}/queue") for client in clients]
    for i in range(30):
        queues[i % 3].put(str(i).encode())
    taken: list[bytes] = []

    def consume(n: int) -> None:
        while (item := queues[n].get(timeout=1)) is not None:
            taken.append(item)
            assert queues[n].consume()

    run_all(*[lambda n=n: consume(n) for n in range(3)])
    assert sorted(taken, key=int) == [str(i).encode() for i in range(30)]


def test_double_barrier_waits_for_all(clients: list[KazooClient], base: str) -> None:
    entered: list[float] = []
    came: list[float] = []

    def take_part(n: int) -> None:
        barrier = clients[n].DoubleBarrier(f"{base}/barrier", 3)
        time.sleep(0.05 * n)
        came.append(time.monotonic())
        barrier.enter()
        entered.append(time.monotonic())
        barrier.leave()

    run_all(*[lambda n=n: take_part(n) for n in range(3)])
    assert len(entered) == 3
    assert min(entered) >= max(came)


def test_barrier_holds_until_removed(clients: list[KazooClient], base: str) -> None:
    barrier = clients[0].Barrier(f"{base}/gate")
    barrier.create()
    clients[1].sync(f"{base}/gate")
    waiting = clients[1].Barrier(f"{base}/gate")
    assert waiting.wait(timeout=0.1) is False
    barrier.remove()
    assert waiting.wait(timeout=5) is True


def test_counter_and_party(clients: list[KazooClient], base: str) -> None:
    def count(n: int) -> None:
        counter = clients[n].Counter(f"{base}/counter")
        for _ in range(10):
            counter += 1

    run_all(*[lambda n=n: count(n) for n in range(3)])
    clients[0].sync(f"{base}/counter")
    assert clients[0].Counter(f"{base}/counter").value == 30
    for n, client in enumerate(clients):
        client.Party(f"{base}/party", str(n)).join()
    clients[0].sync(f"{base}/party")
    assert sorted(clients[0].Party(f"{base}/party")) == ["0", "1", "2"]
