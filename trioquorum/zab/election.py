"""Fast leader election (quorum-protocol §5) as a pure machine: notifications and ended timers in, effects out.

The driver executes the effects of each call in order before the next call. There is one timer: ``Wait`` and ``Settle``
replace whatever it was set to; when it ends the driver calls ``silence`` after a ``Wait``, ``settle_over`` after a
``Settle``. Own votes are counted here and never travel.

Four things go beyond the reference, none changes who can win; each only saves waiting:
who has lost its link to us is not waited for once a quorum agrees, because no better vote can come from it;
a voter heard for the first time in our round gets our proposal in return (our own broadcast may have reached it before
it looked); the result is told to everybody once (it also replaces stale votes still queued for peers that are away);
and non-voters that asked while we were looking are told the result too.
"""

from collections.abc import Iterable, Mapping

import msgspec

from trioquorum.events import RoundStarted, VoteChanged, VoteHeard
from trioquorum.invariants import invariant
from trioquorum.wire.election import Notification, PeerState
from trioquorum.zab.ballots import (
    NO_VOTE,
    UNTRUSTED_ZXID,
    AskOracle,
    ConfigHeard,
    ConnectAll,
    Done,
    Effect,
    Observe,
    ReportLooking,
    Send,
    SendAgain,
    SendAll,
    Settle,
    Vote,
    Wait,
)
from trioquorum.zab.quorum import QuorumConfig


