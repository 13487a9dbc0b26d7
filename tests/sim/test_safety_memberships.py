"""Memberships that must not be: the checker's rules of reconfiguration, each broken once."""

from collections.abc import Callable

import pytest

from tests.sim.stage import EPOCH, FOLLOWER, LATE, LEADER, OBSERVER, START, Stage
from trioquorum.events import Committed, MembershipChanged, MembershipProposed, PeerStarted
from trioquorum.invariants import InvariantViolation
from trioquorum.wire.quorum import PacketType as P
from trioquorum.zab.quorum import Member, QuorumConfig

Story = Callable[[Stage], None]
FIRST, SECOND = START | 2, START | 4
DESIGNATED = LEADER.to_bytes(8)


def of(version: int, *voters: int) -> QuorumConfig:
    return QuorumConfig([Member(sid, "memory://x", "memory://x") for sid in voters], version)


def propose(stage: Stage, sid: int, config: QuorumConfig) -> None:
    """``sid`` notes a configuration that is proposed."""
    stage.peers[sid].configs = (stage.peers[sid].configs[0], config)
    stage.tell(sid, MembershipProposed(version=config.version, voters=tuple(config.voters), observers=()))


def activate(stage: Stage, sid: int, config: QuorumConfig) -> None:
    """``sid`` takes it for committed."""
    stage.peers[sid].configs = (config,)
    stage.tell(sid, MembershipChanged(version=config.version, voters=tuple(config.voters), observers=()))


def log(stage: Stage, zxid: int, *sids: int) -> None:
    """These disks hold everything up to ``zxid``."""
    for sid in sids:
        stage.disk(sid).logged = zxid


def reconfigured(stage: Stage, *holders: int) -> QuorumConfig:
    """The leader adds the observer to its voters, which ``holders`` have logged."""
    new = of(FIRST, LEADER, FOLLOWER, LATE, OBSERVER)
    stage.join(FOLLOWER, LATE)
    stage.propose(1, 2, 3, to=(FOLLOWER,))
    log(stage, START | 3, *holders)
    propose(stage, LEADER, new)
    activate(stage, LEADER, new)
    return new


def test_a_healthy_reconfiguration() -> None:
    """What was proposed meanwhile needs quorums of both, what was proposed before only the old one's."""
    stage = Stage()
    new = of(FIRST, LEADER, OBSERVER)
    stage.join(FOLLOWER, LATE)
    stage.propose(1, 2, 3, to=(FOLLOWER,))
    propose(stage, LEADER, new)
    propose(stage, FOLLOWER, new)
    log(stage, START | 1, LEADER, FOLLOWER)
    stage.hear(FOLLOWER, P.COMMIT, START | 1)
    log(stage, START | 3, LEADER, FOLLOWER, OBSERVER)
    activate(stage, LEADER, new)
    stage.hear(FOLLOWER, P.COMMITANDACTIVATE, FIRST, DESIGNATED)
    activate(stage, FOLLOWER, new)
    stage.hear(FOLLOWER, P.COMMIT, START | 3)
    stage.propose(4, to=(FOLLOWER,))
    log(stage, START | 4, LEADER, OBSERVER)
    stage.hear(FOLLOWER, P.COMMIT, START | 4)


def test_a_new_leader_completes_what_was_pending() -> None:
    """By the quorums that took over its history; and those who were members when it began are asked no more."""
    stage = Stage()
    pending = of(FIRST - (1 << 32), LEADER, FOLLOWER)
    stage.peers[LEADER].configs = (stage.peers[LEADER].configs[0], pending)
    for step in (stage.meet, stage.promise, stage.take_over):
        for sid in (FOLLOWER, LATE):
            step(sid)
    activate(stage, LEADER, pending)
    stage.establish()
    stage.serve(FOLLOWER)


def _an_old_quorum_alone(stage: Stage) -> None:
    reconfigured(stage, LEADER, FOLLOWER)


def _a_new_quorum_alone(stage: Stage) -> None:
    new = of(FIRST, LEADER)
    stage.join(FOLLOWER, LATE)
    stage.propose(1, 2, 3, to=(FOLLOWER,))
    log(stage, START | 3, LEADER)
    activate(stage, LEADER, new)


def _a_follower_decides(stage: Stage) -> None:
    stage.join(FOLLOWER, LATE)
    stage.propose(1, 2, 3, to=(FOLLOWER,))
    log(stage, START | 3, LEADER, FOLLOWER, LATE, OBSERVER)
    activate(stage, FOLLOWER, of(FIRST, LEADER, FOLLOWER, LATE, OBSERVER))


