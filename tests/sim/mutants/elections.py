"""Bugs of elections: votes that compare or count in another way, and voters that do not answer."""

from collections.abc import Iterable

import pytest

from tests.sim.mutants.mutant import mutant
from trioquorum.storage.database import Database
from trioquorum.zab.ballots import Vote
from trioquorum.zab.election import Election

KNOWS = "whom a quorum elects knows as much as its electors"
NEVER = ("a healed ensemble serves", "every call of a client ends", "a session that fell silent ends")


@mutant(
    "trap 12, ZOOKEEPER-2845",
    "a vote says what the disk holds",
    "a leader has applied",
    kinds=("crash", "stop", "cut"),
    seeds=8,
)
def vote_with_what_is_applied(patch: pytest.MonkeyPatch) -> None:
    """The log may be ahead: what was proposed is on disk and not known to be committed."""
    patch.setattr(Database, "fast_forward", lambda self: self._unapplied.clear())


@mutant("quorum-protocol §5.2.5", "a quorum elects", kinds=("partition", "cut"), seeds=3)
def elected_by_one_vote(patch: pytest.MonkeyPatch) -> None:
    def any_will_do(self: Election, sids: Iterable[int]) -> bool:
        return bool(list(sids))

    patch.setattr(Election, "_has_all_quorums", any_will_do)


@mutant("quorum-protocol §5.2.8", KNOWS, kinds=("crash", "crash_all", "crash_at"), seeds=6)
def highest_id_wins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Election, "_beats", lambda self, new, old: new.leader > old.leader)


@mutant("quorum-protocol §5.2.8", KNOWS, kinds=("crash_all", "crash_at"), seeds=6, delay_s=0.03, pause_s=0.3)
def zxid_before_epoch(patch: pytest.MonkeyPatch) -> None:
    """Who alone logged a proposal of an epoch that is over has the highest zxid until the next one has any."""

    def beats(self: Election, new: Vote, old: Vote) -> bool:
        return (new.zxid, new.peer_epoch, new.leader) > (old.zxid, old.peer_epoch, old.leader)

    patch.setattr(Election, "_beats", beats)
