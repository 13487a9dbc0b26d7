"""Runs that a seed repeats, and nodes that stand still."""

import pytest
import trio
import trio._core._run as scheduler

from trioquorum.testing import seeded


async def _order(tasks: int) -> list[int]:
    order: list[int] = []

    async def step(number: int) -> None:
        for _ in range(5):
            await trio.sleep(1)
            order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(step, number)
    return order


def test_a_seed_decides_the_schedule() -> None:
    assert seeded.run(1, _order, 6) == seeded.run(1, _order, 6)
    assert seeded.run(1, _order, 6) != seeded.run(2, _order, 6)


def test_trio_has_the_private_names_and_gets_them_back() -> None:
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r
    seeded.run(1, trio.sleep, 1)
    assert (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r) == before


def test_outside_there_is_no_schedule() -> None:
    async def ask() -> None:
        seeded.schedule()

    with pytest.raises(RuntimeError, match="schedule"):
        trio.run(ask)


async def _frozen() -> list[tuple[str, float]]:
    seen: list[tuple[str, float]] = []

    async def tick(node: str) -> None:
        seeded.NODE.set(node)
        with trio.move_on_after(10):
            while True:
                await trio.sleep(1)
                seen.append((node, trio.current_time()))
        seen.append((f"{node} ended", trio.current_time()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick, "a")
        nursery.start_soon(tick, "b")
        await trio.sleep(2.5)
        seeded.schedule().freeze("a")
        await trio.sleep(20)
        seeded.schedule().thaw("a")
    return [(name, round(time)) for name, time in seen if name != "b"]


def test_a_frozen_node_takes_no_step_and_finds_its_time_gone() -> None:
    a = [it for it in seeded.run(3, _frozen) if it[0].startswith("a")]
    assert a == [("a", 1), ("a", 2), ("a ended", 22)]


def test_a_loop_that_never_waits_is_found() -> None:
    async def spin() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(seeded.Stuck, match="steps at 0"):
        seeded.run(1, spin)
