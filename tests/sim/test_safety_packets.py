"""Packets that must not leave, or not now: the checker's rules one by one."""

from collections.abc import Callable

import pytest

from tests.sim.stage import EPOCH, FOLLOWER, LATE, LEADER, OBSERVER, START, Stage, payload
from trioquorum.events import (
    Committed,
    Elected,
    PhaseChanged,
    Proposed,
    RoundStarted,
    SessionExpired,
    StateChanged,
    SyncReceived,
)
from trioquorum.invariants import InvariantViolation
from trioquorum.wire.quorum import PacketType as P

OLD = EPOCH - 1 << 32

Story = Callable[[Stage], None]
BROKEN: list[tuple[str, Story]] = []


def breaks(rule: str) -> Callable[[Story], Story]:
    def add(story: Story) -> Story:
        BROKEN.append((rule, story))
        return story

    return add


def test_a_healthy_term() -> None:
    stage = Stage()
    stage.join(FOLLOWER, LATE, OBSERVER)
    stage.propose(1, 2, to=(FOLLOWER, LATE))
    for sid in (LEADER, FOLLOWER, LATE):
        stage.disk(sid).logged = START | 2
    stage.say(FOLLOWER, P.ACK, START | 2)
    stage.hear(FOLLOWER, P.COMMIT, START | 2)
    for counter in (1, 2):
        stage.hear(OBSERVER, P.INFORM, START | counter, payload(START | counter))
    stage.say(FOLLOWER, P.PING)
    stage.say(LATE, P.ACK, START | 1)


def feeding(stage: Stage) -> None:
    """``FOLLOWER`` follows, and feeds ``OBSERVER``."""
    stage.join(FOLLOWER)
    stage.master[OBSERVER] = FOLLOWER
    stage.meet(OBSERVER)
    stage.promise(OBSERVER)
    stage.take_over(OBSERVER)
    stage.serve(OBSERVER)


def committed(stage: Stage, counter: int) -> None:
    """The leader commits, and has told ``FOLLOWER``."""
    stage.propose(counter)
    for sid in (LEADER, FOLLOWER):
        stage.disk(sid).logged = START | counter
    stage.say(FOLLOWER, P.ACK, START | counter)
    stage.hear(FOLLOWER, P.COMMIT, START | counter)


def test_a_follower_that_feeds() -> None:
    stage = Stage()
    feeding(stage)
    committed(stage, 1)
    stage.hear(OBSERVER, P.INFORM, START | 1, payload(START | 1))
    stage.say(OBSERVER, P.PING)


# Observer masters


@breaks("observers are told what is committed")
def _master_that_tells_what_it_was_asked(stage: Stage) -> None:
    feeding(stage)
    stage.propose(1)
    stage.hear(OBSERVER, P.INFORM, START | 1, payload(START | 1))


