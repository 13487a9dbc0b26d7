"""Who may lead: promises, quorums, one leader per epoch."""

from collections.abc import Sequence
from typing import Final

import msgspec

from trioquorum.events import Elected, Established, Event, PhaseChanged, Proposed, RoundStarted, VoteChanged
from trioquorum.invariants import invariant
from trioquorum.testing.safety.roles import LEADS, Roles
from trioquorum.testing.safety.sight import COUNTER_MASK, Sight
from trioquorum.zab.quorum import QuorumConfig

NOTHING: Final = (-1, -1)


class Term(msgspec.Struct):
    """One leader's time in one epoch: who promised to follow, who took over its history, what it proposed last.

    ``configs`` are those in force when a quorum had promised: a pending one may be committed with the term's begin.
    """

    promised: set[int]
    synced: set[int]
    configs: Sequence[QuorumConfig] = ()
    proposed: int = -1
    established: bool = False


class Terms:
    """All terms of a run."""

    def __init__(self, sight: Sight, roles: Roles) -> None:
        self.proposed: dict[int, int] = {}  # epoch → its last proposal
        self._sight = sight
        self._roles = roles
        self._terms: dict[tuple[int, int], Term] = {}
        self._promises: dict[tuple[int, int], int] = {}
        self._leaders: dict[int, int] = {}
        self._knows: dict[int, tuple[int, int]] = {}  # (currentEpoch, last zxid) of each peer since it looks
        self._forgetful: set[int] = set()  # they lost data: votes for them may be older
        self._least: dict[tuple[int, int], tuple[int, int]] = {}  # (round, peer) → the least that it knew in it

    def of(self, epoch: int, leader: int) -> Term:
        """The term of ``leader`` in ``epoch``, which may never come to anything."""
        term = self._terms.get((epoch, leader))
        if term is None:
            term = self._terms[epoch, leader] = Term({leader}, {leader})
        return term

    def has_begun(self, epoch: int) -> bool:
        """Whether somebody leads, or led, in ``epoch``."""
        leader = self._leaders.get(epoch)
        return leader is not None and self.of(epoch, leader).established

    def promised(self, epoch: int, leader: int, learner: int) -> None:
        """``learner`` promised ``leader`` to follow nobody older than ``epoch``, and wants to be counted.

        It is not if it knows more than the leader, who would cut it back.
        """
        other = self._promises.get((epoch, learner))
        invariant(other is None, "one epoch is promised once", epoch=epoch, peer=learner, leader=leader, earlier=other)
        self._promises[epoch, learner] = leader
        # The start of an epoch without a transaction is on no disk: the leader alone knows it.
        if self._on_disk(learner) <= max(self._on_disk(leader), self._knows.get(leader, NOTHING)):
            self.of(epoch, leader).promised.add(learner)

    def _on_disk(self, peer: int) -> tuple[int, int]:
        """What ``peer`` knows: histories are ordered by the epoch they were taken over in, then by their end."""
        return self._sight.current(peer), self._sight.logged(peer)

    def proposes_epoch(self, epoch: int, leader: int) -> None:
        """``leader`` tells its learners an epoch, which it promised itself before."""
        self._promises.setdefault((epoch, leader), leader)

    def synced(self, epoch: int, leader: int, learner: int) -> None:
        """``learner`` acknowledged NEWLEADER."""
        self.of(epoch, leader).synced.add(learner)

    def check_promised(self, epoch: int, leader: int) -> None:
        """A quorum promised to follow nobody older than ``leader``; once it is established others may be members."""
        term = self.of(epoch, leader)
        promised = term.promised
        invariant(
            term.established or self._sight.is_quorum(leader, promised, self._configs(term, leader)),
            "a quorum promised to follow",
            epoch=epoch,
            leader=leader,
            promised=promised,
        )

    def check_synced(self, epoch: int, leader: int) -> None:
        """A quorum took over the history of ``leader``; once it is established others may be members."""
        term = self.of(epoch, leader)
        synced = term.synced
        invariant(
            term.established or self._sight.is_quorum(leader, synced, self._configs(term, leader)),
            "a quorum took over the history",
            epoch=epoch,
            leader=leader,
            synced=synced,
        )

    def _configs(self, term: Term, leader: int) -> Sequence[QuorumConfig]:
        return term.configs or self._sight.configs(leader)

    def event(self, peer: int, event: Event) -> None:
        """Look at an event of ``peer``."""
        match event:
            case PhaseChanged(phase="synchronization" | "broadcast", epoch=epoch) if self._leads(peer):
                leader = self._leaders.setdefault(epoch, peer)
                invariant(leader == peer, "one leader per epoch", epoch=epoch, leader=leader, second=peer)
                if event.phase == "synchronization":
                    self.of(epoch, peer).configs = self._sight.configs(peer)
                self.check_promised(epoch, peer)
            case RoundStarted(round=number, zxid=zxid, peer_epoch=current):
                self._knows[peer] = current, zxid
                self._takes_part(peer, number)
            case VoteChanged(round=number):
                self._takes_part(peer, number)
            case Elected(leader=leader, voters=voters):
                self._check_elected(peer, leader, set(voters))
                if leader == peer:
                    self._check_knowledge(peer, event.round, voters)
            case Established(role=role) if role not in ("leader", "standalone"):
                self._forgetful.discard(peer)
            case Established(role="leader", epoch=epoch):
                self.check_promised(epoch, peer)
                self.check_synced(epoch, peer)
                self.of(epoch, peer).established = True
            case Established(role="standalone", epoch=epoch, zxid=zxid):
                self.of(epoch, peer).established = True
                self.proposed[epoch] = zxid
            case Proposed(first_zxid=first, last_zxid=last):
                self._propose(peer, first, last)

    def _check_elected(self, peer: int, leader: int, voters: set[int]) -> None:
        """``peer`` counted these votes. An oracle may elect as well, and needs none; one of two voters comes back to
        the other though nobody follows that one (§5.2.7c).

        Who leads needs a pending configuration's votes too; who joins one that leads goes by what is committed alone.
        """
        configs = self._sight.configs(peer)
        invariant(
            self._sight.is_quorum(peer, voters, configs if peer == leader else configs[:1])
            or self._sight.may_lead_alone(peer)
            or (peer != leader and all(config.oracle_may_decide for config in configs)),
            "a quorum elects",
            peer=peer,
            leader=leader,
            voters=voters,
        )

    def _takes_part(self, peer: int, number: int) -> None:
        """``peer`` votes in a round, perhaps again after a restart: nobody can say which vote is counted."""
        self._least[number, peer] = min(self._knows[peer], self._least.get((number, peer), self._knows[peer]))

    def _check_knowledge(self, leader: int, number: int, voters: Sequence[int]) -> None:
        """Nobody votes for who knows less; a vote for a peer without weight is worth nothing, so such a one may."""
        if leader in self._forgetful:
            return  # Rule A turns it away.
        knows = self._knows[leader]
        weighty = [voter for voter in voters if all(config.weight(voter) for config in self._sight.configs(leader))]
        more = {voter: least for voter in weighty if (least := self._least.get((number, voter), knows)) > knows}
        invariant(
            not more,
            "whom a quorum elects knows as much as its electors",
            leader=leader,
            round=number,
            knows=knows,
            electors=more,
        )

    def _leads(self, peer: int) -> bool:
        return self._roles.of(peer).state in LEADS

    def _propose(self, peer: int, first: int, last: int) -> None:
        epoch = first >> 32
        before = self.proposed.get(epoch, epoch << 32)
        term = self._terms.get((epoch, peer))
        invariant(
            term is not None and term.established and first == before + 1 and last >= first and last >> 32 == epoch,
            "an established leader proposes without gaps",
            peer=peer,
            first=first,
            last=last,
            before=before,
        )
        self.proposed[epoch] = last

    def check_delivered(self, zxid: int) -> None:
        """Somebody delivered ``zxid``."""
        proposed = self.proposed.get(zxid >> 32, -1)
        invariant(
            zxid & COUNTER_MASK != 0 and zxid <= proposed,
            "only what a leader proposed is delivered",
            zxid=zxid,
            proposed=proposed,
        )

    def wiped(self, peer: int) -> None:
        """``peer`` forgot its promises and what it knew; others have to keep theirs."""
        self._forgetful.add(peer)
        self._promises = {key: leader for key, leader in self._promises.items() if key[1] != peer}
