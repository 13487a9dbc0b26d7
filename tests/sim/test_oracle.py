"""Two voters and an oracle: one goes on alone when it says so (§20.3, trap 30; upstream 57)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.sim.kit import Writers, assert_all_equal, events_of
from trioquorum.config import Settings
from trioquorum.errors import Code, RequestFailed
from trioquorum.events import Elected, SyncReceived
from trioquorum.peer.oracle import ANSWER_S, Ask, Oracle, file_oracle
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum_transports.memory import MemoryNetwork

TICK_S = 2.0
SYNC_LIMIT_S = 5 * TICK_S
ASKED = Settings(oracle_path="oracle")


class Says:
    """An oracle that names the peer which may lead alone, or nobody."""

    def __init__(self, ensemble: MemoryEnsemble, lone: int | None) -> None:
        self.lone = lone
        for peer in ensemble.peers.values():
            peer.oracle = self._for(peer.id)

    def _for(self, peer: int) -> Ask:
        async def ask() -> bool:
            await trio.lowlevel.checkpoint()
            return self.lone == peer

        return ask


@asynccontextmanager
async def two(lone: int | None) -> AsyncIterator[tuple[MemoryEnsemble, Says]]:
    async with open_ensemble(MemoryNetwork(), peers=2, settings=ASKED, start=False) as ensemble:
        yield ensemble, Says(ensemble, lone)


async def test_the_other_one_goes_on_without_the_leader(autojump_clock: MockClock) -> None:
    async with two(lone=1) as (ensemble, _):
        await ensemble.start()
        assert await ensemble.wait_serving() == 2
        async with ensemble.client(session_timeout_ms=40_000) as client:
            await client.create("/before")
            await ensemble.crash(2)
            await client.create("/alone")
            assert ensemble.leader() == 1
            await ensemble.start(2)
            # No quorum follows it, yet who comes back finds it (ZOOKEEPER-3922).
            assert await ensemble.wait_serving() == 1
            await client.create("/together")
        tree = await assert_all_equal(ensemble)
        assert {"/before", "/alone", "/together"} <= set(tree.nodes)


@pytest.mark.parametrize("way", ["crash", "partition"])
async def test_a_leader_commits_alone_what_its_follower_left_behind(way: str, autojump_clock: MockClock) -> None:
    async with two(lone=1) as (ensemble, _):
        await ensemble.start(1)
        assert await ensemble.wait_serving(1) == 1
        await ensemble.start(2)
        assert await ensemble.wait_serving() == 1
        async with ensemble.client(1, session_timeout_ms=40_000) as client:
            await client.create("/w")
            writers = Writers("/w")
            async with trio.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(writers.write, client, name, 0.1)
                await ensemble.wait_until(lambda: writers.reached(30))
                if way == "crash":
                    await ensemble.crash(2)
                else:
                    ensemble.partition([1], [2])
                lost_at = trio.current_time()
                await ensemble.wait_until(lambda: writers.reached(90))
                writers.halted = True
            assert writers.lost == 0
            assert trio.current_time() - lost_at < SYNC_LIMIT_S + 4 * TICK_S
            assert len(ensemble.safety.leaders) == 1
            if way == "crash":
                await ensemble.start(2)
            ensemble.heal()
            assert await ensemble.wait_serving() == 1
            await client.create("/together")
        writers.check(await assert_all_equal(ensemble))
        assert len(ensemble.safety.leaders) == 1


async def test_without_its_word_one_of_two_is_no_quorum(autojump_clock: MockClock) -> None:
    async with two(lone=None) as (ensemble, says):
        await ensemble.start()
        leader = await ensemble.wait_serving()
        async with ensemble.client(leader, session_timeout_ms=40_000) as client:
            await ensemble.crash(3 - leader)
            with pytest.raises(RequestFailed) as refused:
                await client.create("/unknown")
            assert refused.value.code == Code.CONNECTIONLOSS
            elected = len(events_of(ensemble, Elected))
            await trio.sleep(60)
            assert len(events_of(ensemble, Elected)) == elected
            says.lone = leader
            await ensemble.wait_serving(leader, within_s=61)


async def test_a_leader_that_may_not_go_on_gives_way(autojump_clock: MockClock) -> None:
    """2 leads and is cut off; the oracle names 1: 2 steps down, 1 takes over, and 2 takes back what only it has."""
    async with two(lone=1) as (ensemble, _):
        await ensemble.start()
        assert await ensemble.wait_serving() == 2
        async with ensemble.client(2) as old, ensemble.client(1, session_timeout_ms=40_000) as new:
            await new.create("/before")
            ensemble.partition([1], [2])
            with pytest.raises(RequestFailed):
                await old.create("/lost")
            assert await ensemble.wait_serving(1) == 1
            await new.create("/after")
            assert not ensemble.peers[2].established
            ensemble.heal()
            assert await ensemble.wait_serving(within_s=120) == 1
            assert events_of(ensemble, SyncReceived, 2)[-1].event.mode in ("TRUNC", "SNAP")
        tree = await assert_all_equal(ensemble)
        assert "/after" in tree.nodes
        assert "/lost" not in tree.nodes


async def test_three_voters_ask_no_oracle(autojump_clock: MockClock) -> None:
    async with open_ensemble(MemoryNetwork(), peers=3, settings=ASKED, start=False) as ensemble:
        Says(ensemble, lone=3)
        await ensemble.start(3)
        with pytest.raises(trio.TooSlowError):
            await ensemble.wait_serving(3)


@pytest.mark.parametrize(("text", "yes"), [("1", True), ("1\n", True), ("10", True), ("0", False), ("", False)])
async def test_a_file_says_it_with_its_first_character(text: str, yes: bool, tmp_path: Path) -> None:
    file = tmp_path / "oracle"
    file.write_text(text)
    assert await file_oracle(file)() is yes


async def test_no_file_means_no(tmp_path: Path) -> None:
    assert not await Oracle(file_oracle(tmp_path / "none")).lets_lead_alone()


async def test_no_answer_means_no(autojump_clock: MockClock) -> None:
    async def hangs() -> bool:
        await trio.sleep_forever()
        return True

    began = trio.current_time()
    assert not await Oracle(hangs).lets_lead_alone()
    assert trio.current_time() - began == pytest.approx(ANSWER_S)
