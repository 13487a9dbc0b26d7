"""Epoch and history of a new term: scripts of its stories, and the corners of each rule."""

from pathlib import Path

import pytest

from tests.scripts.runner import Command, run_script, scripts
from tests.zab.kit import config, zx
from trioquorum.errors import PeerProtocolError
from trioquorum.invariants import InvariantViolation
from trioquorum.zab.handshake import EPOCH_MAX, EpochAgreement
from trioquorum.zab.quorum import QuorumConfig


class Stage:
    """Commands of the handshake's scripts: what one candidate leader hears, and what it answers."""

    def __init__(self) -> None:
        self.agreement = EpochAgreement(1, config(1, 2, 3), 0)

    def run(self, command: Command) -> str:
        try:
            answer: str = getattr(self, command.name)(*command.words, **command.options)
        except (PeerProtocolError, InvariantViolation) as error:
            return f"{type(error).__name__}: {error}"
        return answer

    def leader(
        self,
        my_id: str,
        *,
        voters: str,
        observers: str = "",
        proposed: str = "",
        accepted: str = "0",
        current: str = "0",
        last: str = "0",
    ) -> str:
        """A new term of ``my_id``; ``proposed`` are the voters of a configuration that is not committed yet."""
        committed = config(*map(int, voters.split(",")), observers=map(int, filter(None, observers.split(","))))
        last_seen = config(*map(int, proposed.split(",")), version=9) if proposed else None
        self.agreement = EpochAgreement(int(my_id), committed, int(accepted), last_seen)
        self.agreement.set_leader_summary(int(current), zx(last))
        return ""

    def comes(self, sid: str, *, accepted: str) -> str:
        """FOLLOWERINFO or OBSERVERINFO: rule E."""
        epoch = self.agreement.propose_epoch(int(sid), int(accepted))
        return f"{sid}: waits" if epoch is None else f"{sid}: LEADERINFO {epoch}"

    def accepts(self, sid: str, *, current: str, last: str) -> str:
        """ACKEPOCH: rule A."""
        acked = self.agreement.ack_epoch(int(sid), int(current), zx(last))
        return f"{sid}: {'synchronise' if acked else 'waits'}"

    def holds(self, sid: str, zxid: str) -> str:
        """ACK of NEWLEADER: rule N."""
        formed = self.agreement.ack_new_leader(int(sid), zx(zxid))
        return f"{sid}: {'UPTODATE' if formed else 'waits'}"


@pytest.mark.parametrize("path", scripts("handshake"), ids=lambda path: path.stem)
def test_script(path: Path, rewrite: bool) -> None:
    run_script(path, Stage().run, rewrite=rewrite)


def decided(
    quorum: QuorumConfig | None = None, *, epoch: int = 5, last_seen: QuorumConfig | None = None
) -> EpochAgreement:
    """Leader 1 of three, in an epoch that they and peer 4 decided; its history ends at zxid 4.7, current epoch 4."""
    agreement = EpochAgreement(1, quorum or config(1, 2, 3), epoch - 1, last_seen)
    agreement.set_leader_summary(4, 0x400000007)
    for sid in (1, 2, 3, 4):
        agreement.propose_epoch(sid, epoch - 1)
    return agreement


def test_the_epoch_is_above_every_accepted_one_of_the_quorum() -> None:
    agreement = EpochAgreement(1, config(1, 2, 3), 3)
    assert agreement.propose_epoch(1, 3) is None
    assert agreement.propose_epoch(2, 20) == 21
    assert agreement.epoch == 21


def test_who_comes_late_does_not_push_the_epoch_up() -> None:
    agreement = EpochAgreement(1, config(1, 2, 3), 0)
    agreement.propose_epoch(1, 0)
    assert agreement.propose_epoch(2, 0) == 1
    assert agreement.propose_epoch(3, 9) == 1
    assert agreement.propose_epoch(2, 0) == 1


def test_a_quorum_without_the_leader_decides_nothing() -> None:
    agreement = EpochAgreement(1, config(1, 2, 3), 0)
    assert agreement.propose_epoch(2, 0) is None
    assert agreement.propose_epoch(3, 0) is None
    assert agreement.propose_epoch(1, 0) == 1


def test_observers_do_not_count_but_raise_the_epoch() -> None:
    agreement = EpochAgreement(1, config(1, 2, 3, observers=[4, 5]), 0)
    agreement.propose_epoch(1, 0)
    assert agreement.propose_epoch(4, 7) is None
    assert agreement.propose_epoch(5, 0) is None
    assert agreement.propose_epoch(2, 0) == 8


def test_the_same_peer_counts_once() -> None:
    agreement = EpochAgreement(1, config(1, 2, 3, 4, 5), 0)
    agreement.propose_epoch(1, 0)
    assert agreement.propose_epoch(2, 0) is None
    assert agreement.propose_epoch(2, 0) is None


