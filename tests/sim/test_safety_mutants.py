"""Servers with one line changed for the worse, in a small ensemble: the checker finds them."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trioquorum.errors import RequestFailed
from trioquorum.invariants import InvariantViolation
from trioquorum.peer.leading import Leading
from trioquorum.storage.database import Database
from trioquorum.storage.epochs import Epochs
from trioquorum.storage.log_writer import LogWriter
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.zab.handshake import EpochAgreement
from trioquorum.zab.leader import Leader
from trioquorum.zab.learner import Learner
from trioquorum.zab.learner_effects import FlushLog, SetAcceptedEpoch, SetCurrentEpoch
from trioquorum_transports.memory import MemoryNetwork

Mutate = Callable[[pytest.MonkeyPatch], None]
MUTANTS: list[tuple[str, Mutate]] = []


def mutant(rule: str) -> Callable[[Mutate], Mutate]:
    def add(mutate: Mutate) -> Mutate:
        MUTANTS.append((rule, mutate))
        return mutate

    return add


def _without(monkeypatch: pytest.MonkeyPatch, step: str, *kinds: type) -> None:
    """Let the learner forget these effects of one of its steps."""
    real = getattr(Learner, step)

    def forgetful(self: Learner, argument: int, effects: list[Any]) -> None:
        before = len(effects)
        real(self, argument, effects)
        effects[before:] = [effect for effect in effects[before:] if not isinstance(effect, kinds)]

    monkeypatch.setattr(Learner, step, forgetful)


@mutant("acceptedEpoch first, then ACKEPOCH")
def _promise_before_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "_accept_epoch", SetAcceptedEpoch)


@mutant("history and currentEpoch first, then the ACK of NEWLEADER")
def _ack_of_newleader_before_currentepoch(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "_take_over", SetCurrentEpoch)


@mutant("history and currentEpoch first, then the ACK of NEWLEADER")
def _ack_of_newleader_before_the_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """ZOOKEEPER-3911, -4646."""
    _without(monkeypatch, "_take_over", FlushLog)


@mutant("currentEpoch first, then NEWLEADER")
def _newleader_before_currentepoch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def later(self: Epochs, epoch: int) -> None:
        self.current = epoch
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Epochs, "set_current", later)


@mutant("acceptedEpoch first, then LEADERINFO")
def _leaderinfo_before_acceptedepoch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def later(self: Epochs, epoch: int) -> None:
        self.accepted = epoch
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Epochs, "set_accepted", later)


@mutant("the log first, then ACK")
def _ack_before_the_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    real = LogWriter.append

    def hasty(self: LogWriter, zxid: int, payload: bytes) -> None:
        real(self, zxid, payload)
        if self.on_flushed.__name__ == "_flushed":  # the learner's
            self.on_flushed(zxid)

    monkeypatch.setattr(LogWriter, "append", hasty)


@mutant("a quorum's disks first, then COMMIT")
def _commit_with_the_first_ack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leader, "_reached", lambda self: max(self._acked.values()))


@mutant("a quorum took over the history")
def _serve_without_a_quorum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpochAgreement, "ack_new_leader", lambda *_: True)


@mutant("observers acknowledge no proposal")
def _observer_that_acknowledges(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Learner.acknowledge

    def eager(self: Learner, zxid: int) -> object:
        self._observer = False
        packet = real(self, zxid)
        self._observer = self._my_id == 4
        return packet

    monkeypatch.setattr(Learner, "acknowledge", eager)


@mutant("one epoch is promised once")
def _promise_that_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Learner._accept_epoch

    def again(self: Learner, epoch: int, effects: list[Any]) -> None:
        if epoch == self._accepted_epoch:
            self._accepted_epoch -= 1
        real(self, epoch, effects)

    monkeypatch.setattr(Learner, "_accept_epoch", again)


@mutant("observers are informed, followers asked")
def _observer_forwarded_to_as_a_follower(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Leading.synchronise

    async def confused(self: Leading, handler: Any, learner_zxid: int) -> None:
        handler.participant = True
        await real(self, handler, learner_zxid)

    monkeypatch.setattr(Leading, "synchronise", confused)


@mutant("a vote says what the disk holds")
def _vote_with_the_committed_zxid(monkeypatch: pytest.MonkeyPatch) -> None:
    """ZOOKEEPER-2845: what is logged and not committed is not counted."""
    monkeypatch.setattr(Database, "vote_zxid", property(lambda self: max(self.last_zxid - 1, 0)))


async def _write(ensemble: MemoryEnsemble, *names: str) -> None:
    async with ensemble.client() as client:
        for name in names:
            try:
                await client.create(name)
            except RequestFailed:
                await trio.sleep(0.1)


async def _live(ensemble: MemoryEnsemble) -> None:
    """Writes, a link that breaks, a follower that comes back from a crash, a new leader."""
    leader = await ensemble.wait_serving()
    await _write(ensemble, "/a", "/b")
    network = ensemble.network
    assert isinstance(network, MemoryNetwork)
    other = 1 if leader != 1 else 2
    network.break_links(f"peer{leader}", f"peer{other}")
    await trio.sleep(1)
    await ensemble.wait_serving()
    await ensemble.crash(other)
    await _write(ensemble, "/c", "/d")
    await ensemble.start(other)
    await ensemble.wait_serving()
    await ensemble.crash(leader)
    await ensemble.wait_serving()
    await _write(ensemble, "/e")
    await ensemble.start(leader)
    await ensemble.wait_serving()


def _network() -> MemoryNetwork:
    network = MemoryNetwork()
    for a in range(1, 5):
        for b in range(1, a):
            network.delay(f"peer{a}", f"peer{b}", 0.002)
    return network


async def _whole_life() -> None:
    async with open_ensemble(_network(), observers=1, flush_latency_s=0.01) as ensemble:
        await _live(ensemble)
        assert len(ensemble.safety.leaders) >= 2


async def _broken(story: Callable[[], Awaitable[None]]) -> str:
    """The rule that ``story`` breaks first."""
    with pytest.raises(InvariantViolation) as caught:
        await story()
    return str(caught.value).partition(":")[0]


@pytest.mark.parametrize(("rule", "mutate"), MUTANTS, ids=[mutate.__name__.strip("_") for _, mutate in MUTANTS])
async def test_a_mutant_is_found(
    rule: str, mutate: Mutate, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    mutate(monkeypatch)
    assert await _broken(_whole_life) == rule


async def test_the_original_lives(autojump_clock: MockClock) -> None:
    await _whole_life()


# Disks that change while nobody looks


async def _new_disks(*peers: int, told: bool) -> None:
    """A client wrote something; then these peers come back with nothing."""
    async with open_ensemble(MemoryNetwork()) as ensemble:
        await ensemble.wait_serving()
        await _write(ensemble, "/a")
        await ensemble.stop()
        for peer in peers:
            ensemble.peers[peer].disk = MemoryDisk()
            if told:
                ensemble.safety.wiped(peer)
        await ensemble.start()
        await ensemble.wait_serving()


async def test_all_disks_are_new_and_a_client_was_told(autojump_clock: MockClock) -> None:
    assert await _broken(partial(_new_disks, 1, 2, 3, told=True)) == "what was answered outlives every leader"


async def test_one_disk_is_new(autojump_clock: MockClock) -> None:
    """As long as a quorum has everything that is in order, if the checker is told; otherwise it is a lost promise."""
    await _new_disks(1, told=True)
    assert await _broken(partial(_new_disks, 1, told=False)) == "epochs never decrease"