def _two_of_one_version(stage: Stage) -> None:
    new = reconfigured(stage, LEADER, FOLLOWER, LATE)
    activate(stage, FOLLOWER, of(new.version, LEADER, FOLLOWER))


def _back_to_an_older_one(stage: Stage) -> None:
    reconfigured(stage, LEADER, FOLLOWER, LATE)
    stage.peers[LEADER].configs = stage.peers[LATE].configs
    stage.tell(LEADER, PeerStarted(peer=LEADER, last_zxid=0, accepted_epoch=EPOCH, current_epoch=EPOCH))


def _beside_the_one_in_force(stage: Stage) -> None:
    """As if the leader did not know of the first when it made the second."""
    reconfigured(stage, LEADER, FOLLOWER, LATE)
    stage.safety.wiped(LEADER)
    stage.peers[LEADER].configs = stage.peers[LATE].configs
    stage.tell(LEADER, MembershipProposed(version=SECOND, voters=(), observers=()))
    stage.propose(4, to=(FOLLOWER,))
    log(stage, START | 4, LEADER, FOLLOWER, LATE, OBSERVER)
    activate(stage, LEADER, of(SECOND, LEADER, FOLLOWER))


def _committed_by_the_old_quorum(stage: Stage) -> None:
    """What was proposed when the new one was in force."""
    reconfigured(stage, LEADER, FOLLOWER, LATE)
    stage.hear(FOLLOWER, P.COMMITANDACTIVATE, FIRST, DESIGNATED)
    stage.propose(4, to=(FOLLOWER,))
    log(stage, START | 4, LEADER, FOLLOWER)
    stage.hear(FOLLOWER, P.COMMIT, START | 4)


def _committed_by_the_new_quorum(stage: Stage) -> None:
    """What was proposed behind the new one, which is not yet in force."""
    new = of(FIRST, LEADER, OBSERVER)
    stage.join(FOLLOWER, LATE)
    stage.propose(1, 2, 3, to=(FOLLOWER,))
    propose(stage, LEADER, new)
    log(stage, START | 3, LEADER, OBSERVER)
    stage.hear(FOLLOWER, P.COMMIT, START | 3)


def _forgotten_at_a_start(stage: Stage) -> None:
    """The file is there, and the peer that starts knows nothing of it."""
    propose(stage, LATE, of(FIRST, LEADER, FOLLOWER))
    stage.peers[LATE].configs = stage.peers[FOLLOWER].configs
    stage.disk(LATE).noted = FIRST
    stage.tell(LATE, PeerStarted(peer=LATE, last_zxid=0, accepted_epoch=EPOCH, current_epoch=EPOCH))


def _told_and_not_noted(stage: Stage) -> None:
    stage.peers[LATE].configs = (*stage.peers[LATE].configs, of(FIRST, LEADER, FOLLOWER))
    stage.disk(LATE).noted = 0
    stage.tell(LATE, MembershipProposed(version=FIRST, voters=(LEADER, FOLLOWER), observers=()))


def _led_by_who_has_no_vote(stage: Stage) -> None:
    new = of(FIRST, FOLLOWER, LATE)
    stage.join(FOLLOWER, LATE)
    stage.propose(1, 2, 3, to=(FOLLOWER,))
    log(stage, START | 3, LEADER, FOLLOWER, LATE)
    propose(stage, LEADER, new)
    activate(stage, LEADER, new)
    stage.tell(LEADER, Committed(zxid=FIRST))
    stage.tell(LEADER, Committed(zxid=START | 3))


@pytest.mark.parametrize(
    ("rule", "story"),
    [
        ("quorums of both, then a new membership", _an_old_quorum_alone),
        ("quorums of both, then a new membership", _a_new_quorum_alone),
        ("quorums of both, then a new membership", _a_follower_decides),
        ("one version, one membership", _two_of_one_version),
        ("a membership never goes back", _back_to_an_older_one),
        ("each membership follows the one in force", _beside_the_one_in_force),
        ("a quorum's disks first, then COMMIT", _committed_by_the_old_quorum),
        ("a quorum's disks first, then COMMIT", _committed_by_the_new_quorum),
        ("a membership is on disk before it counts", _forgotten_at_a_start),
        ("a membership is on disk before it counts", _told_and_not_noted),
        ("who has no vote any more commits nothing", _led_by_who_has_no_vote),
    ],
)
def test_what_is_broken_is_found(rule: str, story: Story) -> None:
    with pytest.raises(InvariantViolation) as caught:
        story(Stage())
    assert str(caught.value).partition(":")[0] == rule
