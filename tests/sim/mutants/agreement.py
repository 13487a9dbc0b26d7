"""Bugs of a new leader on its way to a quorum: rules E, A and N."""

from typing import Any, Final

import pytest

from tests.sim.mutants.mutant import mutant
from trioquorum.zab.handshake import EpochAgreement
from trioquorum.zab.learner import Learner
from trioquorum.zab.quorum import QuorumConfig

PROMISED: Final = "a quorum promised to follow"
SYNCED: Final = "a quorum took over the history"


@mutant("quorum-protocol §7.2, rule N", SYNCED)
def leads_without_a_quorum_that_has_its_history(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EpochAgreement, "ack_new_leader", lambda *_: True)


@mutant("quorum-protocol §7.1, rule A", PROMISED, peers=5, seeds=4)
def leads_without_a_quorum_of_promises(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EpochAgreement, "ack_epoch", lambda *_: True)


@mutant("quorum-protocol §7.1, rule A", PROMISED, kinds=("overtaken",), seeds=4)
def leads_who_knows_more(patch: pytest.MonkeyPatch) -> None:
    real = EpochAgreement.ack_epoch

    def as_if_it_knew_nothing(self: EpochAgreement, sid: int, current_epoch: int, last_zxid: int) -> bool:
        return real(self, sid, min(current_epoch, 0), last_zxid)

    patch.setattr(EpochAgreement, "ack_epoch", as_if_it_knew_nothing)


@mutant("quorum-protocol §7.1, rules E, A and N", PROMISED, SYNCED, observers=2, kinds=("crash", "cut"), seeds=8)
def observers_counted_in_the_agreement(patch: pytest.MonkeyPatch) -> None:
    def decides(self: EpochAgreement, config: QuorumConfig, sids: set[int]) -> bool:
        return len(sids) > len(config.voters) // 2

    patch.setattr(EpochAgreement, "_decides", decides)


@mutant(
    "quorum-protocol §20",
    SYNCED,
    PROMISED,
    peers=5,
    groups=(1, 1, 1, 2, 2),
    kinds=("crash", "crash_all", "slow_link", "cut"),
    seeds=6,
)
def groups_counted_as_a_majority(patch: pytest.MonkeyPatch) -> None:
    def decides(self: EpochAgreement, config: QuorumConfig, sids: set[int]) -> bool:
        return len(config.voters & sids) > len(config.voters) // 2

    patch.setattr(EpochAgreement, "_decides", decides)


@mutant("quorum-protocol §7.1, rule E", "a new epoch is above every accepted one")
def epoch_of_a_new_leader_is_an_old_one(patch: pytest.MonkeyPatch) -> None:
    real = EpochAgreement.propose_epoch

    def same(self: EpochAgreement, sid: int, last_accepted_epoch: int) -> int | None:
        return real(self, sid, max(last_accepted_epoch - 1, -1))

    patch.setattr(EpochAgreement, "propose_epoch", same)


@mutant(
    "quorum-protocol §11.2, acceptedEpoch",
    "one epoch is promised once",
    PROMISED,
    kinds=("break_links", "cut"),
    seeds=6,
)
def promise_of_one_epoch_given_twice(patch: pytest.MonkeyPatch) -> None:
    real = Learner._accept_epoch

    def again(self: Learner, epoch: int, effects: list[Any]) -> None:
        if epoch == self._accepted_epoch:
            self._accepted_epoch -= 1
        real(self, epoch, effects)

    patch.setattr(Learner, "_accept_epoch", again)