@breaks("observers are told what is committed")
def _master_whose_history_is_not_committed(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.propose(1)
    stage.master[OBSERVER] = FOLLOWER
    stage.meet(OBSERVER)
    stage.promise(OBSERVER)
    stage.hear(OBSERVER, P.SNAP, START | 1)


@breaks("a master feeds in the epoch it follows in")
def _master_that_follows_nobody_yet(stage: Stage) -> None:
    stage.meet(FOLLOWER)
    stage.promise(FOLLOWER)
    stage.master[OBSERVER] = FOLLOWER
    stage.meet(OBSERVER)


@breaks("a learner is sent the next proposal")
def _master_that_skips(stage: Stage) -> None:
    feeding(stage)
    for counter in (1, 2, 3):
        committed(stage, counter)
    stage.hear(OBSERVER, P.INFORM, START | 1, payload(START | 1))
    stage.hear(OBSERVER, P.INFORM, START | 3, payload(START | 3))


@breaks("observers are informed, followers asked")
def _master_that_asks(stage: Stage) -> None:
    feeding(stage)
    committed(stage, 1)
    stage.hear(OBSERVER, P.PROPOSAL, START | 1, payload(START | 1))


@breaks("observers acknowledge no proposal")
def _fed_observer_that_acknowledges(stage: Stage) -> None:
    feeding(stage)
    committed(stage, 1)
    stage.hear(OBSERVER, P.INFORM, START | 1, payload(START | 1))
    stage.say(OBSERVER, P.ACK, START | 1)


@breaks("packets come in their phase")
def _follower_at_a_master(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.master[LATE] = FOLLOWER
    stage.say(LATE, P.FOLLOWERINFO)


@breaks("nothing of a role leaves after its end")
def _master_that_follows_no_more(stage: Stage) -> None:
    feeding(stage)
    stage.tell(FOLLOWER, StateChanged(old="following", new="looking", reason=""))
    stage.hear(OBSERVER, P.PING)


@breaks("history and currentEpoch first, then the ACK of NEWLEADER")
def _fed_observer_that_wrote_nothing(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.master[OBSERVER] = FOLLOWER
    stage.meet(OBSERVER)
    stage.promise(OBSERVER)
    stage.hear(OBSERVER, P.DIFF, 0)
    stage.hear(OBSERVER, P.NEWLEADER, START)
    stage.say(OBSERVER, P.ACK, START)


# Discovery


@breaks("acceptedEpoch first, then LEADERINFO")
def _leader_that_wrote_nothing(stage: Stage) -> None:
    stage.say(FOLLOWER, P.FOLLOWERINFO)
    stage.hear(FOLLOWER, P.LEADERINFO, START)


@breaks("acceptedEpoch first, then ACKEPOCH")
def _learner_that_wrote_nothing(stage: Stage) -> None:
    stage.meet(FOLLOWER)
    stage.say(FOLLOWER, P.ACKEPOCH, 0, b"\0\0\0\4")


@breaks("acceptedEpoch first, then ACKEPOCH")
def _learner_that_boasts(stage: Stage) -> None:
    stage.meet(FOLLOWER)
    stage.promise(FOLLOWER, OLD | 7)


@breaks("one epoch is promised once")
def _learner_that_counts_twice(stage: Stage) -> None:
    stage.join(FOLLOWER, LATE)
    stage.link[FOLLOWER] = 99
    stage.meet(FOLLOWER)
    stage.promise(FOLLOWER)


@breaks("a quorum promised to follow")
def _history_before_a_quorum(stage: Stage) -> None:
    stage.meet(OBSERVER)
    stage.promise(OBSERVER)
    stage.hear(OBSERVER, P.DIFF, 0)


# Synchronisation


@breaks("currentEpoch first, then NEWLEADER")
def _leader_that_has_not_begun(stage: Stage) -> None:
    stage.meet(FOLLOWER)
    stage.promise(FOLLOWER)
    stage.hear(FOLLOWER, P.DIFF, 0)
    stage.hear(FOLLOWER, P.NEWLEADER, START)


def _syncing(stage: Stage, last_zxid: int = 0) -> None:
    stage.disk(FOLLOWER).logged = last_zxid
    stage.disk(LEADER).current = EPOCH
    stage.meet(FOLLOWER)
    stage.promise(FOLLOWER, last_zxid)


@breaks("history and currentEpoch first, then the ACK of NEWLEADER")
def _epoch_not_written(stage: Stage) -> None:
    _syncing(stage)
    stage.hear(FOLLOWER, P.DIFF, 0)
    stage.hear(FOLLOWER, P.NEWLEADER, START)
    stage.say(FOLLOWER, P.ACK, START)


@breaks("history and currentEpoch first, then the ACK of NEWLEADER")
def _history_not_flushed(stage: Stage) -> None:
    _syncing(stage)
    stage.hear(FOLLOWER, P.DIFF, OLD | 1)
    stage.hear(FOLLOWER, P.PROPOSAL, OLD | 1, payload(OLD | 1))
    stage.hear(FOLLOWER, P.COMMIT, OLD | 1)
    stage.hear(FOLLOWER, P.NEWLEADER, START)
    stage.disk(FOLLOWER).current = EPOCH
    stage.say(FOLLOWER, P.ACK, START)


@breaks("NEWLEADER comes behind the history")
def _history_overtaken(stage: Stage) -> None:
    _syncing(stage)
    stage.hear(FOLLOWER, P.DIFF, OLD | 1)
    stage.hear(FOLLOWER, P.NEWLEADER, START)


@breaks("a log is cut within itself")
def _cut_behind_the_end(stage: Stage) -> None:
    _syncing(stage, OLD | 2)
    stage.hear(FOLLOWER, P.TRUNC, OLD | 3)


@breaks("no sync cuts what is committed")
def _cut_below_the_committed(stage: Stage) -> None:
    stage.safety.history.append(OLD | 2)
    _syncing(stage, OLD | 2)
    stage.hear(FOLLOWER, P.TRUNC, OLD | 1)


@breaks("a quorum took over the history")
def _established_alone(stage: Stage) -> None:
    stage.meet(FOLLOWER)
    stage.promise(FOLLOWER)
    stage.establish()


@breaks("a quorum took over the history")
def _uptodate_to_an_observer_alone(stage: Stage) -> None:
    for sid in (FOLLOWER, OBSERVER):
        stage.meet(sid)
        stage.promise(sid)
    stage.take_over(OBSERVER)
    stage.serve(OBSERVER)


@breaks("one leader per epoch")
def _two_in_synchronization(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.tell(LATE, StateChanged(old="following", new="leading", reason=""))
    stage.tell(LATE, PhaseChanged(phase="synchronization", epoch=EPOCH))


# Broadcast


@breaks("an established leader proposes without gaps")
def _proposes_with_a_gap(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.tell(LEADER, Proposed(first_zxid=START | 2, last_zxid=START | 2))


@breaks("an established leader proposes without gaps")
def _proposes_without_a_quorum(stage: Stage) -> None:
    stage.tell(LEADER, Proposed(first_zxid=START | 1, last_zxid=START | 1))


@breaks("only what a leader proposed is sent")
def _sends_out_of_thin_air(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.hear(FOLLOWER, P.PROPOSAL, START | 1, payload(START | 1))


@breaks("a learner is sent the next proposal")
def _leaves_one_out(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.tell(LEADER, Proposed(first_zxid=START | 1, last_zxid=START | 3))
    stage.hear(FOLLOWER, P.PROPOSAL, START | 1, payload(START | 1))
    stage.hear(FOLLOWER, P.PROPOSAL, START | 3, payload(START | 3))


@breaks("one zxid, one transaction")
def _tells_two_stories(stage: Stage) -> None:
    stage.join(FOLLOWER, LATE)
    stage.propose(1)
    stage.hear(LATE, P.PROPOSAL, START | 1, payload(START | 1, session=2))


@breaks("the log first, then ACK")
def _acknowledges_too_early(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.propose(1)
    stage.say(FOLLOWER, P.ACK, START | 1)


@breaks("acknowledgements are of what was sent")
def _acknowledges_what_never_came(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.disk(FOLLOWER).logged = START | 1
    stage.say(FOLLOWER, P.ACK, START | 1)


@breaks("acknowledgements are of what was sent")
def _acknowledges_again(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.propose(1, 2)
    stage.disk(FOLLOWER).logged = START | 2
    stage.say(FOLLOWER, P.ACK, START | 2)
    stage.say(FOLLOWER, P.ACK, START | 1)


@breaks("acknowledgements are of what was sent")
def _acknowledges_another_epoch(stage: Stage) -> None:
    _syncing(stage)
    stage.hear(FOLLOWER, P.DIFF, 0)
    stage.hear(FOLLOWER, P.NEWLEADER, START)
    stage.say(FOLLOWER, P.ACK, OLD)


@breaks("observers acknowledge no proposal")
def _observer_that_votes(stage: Stage) -> None:
    stage.join(FOLLOWER, OBSERVER)
    stage.propose(1)
    stage.disk(OBSERVER).logged = START | 1
    stage.say(OBSERVER, P.ACK, START | 1)


@breaks("observers are informed, followers asked")
def _observer_that_is_asked(stage: Stage) -> None:
    stage.join(FOLLOWER, OBSERVER)
    stage.propose(1, to=(OBSERVER,))


@breaks("a quorum's disks first, then COMMIT")
def _commits_with_an_observer(stage: Stage) -> None:
    stage.join(FOLLOWER, OBSERVER)
    stage.propose(1)
    for sid in (FOLLOWER, OBSERVER):
        stage.disk(sid).logged = START | 1
    stage.hear(FOLLOWER, P.COMMIT, START | 1)


@breaks("a commit is of the next proposals")
def _commits_what_it_did_not_propose(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.propose(1)
    stage.hear(FOLLOWER, P.COMMIT, START | 2)


@breaks("a commit is of the next proposals")
def _commits_twice(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.propose(1)
    stage.disk(LEADER).logged = stage.disk(FOLLOWER).logged = START | 1
    for _ in range(2):
        stage.hear(FOLLOWER, P.COMMIT, START | 1)


@breaks("packets come in their phase")
def _commits_before_the_history(stage: Stage) -> None:
    stage.meet(FOLLOWER)
    stage.hear(FOLLOWER, P.COMMIT, START | 1)


@breaks("packets come in their phase")
def _requests_before_uptodate(stage: Stage) -> None:
    _syncing(stage)
    stage.say(FOLLOWER, P.REQUEST)


@breaks("packets come in their phase")
def _begins_in_the_middle(stage: Stage) -> None:
    stage.say(FOLLOWER, P.ACK, START)


@breaks("every packet has a branch that handles it")
def _says_nonsense(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.hear(FOLLOWER, 77)


@breaks("every packet has a branch that handles it")
def _answers_nonsense(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.say(FOLLOWER, P.SNAP)


# Roles, epochs, votes


@breaks("nothing of a role leaves after its end")
def _old_follower_that_goes_on(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.propose(1)
    stage.tell(FOLLOWER, StateChanged(old="following", new="looking", reason=""))
    stage.disk(FOLLOWER).logged = START | 1
    stage.say(FOLLOWER, P.ACK, START | 1)


@breaks("nothing of a role leaves after its end")
def _old_leader_that_goes_on_in_its_next_term(stage: Stage) -> None:
    stage.join(FOLLOWER)
    for old, new in (("leading", "looking"), ("looking", "leading")):
        stage.tell(LEADER, StateChanged(old=old, new=new, reason=""))
    stage.hear(FOLLOWER, P.PING)


@breaks("epochs never decrease")
def _forgets_a_promise(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.tell(FOLLOWER, StateChanged(old="following", new="looking", reason=""))
    stage.disk(FOLLOWER).accepted = stage.disk(FOLLOWER).current = EPOCH - 1
    stage.tell(FOLLOWER, StateChanged(old="looking", new="following", reason=""))


@breaks("currentEpoch is an accepted one")
def _current_without_accepted(stage: Stage) -> None:
    stage.disk(FOLLOWER).current = EPOCH
    stage.tell(FOLLOWER, PhaseChanged(phase="broadcast", epoch=EPOCH))


def _votes(stage: Stage, zxid: int, epoch: int) -> None:
    stage.disk(LATE).logged = OLD | 3
    stage.tell(LATE, RoundStarted(round=1, leader=LATE, zxid=zxid, peer_epoch=epoch))


@breaks("a vote says what the disk holds")
def _votes_without_the_end_of_its_log(stage: Stage) -> None:
    _votes(stage, OLD | 2, EPOCH - 1)


@breaks("a vote says what the disk holds")
def _votes_with_more_than_its_log(stage: Stage) -> None:
    _votes(stage, OLD | 4, EPOCH - 1)


@breaks("a vote says what the disk holds")
def _votes_with_an_epoch_not_written(stage: Stage) -> None:
    _votes(stage, OLD | 3, EPOCH)


@breaks("a quorum elects")
def _elected_by_itself(stage: Stage) -> None:
    stage.tell(LEADER, Elected(leader=LEADER, round=1, voters=(LEADER, OBSERVER), duration_ms=1))


@breaks("history first, then currentEpoch")
def _epoch_taken_before_its_history(stage: Stage) -> None:
    stage.tell(FOLLOWER, SyncReceived(mode="DIFF", zxid=OLD | 4, proposals=4))


@breaks("a learner applies what is committed")
def _applies_what_is_proposed(stage: Stage) -> None:
    stage.join(FOLLOWER)
    stage.propose(1)
    stage.tell(FOLLOWER, Committed(zxid=START | 1))


@breaks("only a leader lets sessions expire")
def _follower_that_ends_a_session(stage: Stage) -> None:
    stage.tell(FOLLOWER, SessionExpired(session=1, timeout_ms=1))


@breaks("what was answered outlives every leader")
def _leader_without_what_was_answered(stage: Stage) -> None:
    stage.safety.answered(OLD | 9)
    stage.join(FOLLOWER)


def test_a_voter_without_data_says_so() -> None:
    _votes(Stage(), -1, EPOCH - 1)


@pytest.mark.parametrize(("rule", "story"), BROKEN, ids=[story.__name__.strip("_") for _, story in BROKEN])
def test_what_is_broken_is_found(rule: str, story: Story) -> None:
    with pytest.raises(InvariantViolation) as caught:
        story(Stage())
    assert str(caught.value).startswith(f"{rule}: ")


def test_a_learner_that_has_taken_over_applied_no_more_than_was_committed_then() -> None:
    stage = Stage()
    stage.join(FOLLOWER)
    stage.propose(1, to=())
    stage.meet(LATE)
    stage.promise(LATE)
    stage.hear(LATE, P.DIFF, 0)
    stage.hear(LATE, P.PROPOSAL, START | 1, payload(START | 1))
    stage.hear(LATE, P.NEWLEADER, START)
    stage.disk(LEADER).logged = stage.disk(FOLLOWER).logged = START | 1
    stage.hear(LATE, P.COMMIT, START | 1)
    stage.safety._links.took_over(LATE, 0)
    with pytest.raises(InvariantViolation, match="a learner applies what is committed"):
        stage.safety._links.took_over(LATE, START | 1)


def test_who_knows_more_than_the_leader_is_not_among_its_quorum() -> None:
    stage = Stage()
    stage.disk(FOLLOWER).logged = (EPOCH - 1) << 32 | 1
    stage.meet(FOLLOWER)
    stage.promise(FOLLOWER)
    with pytest.raises(InvariantViolation, match="a quorum promised to follow"):
        stage.hear(FOLLOWER, P.DIFF, 0)
