"""Bugs of elections: votes that compare or count in another way, and voters that do not answer."""

import math
from collections.abc import Iterable
from typing import Any

import pytest
import trio

from tests.sim.mutants.mutant import mutant
from trioquorum.peer.following import Following
from trioquorum.peer.mesh_peer import MeshPeer
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


@mutant("quorum-protocol §15", *NEVER, kinds=("dead_links",), seeds=2)
def waits_for_a_silent_leader_for_ever(patch: pytest.MonkeyPatch) -> None:
    real = Following.__init__

    def patient(self: Following, peer: Any, leader: int, *, observer: bool) -> None:
        real(self, peer, leader, observer=observer)
        self._init_limit_s = self._sync_limit_s = math.inf

    patch.setattr(Following, "__init__", patient)


@mutant("quorum-protocol §5.1.5", *NEVER, kinds=("crash",), seeds=1)
def settled_voters_do_not_answer(patch: pytest.MonkeyPatch) -> None:
    """Neither when asked, nor as the first word on a new link, which alone would be enough."""
    link_up = MeshPeer.link_up

    def says_nothing_first(self: MeshPeer, scope: trio.CancelScope) -> None:
        link_up(self, scope)
        self.waiting = None

    patch.setattr(MeshPeer, "link_up", says_nothing_first)
    patch.setattr(Election, "_heard_while_settled", lambda self, sender, note: [])