def test_only_an_elector_that_looks_late_and_before_the_decision_is_a_deserter() -> None:
    agreement = EpochAgreement(1, config(1, 2, 3), 0, electors=frozenset({1, 2}))
    assert agreement.deserted(2, waited_ms=501, patience_ms=500)
    assert not agreement.deserted(2, waited_ms=500, patience_ms=500)
    assert not agreement.deserted(2, waited_ms=10**9, patience_ms=-1)
    assert not agreement.deserted(3, waited_ms=501, patience_ms=500)
    agreement.propose_epoch(1, 0)
    agreement.propose_epoch(3, 0)
    assert not agreement.deserted(2, waited_ms=501, patience_ms=500)


@pytest.mark.parametrize("claimed", [-2, EPOCH_MAX, 1 << 31])
def test_an_epoch_out_of_range_is_refused(claimed: int) -> None:
    agreement = EpochAgreement(1, config(1, 2), 0)
    agreement.propose_epoch(1, 0)
    with pytest.raises(PeerProtocolError, match="out of range"):
        agreement.propose_epoch(2, claimed)
    assert agreement.propose_epoch(2, 0) == 1


def test_the_leader_may_not_understate_its_own_epoch() -> None:
    agreement = EpochAgreement(1, config(1), 9)
    with pytest.raises(InvariantViolation, match="above every accepted"):
        agreement.propose_epoch(1, 3)


def test_a_pending_configuration_has_a_say_in_discovery_too() -> None:
    agreement = EpochAgreement(1, config(1, 2, 3), 0, config(1, 4, 5, version=1))
    agreement.set_leader_summary(0, 0)
    for sid in (1, 2, 3):
        assert agreement.propose_epoch(sid, 0) is None
    assert agreement.propose_epoch(4, 0) == 1
    for sid in (1, 2, 3):
        assert not agreement.ack_epoch(sid, 0, 0)
    assert agreement.ack_epoch(5, 0, 0)


def test_a_quorum_acknowledges_the_epoch() -> None:
    agreement = decided()
    assert not agreement.ack_epoch(1, 4, 0x400000007)
    assert agreement.ack_epoch(2, 3, 0x300000001)
    assert agreement.ack_epoch(3, -1, 5)


def test_the_leader_itself_must_have_acknowledged() -> None:
    agreement = decided()
    assert not agreement.ack_epoch(2, 4, 1)
    assert not agreement.ack_epoch(3, 4, 1)
    assert agreement.ack_epoch(1, 4, 0x400000007)


@pytest.mark.parametrize(("epoch", "zxid"), [(5, 0), (4, 0x400000008), (5, 0x400000007)])
def test_a_more_recent_learner_is_refused(epoch: int, zxid: int) -> None:
    agreement = decided()
    agreement.ack_epoch(1, 4, 0x400000007)
    with pytest.raises(PeerProtocolError, match="peer 2 knows more"):
        agreement.ack_epoch(2, epoch, zxid)
    assert agreement.ack_epoch(3, 4, 0x400000007)
    assert agreement.ack_epoch(2, epoch, zxid)  # the question is settled: now it is truncated like everybody


def test_do_not_count_me() -> None:
    agreement = decided()
    agreement.ack_epoch(1, 4, 0x400000007)
    assert not agreement.ack_epoch(2, -1, 0x900000000)
    assert not agreement.ack_epoch(3, 4, -1)  # its data is not to be trusted
    assert agreement.ack_epoch(3, 4, 0)


def test_history_needs_quorums_of_both_configurations() -> None:
    agreement = decided(last_seen=config(1, 4, 5, version=9))
    for sid in (1, 2, 3):
        assert not agreement.ack_new_leader(sid, 5 << 32)
    assert agreement.ack_new_leader(4, 5 << 32)


def test_a_last_seen_configuration_that_is_not_newer_does_not_count() -> None:
    agreement = decided(last_seen=config(7, 8, 9, version=0))
    agreement.ack_new_leader(1, 5 << 32)
    assert agreement.ack_new_leader(2, 5 << 32)


def test_an_ack_of_another_epoch_is_not_counted() -> None:
    agreement = decided()
    agreement.ack_new_leader(1, 5 << 32)
    assert not agreement.ack_new_leader(2, 4 << 32)
    assert not agreement.ack_new_leader(2, (5 << 32) + 1)
    assert agreement.ack_new_leader(2, 5 << 32)
    assert agreement.ack_new_leader(3, 4 << 32)


def test_observers_hold_history_for_nobody() -> None:
    agreement = decided(config(1, 2, 3, observers=[4, 5]))
    agreement.ack_new_leader(1, 5 << 32)
    assert not agreement.ack_new_leader(4, 5 << 32)
    assert not agreement.ack_new_leader(5, 5 << 32)


def test_steps_come_in_order() -> None:
    agreement = EpochAgreement(1, config(1, 2, 3), 0)
    with pytest.raises(InvariantViolation, match="after it was decided"):
        agreement.ack_epoch(1, 0, 0)
    with pytest.raises(InvariantViolation, match="after the epoch was decided"):
        agreement.ack_new_leader(1, 0)