class Election:
    """One peer's part in every election, and its answers to looking peers between them.

    ``state`` is what we are to other peers, ``round`` the logical clock, ``current_vote`` the outcome of the last
    election. ``leading_votes`` is who agreed when we were elected. Times are milliseconds. With an ``oracle`` one of
    two voters may lead alone when it says so (§20.3).
    """

    def __init__(
        self,
        my_id: int,
        committed: QuorumConfig,
        last_seen: QuorumConfig | None = None,
        *,
        settle_ms: int = 200,
        resend_ms_min: int = 200,
        resend_ms_max: int = 60_000,
        oracle: bool = False,
    ) -> None:
        self._my_id = my_id
        self._oracle = oracle
        self._settle_ms = settle_ms
        self._resend_ms_min = resend_ms_min
        self._resend_ms_max = resend_ms_max
        self.set_configs(committed, last_seen)

        self.state = PeerState.LOOKING
        self.round = 0
        self.current_vote = Vote(NO_VOTE, NO_VOTE, 0, NO_VOTE)
        self.leading_votes: frozenset[int] = frozenset()

        self._voting = False
        self._settling = False
        self._gone: set[int] = set()  # whose link was up, and is not
        self._wait_ms = resend_ms_min
        self._initial = self.proposal = self.current_vote
        self._received: dict[int, Vote] = {}  # votes of this round
        self._out_of_election: dict[int, Vote] = {}  # what settled peers follow, whatever their round
        self._lone_leader: Vote | None = None  # the other voter's, who leads without a quorum that we know of
        self._askers: set[int] = set()  # non-voters that want to know the result

    def set_configs(self, committed: QuorumConfig, last_seen: QuorumConfig | None = None) -> None:
        """Vote by these configurations from now on; ``last_seen`` counts while it is newer than ``committed``."""
        self._committed = committed
        self._last_seen = last_seen if last_seen is not None and last_seen.version > committed.version else None
        self._voters = committed.voters | (self._last_seen.voters if self._last_seen else frozenset())
        self._others = tuple(sorted(self._voters - {self._my_id}))
        self._config_text = committed.text()

    def look(self, zxid: int, peer_epoch: int) -> list[Effect]:
        """Start a round: ``zxid`` is the last one in our log, applied or not; ``peer_epoch`` our current epoch."""
        self.round += 1
        self.state = PeerState.LOOKING
        self.leading_votes = frozenset()
        self._voting = True
        self._wait_ms = self._resend_ms_min
        self._forget_votes()
        if self._my_id in self._committed.observers:
            zxid = peer_epoch = NO_VOTE
        leader = self._my_id if self._my_id in self._committed.voters else NO_VOTE
        self._initial = Vote(leader, zxid, self.round, peer_epoch)
        started = RoundStarted(round=self.round, leader=leader, zxid=zxid, peer_epoch=peer_epoch)
        return [Observe(started), *self._propose(self._initial), *self._weigh()]

    def abandon(self) -> None:
        """End the round without a result: until the next ``look`` nothing is counted or answered."""
        self._voting = False
        self._forget_votes()

    def settled(self, state: PeerState, vote: Vote) -> None:
        """We took a role without an election of our own; looking peers are answered with ``vote`` from now on."""
        invariant(state is not PeerState.LOOKING, "a settled peer has a role", state=state.name)
        self.abandon()
        self.state = state
        self.current_vote = msgspec.structs.replace(vote, state=state)
        self.leading_votes = frozenset()

    def designated(self, leader: int, zxid: int, peer_epoch: int) -> tuple[PeerState, Vote]:
        """A reconfiguration designated ``leader`` (§19.6): the role that is ours now, and the vote."""
        self.settled(self._role_under(leader), Vote(leader, zxid, self.round, peer_epoch))
        return self.state, self.current_vote

    def _role_under(self, leader: int) -> PeerState:
        if leader == self._my_id:
            return PeerState.LEADING
        return PeerState.OBSERVING if self._my_id in self._committed.observers else PeerState.FOLLOWING

    def set_peer_epoch(self, epoch: int) -> None:
        """The epoch is established: late joiners see equal votes from all who serve in it (§5.2.11)."""
        self.current_vote = msgspec.structs.replace(self.current_vote, peer_epoch=epoch)

    def silence(self, queue_idle: bool) -> list[Effect]:
        """The ``Wait`` is over. ``queue_idle``: some peer has taken everything we sent, so sending reaches somebody."""
        if not self._voting or self._settling:
            return []
        self._wait_ms = min(2 * self._wait_ms, self._resend_ms_max)
        self._lone_leader = None
        again: Effect = SendAgain(self._others, self._note()) if queue_idle else ConnectAll()
        return [again, Wait(self._wait_ms), *self._ask_oracle()]

    def oracle_says(self, *, lead: bool) -> list[Effect]:
        """The answer to ``AskOracle``: whether we may lead without the other voter (§5.2.3, §5.2.7c)."""
        if not self._voting or not self._ask_oracle():
            return []
        leader, self._lone_leader = self._lone_leader, None
        if leader is None:
            return self._finish(self.proposal, self._agreeing(self._received, self.proposal)) if lead else []
        # Only one of two voters may lead alone. If it is not us, who says that it does is right (ZOOKEEPER-3922); if
        # it is us, that one has yet to notice: we go on when it is silent.
        if lead:
            return []
        self.round = leader.round
        return self._finish(leader, frozenset((leader.leader,)))

    def _ask_oracle(self) -> list[Effect]:
        asks = self._oracle and self._last_seen is None and self._committed.oracle_may_decide
        return [AskOracle()] if asks and self._my_id in self._voters and self._initial.zxid != UNTRUSTED_ZXID else []

    def settle_over(self) -> list[Effect]:
        """The ``Settle`` is over: no better vote came, so the proposal has won."""
        if not self._voting or not self._settling:
            return []
        return self._finish(self.proposal, self._agreeing(self._received, self.proposal))

    def link_up(self, sid: int) -> None:
        """There is a link to ``sid``: a better vote may come from it."""
        self._gone.discard(sid)

    def link_down(self, sid: int) -> list[Effect]:
        """The link to ``sid`` ended and there is no other: nothing can come from it before ``link_up``."""
        self._gone.add(sid)
        return self._weigh() if self._voting and self._settling else []

    def heard(self, sender: int, note: Notification) -> list[Effect]:
        """A notification from ``sender``, in any state."""
        if self.state is not PeerState.LOOKING:
            return self._heard_while_settled(sender, note)
        if not self._voting:
            return [_observe(sender, note, "ignored: we do not vote yet")]
        effects = self._newer_config(sender, note)
        if sender not in self._voters:
            return effects + self._heard_non_voter(sender, note)
        if note.state is PeerState.LOOKING:
            return effects + self._heard_looking(sender, note)
        if note.state is PeerState.OBSERVING:
            return [*effects, _observe(sender, note, "ignored: an observer's vote")]
        return effects + self._heard_settled(sender, note)

    # -- what was heard --------------------------------------------------------------------------------------------

    def _heard_while_settled(self, sender: int, note: Notification) -> list[Effect]:
        if note.state is not PeerState.LOOKING:
            return [_observe(sender, note, "ignored: neither side looks")]
        answer: list[Effect] = [_observe(sender, note, "answered: we have a leader"), Send(sender, self._note())]
        if self.state is PeerState.LEADING and sender in self._voters:
            answer.insert(1, ReportLooking(sender))
        return answer

    def _heard_non_voter(self, sender: int, note: Notification) -> list[Effect]:
        """Answer §5.1.3, but never an answer: two peers that take each other for non-voters would not stop."""
        if note.state is not PeerState.LOOKING or self._my_id not in self._voters:
            return [_observe(sender, note, "ignored: not a voter")]
        self._askers.add(sender)
        if note.leader != NO_VOTE:
            return [_observe(sender, note, "ignored: not a voter, it will hear the result")]
        # The vote of this round, not of the last role: that leader is gone.
        return [_observe(sender, note, "answered: not a voter"), Send(sender, self._note())]

    def _heard_looking(self, sender: int, note: Notification) -> list[Effect]:
        """§5.1.4 and §5.2.5."""
        if note.round < self.round:
            older: Effect = _observe(sender, note, "ignored: older round")
            # Who takes us for a non-voter would answer our answer, unless that holds a vote.
            return [older] if self.proposal.leader == NO_VOTE else [older, Send(sender, self._note())]
        if note.leader == NO_VOTE and note.round > self.round:
            # Who gets a vote by a configuration that is pending has none to cast yet. Its round counts all the same,
            # or the two of us would ignore each other for ever.
            self.round = note.round
            self._received.clear()
            joined = _observe(sender, note, "joined: newer round")
            return [joined, *self._change(self._initial, "newer round"), *self._weigh()]
        if note.leader not in self._voters:
            return [_observe(sender, note, "ignored: the leader is not a voter")]
        if self._initial.zxid == UNTRUSTED_ZXID:
            return [_observe(sender, note, "ignored: our own history is untrusted")]
        if note.zxid == UNTRUSTED_ZXID:
            return [_observe(sender, note, "ignored: untrusted history")]
        effects: list[Effect] = [_observe(sender, note, "counted")]
        vote = Vote(note.leader, note.zxid, note.round, note.peer_epoch)
        if note.round > self.round:
            self.round = note.round
            self._received.clear()
            better = vote if self._beats(vote, self._initial) else self._initial
            effects += self._change(better, "newer round")
        elif self._beats(vote, self.proposal):
            effects += self._change(vote, "better vote")
        elif sender not in self._received:
            effects.append(Send(sender, self._note()))
        self._received[sender] = vote
        return effects + self._weigh()

    def _heard_settled(self, sender: int, note: Notification) -> list[Effect]:
        """§5.2.7: join a leader that says it leads and that a quorum follows."""
        if note.leader not in self._voters:
            return [_observe(sender, note, "ignored: the leader is not a voter")]
        vote = Vote(note.leader, note.zxid, note.round, note.peer_epoch, note.state, note.version)
        effects: list[Effect] = [_observe(sender, note, "counted")]
        if note.round == self.round:
            # Version 0 makes votes of our round agree by leader alone: some may know the new epoch already.
            self._received[sender] = msgspec.structs.replace(vote, version=0)
            if voters := self._followed(self._received, vote):
                return effects + self._finish(vote, voters)
        self._out_of_election[sender] = vote
        if voters := self._followed(self._out_of_election, vote):
            self.round = note.round
            return effects + self._finish(vote, voters)
        if note.state is PeerState.LEADING and note.leader == sender:
            self._lone_leader = vote
            effects += self._ask_oracle()
        return effects + self._weigh()

    def _newer_config(self, sender: int, note: Notification) -> list[Effect]:
        """§5.1.2: only while looking; a text without a version is as good as none."""
        text = note.config or "" if note.version > 1 else ""
        digits = text.rpartition("version=")[2]
        try:
            version = int(digits, 16)
        except ValueError:
            return []
        return [ConfigHeard(sender, version, text)] if version > self._committed.version else []

    # -- votes -----------------------------------------------------------------------------------------------------

    def _change(self, vote: Vote, because: str) -> list[Effect]:
        changed = VoteChanged(
            round=self.round, leader=vote.leader, zxid=vote.zxid, peer_epoch=vote.peer_epoch, because=because
        )
        return [Observe(changed), *self._propose(vote)]

    def _propose(self, vote: Vote) -> list[Effect]:
        self.proposal = msgspec.structs.replace(vote, round=self.round)
        self._settling = False
        if self._my_id in self._voters and self._initial.zxid != UNTRUSTED_ZXID:
            self._received[self._my_id] = self.proposal
        return [SendAll(self._others, self._note()), Wait(self._wait_ms)]

    def _weigh(self) -> list[Effect]:
        """§5.2.5f: does a quorum want what we want?"""
        agreeing = self._agreeing(self._received, self.proposal)
        if not self._has_all_quorums(agreeing):
            if not self._settling:
                return []
            self._settling = False
            return [Wait(self._wait_ms)]
        # A better vote can only start at a voter, as the vote for itself. When every voter has given up its own for
        # ours, or its link ended, as that of a killed leader does, there is nobody left to wait for. A voter that was
        # never there may just be starting. Should one of those that are gone be alive all the same, then we settle as
        # if its vote had come too late: a quorum agrees, so whoever wins holds all that was committed.
        if agreeing >= self._voters - self._gone:
            return self._finish(self.proposal, agreeing)
        if self._settling:
            return []
        self._settling = True
        return [Settle(self._settle_ms)]

    def _finish(self, vote: Vote, voters: frozenset[int]) -> list[Effect]:
        self.state = self._role_under(vote.leader)
        if self.state is PeerState.LEADING:
            self.leading_votes = voters
        self.current_vote = Vote(vote.leader, vote.zxid, self.round, vote.peer_epoch, self.state)
        told = sorted(self._askers.union(self._others) if self._my_id in self._voters else ())
        self.abandon()
        done = Done(self.current_vote, self.state, voters)
        return [SendAll(tuple(told), self._note()), done] if told else [done]

    def _forget_votes(self) -> None:
        self._settling = False
        self._lone_leader = None
        self._received.clear()
        self._out_of_election.clear()
        self._askers.clear()

    def _note(self) -> Notification:
        vote = self.proposal if self.state is PeerState.LOOKING else self.current_vote
        return Notification(
            state=self.state,
            leader=vote.leader,
            zxid=vote.zxid,
            round=vote.round,
            peer_epoch=vote.peer_epoch,
            config=self._config_text,
        )

    def _beats(self, new: Vote, old: Vote) -> bool:
        """§5.2.8: epoch, then zxid, then id; a peer of weight 0 is never worth a vote."""
        if (new.peer_epoch, new.zxid, new.leader) <= (old.peer_epoch, old.zxid, old.leader):
            return False
        config = self._last_seen if self._last_seen and new.leader not in self._committed.voters else self._committed
        return config.weight(new.leader) != 0

    @staticmethod
    def _agreeing(votes: Mapping[int, Vote], vote: Vote) -> frozenset[int]:
        return frozenset(sid for sid, other in votes.items() if other.agrees(vote))

    def _followed(self, votes: Mapping[int, Vote], vote: Vote) -> frozenset[int]:
        """Who in ``votes`` agrees with ``vote``, if that is a quorum and its leader confirms (§5.2.10); else nobody.

        Who joins goes by the committed configuration alone, unlike in the reference: to join decides nothing, and
        whoever alone saw a proposal that came to nothing would wait for its quorum for ever. Who is to lead needs the
        proposed one's votes too, however it hears of its followers.
        """
        agreeing = self._agreeing(votes, vote)
        if vote.leader == self._my_id:
            # Followers of an older round of ours must not make us lead again (ZOOKEEPER-1514).
            wins = vote.round == self.round and self._has_all_quorums(agreeing)
        else:
            leads = vote.leader in votes and votes[vote.leader].state is PeerState.LEADING
            wins = leads and self._committed.contains_quorum(agreeing)
        return agreeing if wins else frozenset()

    def _has_all_quorums(self, sids: Iterable[int]) -> bool:
        proposed = self._last_seen
        return self._committed.contains_quorum(sids) and (proposed is None or proposed.contains_quorum(sids))


def _observe(sender: int, note: Notification, outcome: str) -> Observe:
    return Observe(
        VoteHeard(
            sender=sender,
            state=note.state.name.lower(),
            round=note.round,
            leader=note.leader,
            zxid=note.zxid,
            peer_epoch=note.peer_epoch,
            outcome=outcome,
        )
    )
